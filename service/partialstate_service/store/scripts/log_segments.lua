-- uses: _keys _room
-- Return the room and the segments of its log that reach beyond a position.
-- ARGV: generation, after. Returns OK room segments | NOT_PARTIAL tombstone | NOT_RECONCILED | STALE current | OUT_OF_RANGE last
local generation, after = shift(), tonumber(shift())
if not room then
  return not_partial()
elseif room.generation ~= generation then
  return reply('STALE', room.generation)
elseif after > number('position') then
  return reply('OUT_OF_RANGE', room.position)
end
-- From the end backwards: who follows a log reads its last segments over and over.
local segments, last, page = {}, -1, 64
local is_reached = after >= number('position')
while not is_reached do
  local older = redis.call('LRANGE', SEGMENTS, last - page + 1, last)
  for i = #older, 1, -1 do
    segments[#segments + 1] = older[i]
    if tonumber(string.match(older[i], '^%d+')) <= after + 1 then
      is_reached = true
      break
    end
  end
  is_reached = is_reached or #older < page
  last = last - page
end
return reply('OK', redis.call('HGETALL', ROOM), segments)
