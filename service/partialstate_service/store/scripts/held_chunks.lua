-- uses: _keys _room
-- Return the chunks of events that are held for a room.
-- Returns OK seeds verified (lists) | NOT_PARTIAL tombstone | NOT_RECONCILED
if not room then
  return not_partial()
end
return reply('OK', redis.call('LRANGE', SEEDS, 0, -1), redis.call('LRANGE', VERIFIED, 0, -1))
