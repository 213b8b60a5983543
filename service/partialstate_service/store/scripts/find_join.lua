-- uses: _keys
-- Return what is known of a join, and the life of the room.
-- ARGV: join event. Returns ALREADY_REGISTERED generation | ENDED generation ending | NEW life ('' if the room is not partial)
local join = shift()
local known = redis.call('HGET', JOINS, join)
if known then
  return reply_written('ALREADY_REGISTERED', string.match(known, '^%d+'))
end
local tombstone = redis.call('HGET', TOMBSTONES, ROOM_ID .. ' j ' .. join)
if tombstone then
  return reply_written('ENDED', string.match(tombstone, '^(%d+) (%S+)'))
end
return reply('NEW', redis.call('HGET', WORK, 'life') or '')
