-- How joins end, and what is remembered of them. A tombstone is the text "generation ending ended join".

-- Forget tombstones that ended before *before*; a few at a time, so that no call pays for many.
local function trim_tombstones(before)
  local fields = redis.call('ZRANGEBYSCORE', ENDED, '-inf', '(' .. before, 'LIMIT', 0, 50)
  if #fields > 0 then
    redis.call('HDEL', TOMBSTONES, unpack(fields))
    redis.call('ZREM', ENDED, unpack(fields))
  end
end

local function bury_as(fields, join, generation, ending, now)
  local tombstone = table.concat({ generation, ending, now, join }, ' ')
  for _, field in ipairs(fields) do
    redis.call('HSET', TOMBSTONES, ROOM_ID .. field, tombstone)
    redis.call('ZADD', ENDED, now, ROOM_ID .. field)
  end
end

-- Remember how a join ended, by the generation that its registration gave.
local function bury_join(join, generation, ending, now)
  bury_as({ ' j ' .. join, ' g ' .. generation }, join, generation, ending, now)
end

-- Remember how the room's generation ended: its join's, or a later one if a further join failed since.
local function bury_generation(ending, now)
  bury_as({ ' g ' .. room.generation, ' last' }, room.join, room.generation, ending, now)
end

-- Return the tombstone of one generation of the room, or nil.
local function tombstone_of(generation)
  return redis.call('HGET', TOMBSTONES, ROOM_ID .. ' g ' .. generation) or nil
end

-- Forget in which room events were recorded.
local function forget_events(events)
  local mine = {}
  for first = 1, #events, 1000 do
    local last = math.min(first + 999, #events)
    for i, owner in ipairs(redis.call('HMGET', EVENT_ROOMS, unpack(events, first, last))) do
      if owner == ROOM_ID then
        mine[#mine + 1] = events[first + i - 1]
      end
    end
  end
  in_batches('HDEL', EVENT_ROOMS, mine)
end

-- End the partial state of the room and commit it.
local function end_room(kind, ending, now, keep_from)
  trim_tombstones(keep_from)
  local joins = redis.call('HGETALL', JOINS)
  for i = 1, #joins, 2 do
    bury_join(joins[i], string.match(joins[i + 1], '^%d+'), ending, now)
  end
  bury_generation(ending, now)
  forget_events(redis.call('ZRANGE', ORDER, 0, -1))
  local chunks = {}
  for _, key in ipairs(redis.call('SMEMBERS', CHUNKS)) do
    chunks[#chunks + 1] = 'C ' .. key
  end
  in_batches('SADD', GARBAGE, chunks)
  redis.call('SADD', GARBAGE, 'L ' .. redis.call('HGET', WORK, 'life') .. ' ' .. ROOM_ID)
  due(nil)
  redis.call('ZREM', ROOMS, ROOM_ID)
  redis.call('DEL', ROOM, WORK, JOINS, ORDER, RESOLVED, FULL, CHUNKS, SEEDS, VERIFIED, SNAPSHOTS, SEGMENTS)
  local generation, join = room.generation, room.join
  room = nil
  commit(kind, 'ending', ending, 'ended_at', now, 'generation', generation, 'join', join)
end
