-- uses: _keys _room _due _servers
-- Record partial events, in order, all or none. Their JSON is stored before.
-- ARGV: life that the JSON is stored in, now, whether a summary is given, acls, join rules, visibilities, number of events,
--   then per event: id, number of prevs, prevs; then the servers that the events let join.
-- Returns NOT_PARTIAL | LIFE life | OK generation outcome... (R recorded, F its prevs are imported)
if not room then
  return reply('NOT_PARTIAL')
end
local life, now, has_summary = shift(), shift(), shift()
local present_life = redis.call('HGET', WORK, 'life')
if life ~= present_life then
  return reply('LIFE', present_life)
end
local acls, join_rules, visibilities = shift(), shift(), shift()
local acknowledged = number('acknowledged')

local function is_imported(event)
  local position = redis.call('ZSCORE', RESOLVED, event)
  return (position and tonumber(position) <= acknowledged) or redis.call('SISMEMBER', FULL, event) == 1
end

local outcomes, recorded, is_news = {}, 0, false
for _ = 1, tonumber(shift()) do
  local event, prevs = shift(), tonumber(shift())
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
    outcomes[#outcomes + 1] = 'F'
  else
    redis.call('ZADD', ORDER, redis.call('HINCRBY', WORK, 'sequence', 1), event)
    redis.call('HSETNX', EVENT_ROOMS, event, ROOM_ID)
    recorded = recorded + 1
    is_news = true
    outcomes[#outcomes + 1] = 'R'
  end
end

local joined = shift()

-- A repetition must not bring an older summary back.
if is_news and has_summary == '1' then
  put('acls', acls)
  put('join_rules', join_rules)
  put('visibilities', visibilities)
  redis.call('HSET', WORK, 'summary', 1)
end
if recorded > 0 then
  local servers = redis.call('HGET', ROOM, 'servers')
  local united = unite(servers, joined)
  if united ~= servers then
    put('servers', united)
  end
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
return reply('OK', room.generation, unpack(outcomes))
