-- uses: _keys _room _lease
-- Say that the room's summary is that of verified events. Returns OK | LEASE_LOST
put('verified', 1)
commit('mark_state_verified', 'fencing', FENCING)
return reply('OK')
