-- uses: _keys _room _joins _ending
-- Mark a join as persisted.
-- ARGV: generation. Returns OK | NOT_PARTIAL tombstone | NOT_RECONCILED | STALE current
local generation = shift()
-- A join that was released as failed was not persisted; if it was all the same, nobody answers for it any more.
local tombstone = tombstone_of(generation)
local has_ended = tombstone and string.match(tombstone, '^%d+ (%S+)') ~= 'JOIN_FAILED'
if not room then
  if has_ended then
    return reply_written('OK')
  end
  return not_partial()
end
local is_present = room.generation == generation
local known = is_present
local joins = redis.call('HGETALL', JOINS)
for i = 1, #joins, 2 do
  if string.match(joins[i + 1], '^%d+') == generation or (is_present and room.join == joins[i]) then
    known = confirm(joins[i])
  end
end
if not known and not has_ended then
  return reply('STALE', room.generation)
end
if next(changed) then
  commit('confirm_join')
end
return reply_written('OK')
