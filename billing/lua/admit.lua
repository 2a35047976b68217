-- Admits a call: key's version, rates, streams, budgets and the hold of its ceiling; all or nothing.
-- KEYS account, hold, holds
-- ARGV 1 call  2 ceiling  3 epoch  4 key  5 its version  6 project  7 model  8 life of the hold, ms  9 tokens expected
--      10 key's limits "requests|tokens|streams"  11 key's budgets "day|month|total"  12 instance  13 price's version  14 bid
--      15 max input  16 max tokens
-- {reason, detail, wait ms, limit, remaining, reset ms of requests, the same of tokens}; -1: no limit
local acct, hold, holds = KEYS[1], KEYS[2], KEYS[3]
local call, ceiling, project, model = ARGV[1], ARGV[2], ARGV[6], ARGV[7]
local known = redis.call('HMGET', acct, 'epoch', 'cfg', 'kv:' .. ARGV[4], 'm:' .. model, 'p:' .. project)
local rates = {-1, -1, -1, -1, -1, -1}

local function refuse(reason, detail, wait)
    return {reason, detail or '', math.ceil((wait or 0) / 1000), unpack(rates)}
end

if not known[2] or not known[3] then
    return refuse('absent', known[2] and 'key' or 'account')
end
if known[1] ~= ARGV[3] then
    return refuse('epoch')
end
if tonumber(ARGV[5]) < tonumber(known[3]) then
    return refuse('stale', known[3])
end

-- ---- What it is counted against ----
local limits, budgets, fields = {}, {}, {}

