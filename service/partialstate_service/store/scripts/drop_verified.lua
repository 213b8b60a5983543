-- uses: _keys _room _chunks _lease
-- Take chunks of verified events, which nothing else names, out of the room's manifest.
-- ARGV: number of chunks, chunks. Returns OK | LEASE_LOST
local dropped = 0
for _ = 1, tonumber(shift()) do
  local chunk = shift()
  if redis.call('LREM', VERIFIED, 1, chunk) == 1 then
    drop(key_of(chunk))
    dropped = dropped + 1
  end
end
if dropped > 0 then
  commit('drop_verified', 'fencing', FENCING)
end
return reply('OK')
