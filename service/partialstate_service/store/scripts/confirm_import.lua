-- uses: _keys _room _due _ending
-- End the partial state: compare and clear.
-- ARGV: generation, position, now, forget tombstones before.
-- Returns OK | NOT_PARTIAL tombstone | NOT_RECONCILED | STALE current | ABANDONED | INCOMPLETE last pending
local generation, position, now, keep_from = shift(), shift(), shift(), shift()
if not room or room.generation ~= generation then
  local tombstone = tombstone_of(generation)
  if tombstone and string.match(tombstone, '^%d+ (%S+)') == 'IMPORTED' then
    return reply_written('OK')
  end
end
if not room then
  return not_partial()
elseif room.generation ~= generation then
  return reply('STALE', room.generation)
elseif room.status == 'ABANDONED' then
  return reply('ABANDONED')
elseif room.status ~= 'AWAITING_IMPORT' or room.pending ~= '0' or room.position ~= position then
  return reply('INCOMPLETE', room.position, room.pending)
end
end_room('confirm_import', 'IMPORTED', now, keep_from)
return reply('OK')
