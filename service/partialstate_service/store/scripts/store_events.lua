-- Store the JSON of events that are about to be recorded; what is stored already stays.
-- KEYS: mark of the life's end, events. ARGV: per event: id, text. Returns OK | ENDED
if redis.call('EXISTS', KEYS[1]) == 1 then
  return 'ENDED'
end
for i = 1, #ARGV, 2 do
  redis.call('HSETNX', KEYS[2], ARGV[i], ARGV[i + 1])
end
return 'OK'
