-- uses: _keys _room _lease
-- Return all that is committed for the room.
-- Returns OK room seeds verified snapshots segments (lists) | LEASE_LOST
return reply(
  'OK',
  redis.call('HGETALL', ROOM),
  redis.call('LRANGE', SEEDS, 0, -1),
  redis.call('LRANGE', VERIFIED, 0, -1),
  redis.call('HGETALL', SNAPSHOTS),
  redis.call('LRANGE', SEGMENTS, 0, -1)
)
