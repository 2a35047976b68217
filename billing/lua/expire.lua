-- Ends a hold whose time is over: the sweeper's. A record that comes within the row's life still settles it, once.
-- KEYS account, hold, holds
-- ARGV 1 call  2 life of the row afterwards, ms
-- {result}: expired; early: its time is not over; or the state that it is in
local acct, hold, holds = KEYS[1], KEYS[2], KEYS[3]
local due = redis.call('ZSCORE', holds, ARGV[1])
local now = now_us()
if due and tonumber(due) > now / 1000 then
    return {'early'}
end
local text = redis.call('GET', hold)
local r = text and row_parse(text)
if not r or r.state ~= 'open' then
    redis.call('ZREM', holds, ARGV[1])
    return {r and r.state or 'unknown'}
end
hold_return(acct, holds, ARGV[1], r, 0, now)
r.state = 'expired'
redis.call('SET', hold, row_text(r), 'PX', ARGV[2])
return {'expired'}
