-- Chunks of bulk: written first, committed here, dropped when nothing names them. A chunk is the text
-- "key digest size count core-size", whose key has no white space.

local function key_of(chunk)
  return string.match(chunk, '^%S+')
end

-- Whether a chunk is committed, or is still there to be committed.
local function is_kept(chunk)
  local key = key_of(chunk)
  return redis.call('SISMEMBER', CHUNKS, key) == 1 or redis.call('ZSCORE', UNCOMMITTED, 'C ' .. key)
end

local function keep(chunk)
  local key = key_of(chunk)
  redis.call('ZREM', UNCOMMITTED, 'C ' .. key)
  redis.call('SADD', CHUNKS, key)
end

local function drop(key)
  redis.call('SREM', CHUNKS, key)
  redis.call('SADD', GARBAGE, 'C ' .. key)
end

-- Begin the log of recovered state anew: drop it, and let every recorded event wait for its full state again.
local function restart_log()
  for _, segment in ipairs(redis.call('LRANGE', SEGMENTS, 0, -1)) do
    local kind, key = string.match(segment, '^%d+ (%S+) (%S+)')
    if kind == 'log' then
      drop(key)
    end
  end
  redis.call('DEL', SEGMENTS, RESOLVED, FULL)
  put('position', 0)
  put('acknowledged', 0)
  put('pending', redis.call('ZCARD', ORDER))
  put('unimported', room.pending)
end
