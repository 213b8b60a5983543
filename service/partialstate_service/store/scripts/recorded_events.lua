-- uses: _keys _room
-- Return the recorded events after a sequence number.
-- ARGV: sequence. Returns NOT_PARTIAL tombstone | NOT_RECONCILED | OK life, then per event: id, sequence, position of its verdict ('' if pending)
if not room then
  return not_partial()
end
local order = redis.call('ZRANGEBYSCORE', ORDER, '(' .. shift(), '+inf', 'WITHSCORES')
local events = {}
for i = 1, #order, 2 do
  events[#events + 1] = { order[i], order[i + 1], redis.call('ZSCORE', RESOLVED, order[i]) or '' }
end
return reply('OK', redis.call('HGET', WORK, 'life'), events)
