-- Store the JSON of events that are about to be recorded; what is stored already stays.
-- KEYS: mark of the life's end, events. ARGV: per event: id, text. Returns OK | ENDED
if redis.call('EXISTS', KEYS[1]) == 1 then
  return 'ENDED'
end
local stored = 0
for i = 1, #ARGV, 2 do
  stored = stored + redis.call('HSETNX', KEYS[2], ARGV[i], ARGV[i + 1])
end
if stored == 0 and ARGV[1] then -- see reply_written() in _keys.lua
  redis.call('HSET', KEYS[2], ARGV[1], redis.call('HGET', KEYS[2], ARGV[1]))
end
return 'OK'
