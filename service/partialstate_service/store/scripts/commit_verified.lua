-- uses: _keys _room _chunks _lease
-- Add a chunk of verified events to the room's manifest.
-- ARGV: chunk. Returns OK | LEASE_LOST | CHUNK_GONE
local chunk = shift()
if redis.call('SISMEMBER', CHUNKS, key_of(chunk)) == 1 then
  return reply('OK')
elseif not is_kept(chunk) then
  return reply('CHUNK_GONE')
end
keep(chunk)
redis.call('RPUSH', VERIFIED, chunk)
commit('commit_verified', 'fencing', FENCING)
return reply('OK')
