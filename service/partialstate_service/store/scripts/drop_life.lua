-- Drop what a life of a room left behind, and leave a mark for late writers.
-- KEYS: the mark, the life's other keys. ARGV: how long the mark stays, in seconds. Returns OK
redis.call('SET', KEYS[1], 1, 'EX', ARGV[1])
redis.call('UNLINK', unpack(KEYS, 2))
return 'OK'
