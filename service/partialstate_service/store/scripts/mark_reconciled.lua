-- uses: _keys _room
-- Let the store decide from now on. Returns OK
if redis.call('HGET', META, 'reconciled') ~= '1' then
  redis.call('HSET', META, 'reconciled', 1)
  commit('mark_reconciled')
end
return reply('OK')
