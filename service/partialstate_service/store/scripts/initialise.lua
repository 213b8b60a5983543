-- Give a new store its identity; an initialised one keeps what it has.
-- KEYS: meta. ARGV: store id, chain id, schema. Returns the schema of the store.
if redis.call('EXISTS', KEYS[1]) == 0 then
  redis.call('HSET', KEYS[1], 'store_id', ARGV[1], 'revision', 0, 'chain', ARGV[2], 'schema', ARGV[3])
end
return redis.call('HGET', KEYS[1], 'schema')
