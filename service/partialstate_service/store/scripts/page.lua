-- uses: _keys
-- Return rooms ordered by id.
-- ARGV: after ('' from the start), how many at most. Returns OK and a list: id, fields and values of a room, and so on.
-- The keys of the rooms are not known before; they are named by the prefix that comes as the key of the room ''.
local after, limit = shift(), shift()
local start = after == '' and '-' or '(' .. after
local rooms = {}
for _, room_id in ipairs(redis.call('ZRANGEBYLEX', ROOMS, start, '+', 'LIMIT', 0, limit)) do
  rooms[#rooms + 1] = room_id
  rooms[#rooms + 1] = redis.call('HGETALL', ROOM .. room_id)
end
return reply('OK', rooms)
