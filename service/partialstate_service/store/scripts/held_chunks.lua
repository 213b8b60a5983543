-- uses: _keys _room
-- Return the chunks of events that are held for a room.
-- Returns OK seeds verified (lists) | NOT_PARTIAL tombstone
if not room then
  return reply('NOT_PARTIAL', redis.call('HGET', TOMBSTONES, ROOM_ID .. ' last') or '')
end
return reply('OK', redis.call('LRANGE', SEEDS, 0, -1), redis.call('LRANGE', VERIFIED, 0, -1))
