-- uses: _keys _room _ending
-- Mark a join as persisted.
-- ARGV: generation. Returns OK | NOT_PARTIAL tombstone | STALE current
local generation = shift()
if not room then
  if tombstone_of(generation) then
    return reply('OK')
  end
  return reply('NOT_PARTIAL', redis.call('HGET', TOMBSTONES, ROOM_ID .. ' last') or '')
end
local known = room.generation == generation
local joins = redis.call('HGETALL', JOINS)
for i = 1, #joins, 2 do
  local given, _, abandoned = string.match(joins[i + 1], '^(%d+) (%d) (%d)')
  if given == generation or (room.generation == generation and room.join == joins[i]) then
    known = true
    redis.call('HSET', JOINS, joins[i], given .. ' 1 ' .. abandoned)
    if room.join == joins[i] then
      put('confirmed', 1)
    end
  end
end
if not known and not tombstone_of(generation) then
  return reply('STALE', room.generation)
end
if next(changed) then
  commit('confirm_join')
end
return reply('OK')
