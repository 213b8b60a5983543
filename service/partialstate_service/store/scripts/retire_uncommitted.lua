-- uses: _keys
-- Give up what was written before a time and never committed. ARGV: time, how many at most. Returns OK count
local old = redis.call('ZRANGEBYSCORE', UNCOMMITTED, '-inf', '(' .. shift(), 'LIMIT', 0, shift())
if #old > 0 then
  redis.call('SADD', GARBAGE, unpack(old))
  redis.call('ZREM', UNCOMMITTED, unpack(old))
end
return reply('OK', tostring(#old))
