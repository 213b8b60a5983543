-- uses: _keys _room _joins
-- Mark a join that the homeserver holds as persisted, and say what is known of it, in one step: it may be failing meanwhile.
-- ARGV: join event. Returns HELD generation (the room's) | ENDED tombstone | UNKNOWN
local join = shift()
if room and redis.call('ZSCORE', ORDER, join) then
  confirm(join)
  if next(changed) then
    commit('confirm_join')
  end
  return reply_written('HELD', room.generation)
end
local tombstone = redis.call('HGET', TOMBSTONES, ROOM_ID .. ' j ' .. join)
if tombstone then
  return reply_written('ENDED', tombstone)
end
return reply('UNKNOWN')
