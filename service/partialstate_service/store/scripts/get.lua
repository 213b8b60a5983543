-- uses: _keys
-- Return one room, or its last tombstone.
-- Returns OK room | NOT_PARTIAL tombstone
local fields = redis.call('HGETALL', ROOM)
if #fields > 0 then
  return reply('OK', fields)
end
return reply('NOT_PARTIAL', redis.call('HGET', TOMBSTONES, ROOM_ID .. ' last') or '')
