-- uses: _keys _room _due _servers _summary
-- Record partial events, in order, all or none. Their JSON is stored before.
-- ARGV: life that the JSON is stored in, now, number of events, then per event: id, whether a summary after it is given, acls, join rules,
--   visibilities, number of prevs, prevs; then the servers that the events let join.
-- Returns NOT_PARTIAL tombstone | NOT_RECONCILED | LIFE life | OK generation outcome... (R recorded, F its prevs are imported)
if not room then
  return not_partial()
end
local life, now = shift(), shift()
local present_life = redis.call('HGET', WORK, 'life')
if life ~= present_life then
  return reply('LIFE', present_life)
end
local acknowledged = number('acknowledged')

local function is_imported(event)
  local position = redis.call('ZSCORE', RESOLVED, event)
  return (position and tonumber(position) <= acknowledged) or redis.call('SISMEMBER', FULL, event) == 1
end

-- Only what is new has news: a repetition must not bring an older summary back.
local function learn(summary, is_partial)
  if summary[1] == '1' then
    put_summary(summary[2], summary[3], summary[4])
    redis.call('HSET', WORK, 'summary', is_partial and 1 or 2)
  end
end

local outcomes, recorded, is_news = {}, 0, false
for _ = 1, tonumber(shift()) do
  local event, summary, prevs = shift(), { shift(), shift(), shift(), shift() }, tonumber(shift())
  local imported = prevs > 0
  for _ = 1, prevs do
    local prev = shift()
    imported = imported and is_imported(prev)
  end
  if redis.call('ZSCORE', ORDER, event) then
    outcomes[#outcomes + 1] = 'R'
  elseif redis.call('SISMEMBER', FULL, event) == 1 then
    outcomes[#outcomes + 1] = 'F'
  elseif imported then
    redis.call('SADD', FULL, event)
    is_news = true
    learn(summary, false)
    outcomes[#outcomes + 1] = 'F'
  else
    redis.call('ZADD', ORDER, redis.call('HINCRBY', WORK, 'sequence', 1), event)
    redis.call('HSETNX', EVENT_ROOMS, event, ROOM_ID)
    recorded = recorded + 1
    is_news = true
    learn(summary, true)
    outcomes[#outcomes + 1] = 'R'
  end
end

local joined = shift()

if is_news then
  local servers = redis.call('HGET', ROOM, 'servers')
  local united = unite(servers, joined)
  if united ~= servers then
    put('servers', united)
  end
end
if recorded > 0 then
  local was_pending = number('pending')
  put('pending', was_pending + recorded)
  put('unimported', number('unimported') + recorded)
  if room.status ~= 'ABANDONED' then
    if room.status == 'AWAITING_IMPORT' or was_pending == 0 then
      put('status', 'RESYNCING')
    end
    if was_pending == 0 or not due_at() then
      wake(now)
    end
  end
end
if next(changed) or recorded > 0 then
  commit('record_partial_events')
end
return reply_written('OK', room.generation, unpack(outcomes))
