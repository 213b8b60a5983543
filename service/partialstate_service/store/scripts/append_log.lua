-- uses: _keys _room _due _chunks _servers _summary _lease
-- Append segments to the recovered-state log and mark events as having full state.
-- ARGV: number of segments, per segment: how many records, the chunk, the segment's text without its first position;
--   number of events, events; servers to add; whether a verified summary is given, acls, join rules, visibilities.
-- A segment is the text "first kind key digest size count core-size", then a line of rejected and one of omitted events.
-- Returns OK position | LEASE_LOST | CHUNK_GONE
local segments, position = {}, number('position')
for _ = 1, tonumber(shift()) do
  local count, chunk, text = tonumber(shift()), shift(), shift()
  if not is_kept(chunk) then
    return reply('CHUNK_GONE')
  end
  segments[#segments + 1] = { count = count, chunk = chunk, text = text }
end

-- A call whose answer was lost is repeated as it was: the log ends with its segments already.
local tail = #segments > 0 and redis.call('LRANGE', SEGMENTS, -#segments, -1) or {}
local is_repetition = #segments > 0 and #tail == #segments
for i = 1, #tail do
  is_repetition = is_repetition and string.gsub(tail[i], '^%d+ ', '', 1) == segments[i].text
end
if not is_repetition then
  for _, segment in ipairs(segments) do
    keep(segment.chunk)
    redis.call('RPUSH', SEGMENTS, (position + 1) .. ' ' .. segment.text)
    position = position + segment.count
  end
  put('position', position)
end

local resolved = 0
for _ = 1, tonumber(shift()) do
  local event = shift()
  if redis.call('ZSCORE', ORDER, event) and not redis.call('ZSCORE', RESOLVED, event) then
    redis.call('ZADD', RESOLVED, position, event)
    resolved = resolved + 1
  end
end
put('pending', number('pending') - resolved)
if position <= number('acknowledged') then
  put('unimported', number('unimported') - resolved)
end
if room.pending == '0' then
  put('status', 'AWAITING_IMPORT')
  redis.call('HDEL', WORK, 'wake')
end
local additional = shift()
if additional ~= '' then
  local servers = redis.call('HGET', ROOM, 'servers')
  local united = unite(servers, additional)
  if united ~= servers then
    put('servers', united)
  end
end
local has_summary, acls, join_rules, visibilities = shift(), shift(), shift(), shift()
if has_summary == '1' then
  put('verified', 1)
  -- What the homeserver recorded with events that have no full state yet is newer.
  local given = redis.call('HGET', WORK, 'summary')
  if not given or (given == '1' and room.pending == '0') then
    put_summary(acls, join_rules, visibilities)
    redis.call('HDEL', WORK, 'summary')
  end
end
if next(changed) then
  commit('append_log', 'fencing', FENCING)
end
return reply('OK', room.position)
