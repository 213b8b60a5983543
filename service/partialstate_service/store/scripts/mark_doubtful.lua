-- uses: _keys _room
-- Let nobody decide by this store before it is reconciled: a replica has seen that it lost writes, or that it is another one.
-- Returns OK
if redis.call('HGET', META, 'reconciled') == '1' then
  redis.call('HDEL', META, 'reconciled')
  commit('mark_doubtful')
end
return reply('OK')
