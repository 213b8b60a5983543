-- uses: _keys _room
-- Return those of some events that are recorded.
-- ARGV: number of events, events. Returns NOT_PARTIAL tombstone | NOT_RECONCILED | OK life, then per recorded event: id, sequence,
--   position of its verdict ('' if pending)
if not room then
  return not_partial()
end
local events = {}
for _ = 1, tonumber(shift()) do
  local event = shift()
  local sequence = redis.call('ZSCORE', ORDER, event)
  if sequence then
    events[#events + 1] = { event, sequence, redis.call('ZSCORE', RESOLVED, event) or '' }
  end
end
return reply('OK', redis.call('HGET', WORK, 'life'), events)
