-- uses: _keys _room _due _chunks _ending
-- Release a room at once, whatever its status.
-- ARGV: generation, reason, now, forget tombstones before.
-- Returns OK | NOT_PARTIAL tombstone | NOT_RECONCILED | STALE current | CONFIRMED
local generation, reason, now, keep_from = shift(), shift(), shift(), shift()
if not room or room.generation ~= generation then
  if tombstone_of(generation) then
    return reply_written('OK')
  elseif room then
    return reply('STALE', room.generation)
  end
  return not_partial()
end

if reason == 'LEFT' then
  if room.status ~= 'ABANDONED' then
    put('status', 'ABANDONED')
    revoke()
    due(nil)
    commit('release')
  end
  return reply_written('OK')
elseif reason == 'PURGED' then
  end_room('release', 'PURGED', now, keep_from)
  return reply('OK')
end

if room.confirmed == '1' then
  return reply('CONFIRMED')
end
-- The room may have been partial by an earlier join; then it stays so, as that join left it.
local earlier, earlier_generation, confirmed, abandoned
local joins = redis.call('HGETALL', JOINS)
for i = 1, #joins, 2 do
  local given, was_confirmed, was_abandoned = string.match(joins[i + 1], '^(%d+) (%d) (%d)')
  given = tonumber(given)
  if joins[i] ~= room.join and (not earlier or given > earlier_generation) then
    earlier, earlier_generation, confirmed, abandoned = joins[i], given, was_confirmed, was_abandoned
  end
end
if not earlier then
  end_room('release', 'JOIN_FAILED', now, keep_from)
  return reply('OK')
end
bury_join(room.join, string.match(redis.call('HGET', JOINS, room.join), '^%d+'), 'JOIN_FAILED', now)
bury_generation('JOIN_FAILED', now)
redis.call('HDEL', JOINS, room.join)
redis.call('ZREM', ORDER, room.join)
forget_events({ room.join })
revoke()
-- A number of its own: whoever follows the log of the failed join must notice that it begins anew.
put('generation', next_revision())
put('join', earlier)
put('confirmed', confirmed)
restart_log()
if abandoned == '1' then
  put('status', 'ABANDONED')
  due(nil)
else
  put('status', 'RESYNCING')
  due(now)
end
commit('release')
return reply('OK')
