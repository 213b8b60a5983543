-- uses: _keys _room _due _servers
-- Make the room due now, with its servers' cooldowns cleared by the caller.
-- ARGV: now, additional servers, the progress that the caller read, the progress without cooldowns.
-- Returns OK room | NOT_PARTIAL tombstone | NOT_RECONCILED | ABANDONED | CHANGED (read the progress again)
if not room then
  return not_partial()
elseif room.status == 'ABANDONED' then
  return reply('ABANDONED')
end
local now, additional, read, progress = shift(), shift(), shift(), shift()
if redis.call('HGET', ROOM, 'progress') ~= read then
  return reply('CHANGED')
end
local servers = redis.call('HGET', ROOM, 'servers')
local united = unite(servers, additional)
if united ~= servers then
  put('servers', united)
end
put('progress', progress)
if room.status == 'STALLED' then
  put('status', 'RESYNCING')
end
if room.status == 'RESYNCING' then
  wake(now)
end
commit('retry')
return reply('OK', redis.call('HGETALL', ROOM))
