-- uses: _keys _room _chunks _lease
-- Record the full state after an event.
-- ARGV: event, chunk. Returns OK | LEASE_LOST | CHUNK_GONE
local event, chunk = shift(), shift()
local replaced = redis.call('HGET', SNAPSHOTS, event)
if replaced == chunk then
  return reply('OK')
elseif not is_kept(chunk) then
  return reply('CHUNK_GONE')
end
if replaced then
  drop(key_of(replaced))
end
keep(chunk)
redis.call('HSET', SNAPSHOTS, event, chunk)
commit('commit_snapshot', 'fencing', FENCING)
return reply('OK')
