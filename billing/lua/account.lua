-- What the ledger says of an account, in absolute numbers: a repeat changes nothing.
-- KEYS account
-- ARGV 1 version  2 epoch  3 granted  4 configuration  5 charged so far by the books: only where this Redis knows nothing yet
-- ok; stale: a later version is here; short: more is spent; overflow: above 2^53 - 1. Nothing changes then.
local acct, granted = KEYS[1], ARGV[3]
local known = redis.call('HMGET', acct, 'version', 'granted')
if known[1] and tonumber(ARGV[1]) < tonumber(known[1]) then
    return 'stale'
end
if above(granted, '9007199254740991') then
    return 'overflow'
end
local old = known[2] or ARGV[5]
redis.call('HINCRBY', acct, 'available', granted)
local available = redis.call('HINCRBY', acct, 'available', minus(old))
if available < 0 or available > 9007199254740991 then
    redis.call('HINCRBY', acct, 'available', old)
    redis.call('HINCRBY', acct, 'available', minus(granted))
    if not known[2] then
        redis.call('HDEL', acct, 'available')
    end
    return available < 0 and 'short' or 'overflow'
end
redis.call('HSET', acct, 'version', ARGV[1], 'epoch', ARGV[2], 'granted', granted, 'cfg', ARGV[4])
if not known[2] then
    redis.call('HSET', acct, 'charged', ARGV[5])
end
return 'ok'
