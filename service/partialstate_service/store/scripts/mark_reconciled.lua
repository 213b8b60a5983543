-- uses: _keys _room
-- Let the store decide from now on.
-- ARGV: none, or the store id, revision and chain id of the last change that the reconciliation has seen.
-- Returns OK | LOST the store is not the one any more, or has lost that change
local store_id, revision, chain = shift(), shift(), shift()
if store_id then
  local has_seen = store_id == present[1] and revision == present[2] and chain == present[3]
  if store_id == present[1] and not has_seen then
    local entry = redis.call('XRANGE', LOG, revision .. '-0', '+', 'COUNT', 1)[1]
    local name = entry and (entry[1] == revision .. '-0' and 'chain' or 'prev')
    -- A change that the log no longer reaches back to may be lost as well.
    if entry and (name == 'chain' or tonumber(string.match(entry[1], '^%d+')) == tonumber(revision) + 1) then
      for i = 1, #entry[2], 2 do
        has_seen = has_seen or (entry[2][i] == name and entry[2][i + 1] == chain)
      end
    end
  end
  if not has_seen then
    return reply('LOST')
  end
end
if redis.call('HGET', META, 'reconciled') ~= '1' then
  redis.call('HSET', META, 'reconciled', 1)
  commit('mark_reconciled')
end
return reply_written('OK')
