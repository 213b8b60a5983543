-- uses: _keys _room _due _lease
-- Give the lease back.
-- ARGV: when the room is due ('' for not before something changes). Returns OK | LEASE_LOST
local at = shift()
local woken = redis.call('HGET', WORK, 'wake')
revoke()
if woken then
  due(woken)
elseif at ~= '' then
  due(at)
elseif room.pending == '0' then
  due(nil)
end -- else events are pending still: nothing is ever given up, so it stays due when the lease would have ended
commit('hand_back', 'fencing', FENCING)
return reply('OK')
