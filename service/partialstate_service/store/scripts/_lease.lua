-- Only the holder of the room's lease comes past here.
-- ARGV of the script: generation, fencing token; then its own.
local FENCING
do
  local generation, fencing = shift(), shift()
  if not room or room.generation ~= generation or redis.call('HGET', WORK, 'fencing') ~= fencing then
    return reply('LEASE_LOST')
  end
  FENCING = fencing
end
