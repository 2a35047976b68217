-- Ends a call that costs nothing; one whose hold has not come yet gets a tombstone, so that it never will.
-- KEYS account, hold, holds
-- ARGV 1 call  2 life of the row afterwards, ms
-- {result}: released; tomb; or the state that it is in, which stays
local acct, hold, holds = KEYS[1], KEYS[2], KEYS[3]
local text = redis.call('GET', hold)
if not text then
    redis.call('SET', hold, 'tomb|0|0|0||||||||||||', 'PX', ARGV[2])
    return {'tomb'}
end
local r = row_parse(text)
if r.state ~= 'open' then
    return {r.state}
end
hold_return(acct, holds, ARGV[1], r, 0, now_us())
r.state = 'released'
redis.call('SET', hold, row_text(r), 'PX', ARGV[2])
return {'released'}
