-- uses: _keys _room _due _chunks _ending _servers _summary
-- Make a room partial, or raise its generation.
-- ARGV: join event, life (that of the room, or an announced new one), now, forget tombstones before, initial progress, version, via, servers,
--   acls, join rules, visibilities, priority, device-list position ('' if none), confirmed, then the seed chunks.
-- Returns REGISTERED | ALREADY_REGISTERED generation | ENDED generation ending | OTHER_VERSION version | LIFE | CHUNK_GONE
local join, life, now, keep_from, progress = shift(), shift(), shift(), shift(), shift()
local known = redis.call('HGET', JOINS, join)
if known then
  return reply_written('ALREADY_REGISTERED', string.match(known, '^%d+'))
end
local tombstone = redis.call('HGET', TOMBSTONES, ROOM_ID .. ' j ' .. join)
if tombstone then
  return reply_written('ENDED', string.match(tombstone, '^(%d+) (%S+)'))
end
if room then
  if redis.call('HGET', WORK, 'life') ~= life then
    return reply('LIFE')
  end
elseif not redis.call('ZSCORE', UNCOMMITTED, 'L ' .. life .. ' ' .. ROOM_ID) then
  return reply('LIFE')
end
local version, via, servers = shift(), shift(), shift()
if room and room.version ~= version then
  return reply('OTHER_VERSION', room.version)
end
local acls, join_rules, visibilities = shift(), shift(), shift()
local priority, devices, confirmed = shift(), shift(), shift()
local seeds = { unpack(ARGV, argument + 1) }
for _, seed in ipairs(seeds) do
  if not is_kept(seed) then
    return reply('CHUNK_GONE')
  end
end

trim_tombstones(keep_from)
if not room then
  room = {}
  redis.call('HSET', WORK, 'life', life)
  redis.call('ZREM', UNCOMMITTED, 'L ' .. life .. ' ' .. ROOM_ID)
  redis.call('ZADD', ROOMS, 0, ROOM_ID)
else
  if room.status == 'ABANDONED' then
    local generation, was_confirmed = string.match(redis.call('HGET', JOINS, room.join), '^(%d+) (%d)')
    redis.call('HSET', JOINS, room.join, generation .. ' ' .. was_confirmed .. ' 1')
  end
  revoke()
  -- The response may be older than what is known: until the state is recovered, all of it is possible.
  local lists = redis.call('HMGET', ROOM, 'acls', 'join_rules', 'visibilities')
  acls = united_lists(lists[1], acls)
  join_rules = united_lists(lists[2], join_rules)
  visibilities = united_lists(lists[3], visibilities)
  servers = unite(redis.call('HGET', ROOM, 'servers'), servers)
  -- The older position also covers what changed between the two joins.
  if room.devices ~= '' and (devices == '' or tonumber(room.devices) < tonumber(devices)) then
    devices = room.devices
  end
end

local generation = next_revision()
redis.call('HSET', JOINS, join, generation .. ' ' .. confirmed .. ' 0')
redis.call('ZADD', ORDER, redis.call('HINCRBY', WORK, 'sequence', 1), join)
redis.call('HSETNX', EVENT_ROOMS, join, ROOM_ID)
for _, seed in ipairs(seeds) do
  keep(seed)
  redis.call('RPUSH', SEEDS, seed)
end
put('generation', generation)
put('status', 'RESYNCING')
put('version', version)
put('join', join)
put('via', via)
put('servers', servers)
put('confirmed', confirmed)
put('verified', 0)
put('registered', now)
put_summary(acls, join_rules, visibilities)
put('priority', priority)
put('devices', devices)
put('progress', progress)
restart_log()
due(now)
commit('register')
return reply('REGISTERED', room.generation)
