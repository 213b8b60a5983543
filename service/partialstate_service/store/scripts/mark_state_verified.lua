-- uses: _keys _room _lease
-- Say that the non-member state of the join is verified.
-- ARGV: whether a summary is given, acls, join rules, visibilities. Returns OK | LEASE_LOST
local has_summary, acls, join_rules, visibilities = shift(), shift(), shift(), shift()
put('verified', 1)
-- What the homeserver recorded after the join is newer than the join's own state.
if has_summary == '1' and redis.call('HEXISTS', WORK, 'summary') == 0 then
  put('acls', acls)
  put('join_rules', join_rules)
  put('visibilities', visibilities)
end
commit('mark_state_verified', 'fencing', FENCING)
return reply('OK')
