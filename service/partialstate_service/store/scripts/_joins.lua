-- The room's joins, each "generation confirmed abandoned".

-- Mark one of the room's joins as persisted; return whether it is one.
local function confirm(join)
  local known = redis.call('HGET', JOINS, join)
  if not known then
    return false
  end
  local given, _, abandoned = string.match(known, '^(%d+) (%d) (%d)')
  redis.call('HSET', JOINS, join, given .. ' 1 ' .. abandoned)
  if room.join == join then
    put('confirmed', 1)
  end
  return true
end
