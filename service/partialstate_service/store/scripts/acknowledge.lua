-- uses: _keys _room _ending
-- Raise the position up to which the homeserver has imported the log.
-- ARGV: generation, position. Returns OK acknowledged | NOT_PARTIAL tombstone | NOT_RECONCILED | STALE current | OUT_OF_RANGE last
local generation, position = shift(), tonumber(shift())
if not room or room.generation ~= generation then
  local tombstone = tombstone_of(generation)
  if tombstone and string.match(tombstone, '^%d+ (%S+)') == 'IMPORTED' then
    return reply_written('OK', tostring(position))
  end
end
if not room then
  return not_partial()
elseif room.generation ~= generation then
  return reply('STALE', room.generation)
elseif position > number('position') then
  return reply('OUT_OF_RANGE', room.position)
end
local before = number('acknowledged')
if position > before then
  put('unimported', number('unimported') - redis.call('ZCOUNT', RESOLVED, '(' .. before, position))
  put('acknowledged', position)
  commit('acknowledge')
end
return reply_written('OK', room.acknowledged)
