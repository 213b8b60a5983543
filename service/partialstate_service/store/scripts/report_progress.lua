-- uses: _keys _room _lease
-- Replace the room's progress.
-- ARGV: progress, status ('' to leave it). Returns OK | LEASE_LOST
local progress, status = shift(), shift()
put('progress', progress)
if status ~= '' and room.status ~= 'AWAITING_IMPORT' and room.status ~= 'ABANDONED' then
  put('status', status)
end
commit('report_progress', 'fencing', FENCING)
return reply('OK')
