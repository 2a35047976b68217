-- Keeps the answer of an Idempotency-Key as long as the key's own value. The answers of an account stand in one line: the score of each
-- is how many bytes had been kept with it. What lies further back than the account's share is named, for the caller to remove.
-- KEYS the value, its answer, the account's line
-- ARGV 1 the value while its call runs  2 after it  3 the answer  4 what it counts, bytes  5 the share, bytes  6 its name in the line
--      7 life, ms
-- other: the value is another's; else the names of those that are too much
local value = redis.call('GET', KEYS[1])
if value ~= ARGV[1] and value ~= ARGV[2] then
    return 'other'
end
local last = redis.call('ZREVRANGE', KEYS[3], 0, 0, 'WITHSCORES')
local at = tonumber(last[2] or 0) + tonumber(ARGV[4])
redis.call('SET', KEYS[1], ARGV[2], 'PX', ARGV[7])
redis.call('SET', KEYS[2], ARGV[3], 'PX', ARGV[7])
redis.call('ZADD', KEYS[3], string.format('%.0f', at), ARGV[6])
redis.call('PEXPIRE', KEYS[3], ARGV[7])
local old = redis.call('ZRANGEBYSCORE', KEYS[3], '-inf', string.format('%.0f', at - tonumber(ARGV[5])), 'LIMIT', 0, 1000)
if #old > 0 then
    redis.call('ZREM', KEYS[3], unpack(old))
end
return old
