-- uses: _keys
-- Where the registry stands. Returns OK
return reply('OK')
