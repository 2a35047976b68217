-- Charges a call once and gives back what is left of its hold.
-- KEYS account, hold, holds
-- ARGV 1 call  2 amount  3 attempt  4 tokens used  5 life of the row afterwards, ms
-- {result, charged, epoch in which it was}: settled, late_settled; again, again_late: as charged before; other: another attempt was charged;
-- released, tomb, unknown: nothing is charged
local acct, hold, holds = KEYS[1], KEYS[2], KEYS[3]
local text = redis.call('GET', hold)
if not text then
    return {'unknown', '0', '0'}
end
local r = row_parse(text)
if r.state == 'settled' or r.state == 'late_settled' then
    if r.attempt ~= ARGV[3] then
        return {'other', '0', '0'}
    end
    return {r.state == 'settled' and 'again' or 'again_late', r.charged, r.epoch}
end
if r.state ~= 'open' and r.state ~= 'expired' then
    return {r.state, '0', '0'}
end
if tonumber(ARGV[3]) < tonumber(r.attempt) then
    return {'other', '0', '0'}
end
local charged = least(ARGV[2], r.hold)
if r.state == 'open' then
    hold_return(acct, holds, ARGV[1], r, tonumber(ARGV[4]), now_us())
    r.state = 'settled'
else
    charged = least(charged, redis.call('HGET', acct, 'available') or '0')
    r.state = 'late_settled'
end
redis.call('HINCRBY', acct, 'available', minus(charged))
redis.call('HINCRBY', acct, 'charged', charged)
budgets_add(acct, r, charged)
r.charged, r.attempt, r.epoch = charged, ARGV[3], redis.call('HGET', acct, 'epoch') or '0'
redis.call('SET', hold, row_text(r), 'PX', ARGV[5])
return {r.state, charged, r.epoch}
