-- Unite two lists of servers, each a text with blanks between; the first one's order is kept.
local function unite(present_servers, more)
  local seen, added = {}, {}
  for server in string.gmatch(present_servers, '%S+') do
    seen[server] = true
  end
  for server in string.gmatch(more, '%S+') do
    if not seen[server] then
      seen[server] = true
      added[#added + 1] = server
    end
  end
  if #added == 0 then
    return present_servers
  end
  if present_servers ~= '' then
    table.insert(added, 1, present_servers)
  end
  return table.concat(added, ' ')
end
