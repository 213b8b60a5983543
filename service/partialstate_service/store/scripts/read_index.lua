-- Where the registry stands, what a replica lacks, and in which rooms events are recorded. It changes nothing, but is not
-- declared as read-only: a primary that has lost its replicas, and perhaps its office, must refuse it.
-- KEYS: meta, log, event_rooms. ARGV: the replica's revision, how many entries at most, then event ids.
-- Returns store_id revision chain reconciled schema, entries of the log from the replica's own revision on, room per event.
local meta = redis.call('HMGET', KEYS[1], 'store_id', 'revision', 'chain', 'reconciled', 'schema')
local entries, rooms = {}, {}
if meta[2] and meta[2] ~= ARGV[1] then
  entries = redis.call('XRANGE', KEYS[2], ARGV[1] .. '-0', '+', 'COUNT', ARGV[2])
end
if #ARGV > 2 then
  rooms = redis.call('HMGET', KEYS[3], unpack(ARGV, 3))
end
return { meta[1] or '', meta[2] or '0', meta[3] or '', meta[4] or '', meta[5] or '0', entries, rooms }
