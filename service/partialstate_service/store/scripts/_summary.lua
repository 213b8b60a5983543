-- What checks need of the room's non-member state: lists of the ACLs, join rules and visibilities that it may have.
-- The room's work has a `summary` while the lists are the homeserver's: 1 as it recorded them with partial events, 2 with an event
-- that is not partial, which no log has.

local function put_summary(acls, join_rules, visibilities)
  local present_lists = redis.call('HMGET', ROOM, 'acls', 'join_rules', 'visibilities')
  for i, list in ipairs({ acls, join_rules, visibilities }) do
    if list ~= present_lists[i] then
      put(({ 'acls', 'join_rules', 'visibilities' })[i], list)
    end
  end
end

-- Return the JSON list of what is in either of two JSON lists.
local function united_lists(list, more)
  local has, adds = string.sub(list, 2, -2), string.sub(more, 2, -2)
  if adds == '' or has == adds or string.sub(has, -#adds - 1) == ',' .. adds then
    return list
  end
  return has == '' and more or '[' .. has .. ',' .. adds .. ']'
end
