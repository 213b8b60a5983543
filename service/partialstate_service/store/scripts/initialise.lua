-- Give a new store its identity; an initialised one keeps what it has.
-- KEYS: meta. ARGV: store id, chain id, schema. Returns the schema of the store.
-- Revisions begin at the time in milliseconds, so that those of a store that took a lost one's place are greater: a
-- generation, which is a revision, must never mean another join than before.
if redis.call('EXISTS', KEYS[1]) == 0 then
  local now = redis.call('TIME')
  local revision = string.format('%d%03d', now[1], math.floor(now[2] / 1000))
  redis.call('HSET', KEYS[1], 'store_id', ARGV[1], 'revision', revision, 'chain', ARGV[2], 'schema', ARGV[3])
end
return redis.call('HGET', KEYS[1], 'schema')
