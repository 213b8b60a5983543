-- uses: _keys
-- Where the registry stands. Returns OK doubt (the id of the last one; '' for none)
return reply('OK', redis.call('HGET', META, 'doubt') or '')
