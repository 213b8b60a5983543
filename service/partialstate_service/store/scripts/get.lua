-- uses: _keys
-- Return one room, or its last tombstone.
-- Returns OK room | NOT_PARTIAL tombstone | NOT_RECONCILED
local fields = redis.call('HGETALL', ROOM)
if #fields > 0 then
  return reply('OK', fields)
end
return not_partial()
