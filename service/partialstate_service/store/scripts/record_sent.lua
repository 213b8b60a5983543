-- Add destinations to sent events. A set of destinations is stored once, under the SHA-1 of its text (sorted names with
-- blanks between).
-- KEYS: mark of the life's end, sent, destinations. ARGV: per event: id, digest and text of its set. Returns OK | ENDED
if redis.call('EXISTS', KEYS[1]) == 1 then
  return 'ENDED'
end
for i = 1, #ARGV, 3 do
  local event, digest, set = ARGV[i], ARGV[i + 1], ARGV[i + 2]
  local before = redis.call('HGET', KEYS[2], event)
  if before and before ~= digest then
    local seen, all = {}, {}
    for server in string.gmatch(redis.call('HGET', KEYS[3], before) .. ' ' .. set, '%S+') do
      if not seen[server] then
        seen[server] = true
        all[#all + 1] = server
      end
    end
    table.sort(all)
    set = table.concat(all, ' ')
    digest = redis.sha1hex(set)
  end
  if before ~= digest then
    redis.call('HSETNX', KEYS[3], digest, set)
  end
  redis.call('HSET', KEYS[2], event, digest) -- also where nothing changes: see reply_written() in _keys.lua
end
return 'OK'
