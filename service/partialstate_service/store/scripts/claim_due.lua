-- uses: _keys _room _due
-- Lease the room if it is (still) due.
-- ARGV: owner, now, end of the lease. Returns OK generation fencing | NOT_DUE
local owner, now, lease_end = shift(), shift(), shift()
local at = due_at()
if not room or not at or tonumber(at) > tonumber(now) then
  return reply('NOT_DUE')
end
local fencing = tostring(redis.call('HINCRBY', META, 'fencing', 1))
redis.call('HDEL', WORK, 'wake')
redis.call('HSET', WORK, 'fencing', fencing, 'owner', owner)
due(lease_end)
commit('claim_due', 'fencing', fencing, 'owner', owner)
return reply('OK', room.generation, fencing)
