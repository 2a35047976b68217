-- Recovery: an account's money from the books, less the open holds that are here.
-- KEYS account, holds, the rows of the open holds …, the rows of calls that the books have billed late …
-- ARGV 1 epoch  2 version  3 granted  4 charged by the books  5 configuration  6 life of a row that is over, ms
--      7 budgets: what the books have charged in the windows of now: "id:period,window,nano; …"
--      8 how many are open
--      9 … of each row, the open ones in order of their expiry: the call, and what the books have billed of it: amount and attempt; both
--      empty: nothing
-- ok; moved: other holds are open now: read them again. short: more was held than there is: the last holds were cut to what was left
--
-- A server that comes back with an older state has holds open or expired that were settled since: the books say so, and a record that
-- comes again must find them settled.
local acct, holds = KEYS[1], KEYS[2]
local result = 'ok'
local open = redis.call('ZRANGE', holds, 0, -1)
if #open ~= tonumber(ARGV[8]) then
    return 'moved'
end
for i, call in ipairs(open) do
    if call ~= ARGV[6 + 3 * i] then
        return 'moved'
    end
end
for _, field in ipairs(redis.call('HKEYS', acct)) do
    if string.find(field, '^[sbw]:') then
        redis.call('HDEL', acct, field)
    end
end
for at, window, nano in string.gmatch(ARGV[7], '([^,;]+),(%w+),(%d+);') do
    redis.call('HSET', acct, 'w:' .. at, window, 'b:' .. at, nano)
end
redis.call('HSET', acct, 'available', ARGV[3], 'granted', ARGV[3], 'charged', ARGV[4], 'epoch', ARGV[1], 'version', ARGV[2],
    'cfg', ARGV[5])
if redis.call('HINCRBY', acct, 'available', minus(ARGV[4])) < 0 then
    redis.call('HSET', acct, 'available', 0)
    result = 'short'
end

-- A call that was put back: its gateway does not know where it was counted.
local function count_anew(r)
    local key = string.match(r.fixed, '|([^|]*)$')
    for owner, period, window in string.gmatch(ARGV[7], '([^,;]+):(%a),(%w+),%d+;') do
        if owner == 'a' or (r.project ~= '' and owner == 'p:' .. r.project) or owner == 'k:' .. key then
            r.budgets = r.budgets .. owner .. ',' .. period .. ',' .. window .. ';'
        end
    end
end

local function row(i)
    local text = redis.call('GET', KEYS[2 + i])
    return text and row_parse(text)
end

-- As the books have billed it.
local function settle(i, r, state)
    r.state, r.charged, r.attempt, r.epoch = state, ARGV[7 + 3 * i], ARGV[8 + 3 * i], ARGV[1]
    redis.call('SET', KEYS[2 + i], row_text(r), 'PX', ARGV[6])
end

for i, call in ipairs(open) do
    local r = row(i)
    if not r or r.state ~= 'open' then
        redis.call('ZREM', holds, call)
    elseif ARGV[7 + 3 * i] ~= '' then
        redis.call('ZREM', holds, call)
        settle(i, r, 'settled')
    else
        local left = redis.call('HGET', acct, 'available')
        if r.budgets == '' then
            count_anew(r)
        end
        if above(r.hold, left) then
            r.hold, result = left, 'short'
        end
        redis.call('SET', KEYS[2 + i], row_text(r))
        redis.call('HINCRBY', acct, 'available', minus(r.hold))
        budgets_add(acct, r, r.hold)
        for id, _, _, streams in string.gmatch(r.scopes, '([^,;]+),(%d+),(%d+),(%d+);') do
            if tonumber(streams) > 0 then
                redis.call('HINCRBY', acct, 's:' .. scope_name(id, r.model), 1)
            end
        end
    end
end
for i = #open + 1, #KEYS - 2 do
    local r = row(i)
    if r and r.state == 'expired' then
        settle(i, r, 'late_settled')
    end
end
return result
