-- When the room next needs attention.

-- Make the room due at *at*, in the queue of its priority. nil: not at all.
local function due(at)
  local waiting = room and room.priority == '2'
  redis.call('ZREM', waiting and DUE_NORMAL or DUE_WAITING, ROOM_ID)
  if at then
    redis.call('ZADD', waiting and DUE_WAITING or DUE_NORMAL, at, ROOM_ID)
  else
    redis.call('ZREM', waiting and DUE_WAITING or DUE_NORMAL, ROOM_ID)
  end
end

-- Return when the room is due, or nil.
local function due_at()
  return redis.call('ZSCORE', DUE_NORMAL, ROOM_ID) or redis.call('ZSCORE', DUE_WAITING, ROOM_ID) or nil
end

-- Make the room due now; one that is leased, as soon as it is handed back.
local function wake(now)
  if redis.call('HEXISTS', WORK, 'fencing') == 1 then
    redis.call('HSET', WORK, 'wake', now)
  else
    due(now)
  end
end

-- Take the lease away from whoever holds it.
local function revoke()
  redis.call('HDEL', WORK, 'fencing', 'owner', 'wake')
end
