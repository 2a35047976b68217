-- Puts back an open hold that this Redis has lost; the balance is restored by the ledger, from all of them.
-- KEYS hold, holds
-- ARGV 1 call  2 row  3 life, ms
-- {result}: asserted, or the state that it is in
local text = redis.call('GET', KEYS[1])
if text then
    return {string.match(text, '^[^|]*')}
end
redis.call('SET', KEYS[1], ARGV[2])
redis.call('ZADD', KEYS[2], math.floor(now_us() / 1000) + tonumber(ARGV[3]), ARGV[1])
return {'asserted'}
