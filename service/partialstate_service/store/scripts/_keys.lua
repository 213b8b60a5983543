-- The keys of the registry in the order of keys.py, and the arguments that every script of the registry gets.
-- ARGV: 1 a new random chain id, 2 about how many entries the log keeps, 3 the room ('' if none); the script's own follow.
local META, LOG, ROOMS, DUE_NORMAL, DUE_WAITING, EVENT_ROOMS, TOMBSTONES, ENDED, GARBAGE, UNCOMMITTED = unpack(KEYS, 1, 10)
local ROOM, WORK, JOINS, ORDER, RESOLVED, FULL, CHUNKS, SEEDS, VERIFIED, SNAPSHOTS, SEGMENTS = unpack(KEYS, 11, 21)
local CHAIN, LOG_LIMIT, ROOM_ID = ARGV[1], ARGV[2], ARGV[3]
local argument = 3

-- Return the next of the script's own arguments.
local function shift()
  argument = argument + 1
  return ARGV[argument]
end

local present = redis.call('HMGET', META, 'store_id', 'revision', 'chain', 'schema')
if not present[1] then
  return { 'FRESH' }
end
-- What a newer release has written is neither read nor changed by one that may not know what it means.
if tonumber(present[4]) > READS then
  return { 'NEWER', present[4] }
end

-- Return the reply *code* with the present state token and further values.
local function reply(code, ...)
  return { code, present[1], present[2], present[3], ... }
end

-- Return the reply to a call whose change is there, made now or before. It writes in any case: WAIT tells of what its own
-- connection has written, and the replicas may still lack what another one has.
local function reply_written(code, ...)
  redis.call('HSET', META, 'repeated', 1)
  return reply(code, ...)
end

-- Return the reply for a room that is not partial, with its last tombstone; one that was forgotten with the rest of a lost
-- store may be partial all the same, so a store that is not reconciled does not say so.
local function not_partial()
  if redis.call('HGET', META, 'reconciled') ~= '1' then
    return reply('NOT_RECONCILED')
  end
  return reply('NOT_PARTIAL', redis.call('HGET', TOMBSTONES, ROOM_ID .. ' last') or '')
end