local function scope_add(id, rpm, tpm, streams)
    rpm, tpm, streams = tonumber(rpm) or 0, tonumber(tpm) or 0, tonumber(streams) or 0
    if rpm + tpm + streams == 0 then
        return
    end
    local name = scope_name(id, model)
    limits[#limits + 1] = {id = id, name = name, rpm = rpm, tpm = tpm, streams = streams, at = #fields}
    fields[#fields + 1] = 'r:' .. name
    fields[#fields + 1] = 't:' .. name
    fields[#fields + 1] = 's:' .. name
end

local function budget_add(id, period, limit)
    if limit ~= '' and limit ~= '0' then
        budgets[#budgets + 1] = {id = id, period = period, limit = limit, name = id .. ':' .. period, at = #fields}
        fields[#fields + 1] = 'w:' .. id .. ':' .. period
    end
end

local CONFIG = '^([^|]*)|(%d*)|(%d*)|(%d*)|(%d*)|(%d*)|(%d*)'
local function config_add(id, text)
    local state, rpm, tpm, streams, day, month, total = string.match(text, CONFIG)
    if state ~= 'active' then
        return false
    end
    scope_add(id, rpm, tpm, streams)
    budget_add(id, 'd', day)
    budget_add(id, 'm', month)
    budget_add(id, 't', total)
    return true
end

if not config_add('a', known[2]) then
    return refuse('suspended', 'account')
end
if project ~= '' and known[5] and not config_add('p:' .. project, known[5]) then
    return refuse('suspended', 'project')
end
if ARGV[10] ~= '' or ARGV[11] ~= '' then
    config_add('k:' .. ARGV[4], 'active|' .. (ARGV[10] == '' and '||' or ARGV[10]) .. '|' .. (ARGV[11] == '' and '||' or ARGV[11]))
end
if known[4] then
    scope_add('m', string.match(known[4], '^(%d*)|(%d*)|(%d*)'))
end

-- ---- Rates: buckets that empty within a minute (GCRA) ----
local now = now_us()
local state = #fields > 0 and redis.call('HMGET', acct, unpack(fields)) or {}
local tokens = tonumber(ARGV[9])
local writes = {}

-- Where the bucket stands; one that the clock left behind is full, not worse.
local function bucket(text)
    return math.min(math.max(tonumber(text or 0), now), now + MINUTE)
end

local buckets = {}

-- How long until the bucket takes this; 0: at once.
local function rate_take(field, at, limit, cost, text)
    local before = bucket(text) - now
    local after = before + cost * MINUTE / limit
    buckets[#buckets + 1] = {at = at, limit = limit, before = before, after = after}
    writes[#writes + 1] = field
    writes[#writes + 1] = string.format('%.0f', now + after)
    return math.max(0, after - MINUTE)
end

-- Of each kind the tightest bucket is told, with this call counted or not.
local function rates_note(counted)
    for _, b in ipairs(buckets) do
        local level = counted and b.after or b.before
        local left = math.floor((MINUTE - level) * b.limit / MINUTE + 0.000001)
        if rates[b.at] == -1 or left < rates[b.at + 1] then
            rates[b.at], rates[b.at + 1], rates[b.at + 2] = b.limit, left, math.ceil(level / 1000)
        end
    end
end

for _, l in ipairs(limits) do
    if l.tpm > 0 and tokens > l.tpm then
        return refuse('tokens_size', tostring(l.tpm))
    end
end
local wait, reason, detail = 0, nil, nil
for _, l in ipairs(limits) do
    local wait_r = l.rpm > 0 and rate_take('r:' .. l.name, 1, l.rpm, 1, state[l.at + 1]) or 0
    local wait_t = l.tpm > 0 and rate_take('t:' .. l.name, 4, l.tpm, tokens, state[l.at + 2]) or 0
    if wait_r > wait then
        wait, reason, detail = wait_r, 'requests', l.id
    end
    if wait_t > wait then
        wait, reason, detail = wait_t, 'tokens', l.id
    end
    if l.streams > 0 then
        local running = tonumber(state[l.at + 3] or 0)
        if running >= l.streams and not reason then
            wait, reason, detail = 1000000, 'streams', l.id
        end
        writes[#writes + 1] = 's:' .. l.name
        writes[#writes + 1] = running + 1
    end
end
rates_note(not reason)
if reason then
    return refuse(reason, detail, wait)
end

-- ---- The row: a tombstone, or the same call again, stands in its way ----
local days = math.floor(now / 86400000000)
local month
-- Months since 1970 (proleptic Gregorian; Hinnant, "chrono-compatible low-level date algorithms", civil_from_days).
local function month_of()
    local z = days + 719468
    local era = math.floor(z / 146097)
    local doe = z - era * 146097
    local yoe = math.floor((doe - math.floor(doe / 1460) + math.floor(doe / 36524) - math.floor(doe / 146096)) / 365)
    local doy = doe - (365 * yoe + math.floor(yoe / 4) - math.floor(yoe / 100))
    local mp = math.floor((5 * doy + 2) / 153)
    local m = mp < 10 and mp + 3 or mp - 9
    local y = yoe + era * 400 + (m <= 2 and 1 or 0)
    return (y - 1970) * 12 + m - 1
end

local scopes, spent = {}, {}
for i, l in ipairs(limits) do
    scopes[i] = string.format('%s,%.0f,%.0f,%.0f;', l.id, l.rpm, l.tpm, l.streams)
end
for i, b in ipairs(budgets) do
    if b.period == 'd' then
        b.window = 'd' .. days
    elseif b.period == 'm' then
        month = month or month_of()
        b.window = 'm' .. month
    else
        b.window = 't'
    end
    spent[i] = string.format('%s,%s,%s;', b.id, b.period, b.window)
end
local row = table.concat({'open', ceiling, '0', '0', ARGV[12], ARGV[4], project, ARGV[13], ARGV[14], ARGV[15], ARGV[16], ARGV[9],
    table.concat(scopes), table.concat(spent), model}, '|')
if not redis.call('SET', hold, row, 'NX') then
    return refuse('exists', string.match(redis.call('GET', hold), '^[^|]*'))
end

-- ---- Money ----
local taken = 0
local function undo(name, why)
    for i = 1, taken do
        redis.call('HINCRBY', acct, 'b:' .. budgets[i].name, minus(ceiling))
    end
    redis.call('DEL', hold)
    return refuse(name, why)
end

for i, b in ipairs(budgets) do
    if state[b.at + 1] ~= b.window then
        redis.call('HSET', acct, 'w:' .. b.name, b.window, 'b:' .. b.name, 0)
    end
    local used = redis.call('HINCRBY', acct, 'b:' .. b.name, ceiling)
    taken = i
    if used > tonumber(b.limit) then
        return undo('budget', b.name)
    end
end
if redis.call('HINCRBY', acct, 'available', minus(ceiling)) < 0 then
    redis.call('HINCRBY', acct, 'available', ceiling)
    return undo('balance')
end
redis.call('ZADD', holds, math.floor(now / 1000) + tonumber(ARGV[8]), call)
if #writes > 0 then
    redis.call('HSET', acct, unpack(writes))
end
return {'ok', '', 0, unpack(rates)}
