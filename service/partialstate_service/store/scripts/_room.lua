-- The room, and the one way to change the registry: put() fields, then commit().
local SMALL = {
  'generation', 'status', 'version', 'join', 'via', 'confirmed', 'verified', 'registered', 'priority', 'devices',
  'pending', 'unimported', 'position', 'acknowledged',
}

-- Fields that an entry of the log carries only when they change.
local LARGE = { servers = true, acls = true, join_rules = true, visibilities = true, progress = true }

local room = redis.call('HMGET', ROOM, unpack(SMALL))
if room[1] then
  for i, name in ipairs(SMALL) do
    room[name] = room[i]
  end
else
  room = nil
end
local changed = {}

-- Set a field of the room, to be written by commit().
local function put(name, value)
  value = tostring(value)
  if room[name] ~= value then
    room[name] = value
    changed[name] = value
  end
end

local function number(name)
  return tonumber(room[name])
end

-- The revision that commit() will give.
local function next_revision()
  return tonumber(present[2]) + 1
end

-- Call a command with any number of arguments after its first ones; Lua unpacks some thousands at most.
local function in_batches(command, key, items)
  for first = 1, #items, 1000 do
    redis.call(command, key, unpack(items, first, math.min(first + 999, #items)))
  end
end

-- Write what was put, and append one entry to the change log: a new revision with its own chain id. The entry carries
-- all small fields of the room and those large ones that changed, so that replicas apply every kind in the same way.
-- The first change in a new format makes it the store's, so that whoever does not know it stops.
local function commit(kind, ...)
  local revision = tostring(redis.call('HINCRBY', META, 'revision', 1))
  local format = math.max(tonumber(present[4]), WRITES)
  redis.call('HSET', META, 'chain', CHAIN, 'schema', format)
  local entry = { 'chain', CHAIN, 'prev', present[3], 'format', WRITES, 'kind', kind, 'room', ROOM_ID, ... }
  if room then
    for _, name in ipairs(SMALL) do
      entry[#entry + 1] = name
      entry[#entry + 1] = room[name]
    end
    local fields = {}
    for name, value in pairs(changed) do
      fields[#fields + 1] = name
      fields[#fields + 1] = value
    end
    if #fields > 0 then
      redis.call('HSET', ROOM, unpack(fields))
      for i = 1, #fields, 2 do
        if LARGE[fields[i]] then
          entry[#entry + 1] = fields[i]
          entry[#entry + 1] = fields[i + 1]
        end
      end
    end
  end
  redis.call('XADD', LOG, 'MAXLEN', '~', LOG_LIMIT, revision .. '-0', unpack(entry))
  present = { present[1], revision, CHAIN, format }
end
