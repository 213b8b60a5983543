-- uses: _keys _room
-- Return the recorded events after a sequence number.
-- ARGV: sequence. Returns NOT_PARTIAL tombstone | OK life, then per event: id, sequence, position of its verdict ('' if pending)
if not room then
  return reply('NOT_PARTIAL', redis.call('HGET', TOMBSTONES, ROOM_ID .. ' last') or '')
end
local order = redis.call('ZRANGEBYSCORE', ORDER, '(' .. shift(), '+inf', 'WITHSCORES')
local events = {}
for i = 1, #order, 2 do
  events[#events + 1] = { order[i], order[i + 1], redis.call('ZSCORE', RESOLVED, order[i]) or '' }
end
return reply('OK', redis.call('HGET', WORK, 'life'), events)
