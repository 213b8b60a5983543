-- uses: _keys _room _due _lease
-- Hold the lease longer.
-- ARGV: end of the lease. Returns OK | LEASE_LOST
due(shift())
return reply('OK')
