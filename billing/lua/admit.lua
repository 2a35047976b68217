-- Admits a call: key's version, rates, streams, budgets and the hold of its ceiling; all or nothing.
-- KEYS account, hold, holds
-- ARGV 1 call  2 ceiling  3 epoch  4 key  5 its version  6 project  7 model  8 life of the hold, ms  9 tokens expected
--      10 key's limits "requests|tokens|streams"  11 key's budgets "day|month|total"  12 instance  13 price's version  14 bid
--      15 max input  16 max tokens
-- {reason, detail, wait ms, limit, remaining, reset ms of requests, the same of tokens}; -1: no limit
--
-- On the path of every metered request: straight on, few tables, no functions; what nobody limits costs nothing. It stands alone,
-- without common.lua, whose words on money and rows hold here too.
local run = redis.call
local acct, ceiling, project, model = KEYS[1], ARGV[2], ARGV[6], ARGV[7]
local minus = ceiling == '0' and '0' or '-' .. ceiling
local of_key = ARGV[10] ~= '' and 'k:' .. ARGV[4]
local known
if of_key then
    known = run('HMGET', acct, 'epoch', 'cfg', 'kv:' .. ARGV[4], 'm:' .. model, 'p:' .. project, 'r:' .. of_key, 't:' .. of_key, 's:' .. of_key)
else
    known = run('HMGET', acct, 'epoch', 'cfg', 'kv:' .. ARGV[4], 'm:' .. model, 'p:' .. project)
end
local cfg, of_project = known[2], project ~= '' and known[5]

if not cfg or not known[3] then
    return {'absent', cfg and 'key' or 'account', 0, -1, -1, -1, -1, -1, -1}
end
if known[1] ~= ARGV[3] then
    return {'epoch', '', 0, -1, -1, -1, -1, -1, -1}
end
if tonumber(ARGV[5]) < tonumber(known[3]) then
    return {'stale', known[3], 0, -1, -1, -1, -1, -1, -1}
end
if string.sub(cfg, 1, 7) ~= 'active|' then
    return {'suspended', 'account', 0, -1, -1, -1, -1, -1, -1}
end
if of_project and string.sub(of_project, 1, 7) ~= 'active|' then
    return {'suspended', 'project', 0, -1, -1, -1, -1, -1, -1}
end

-- ---- What it is counted against: limits (id, field's end, requests, tokens, streams, and the three buckets as they stand) and
-- budgets (period, limit, field's end), in fixed strides ----
local limits, budgets, asked = nil, nil, nil
local scopes, spent, count = '', '', 0
if of_key then
    local rpm, tpm, streams = string.match(ARGV[10], '^(%d+)|(%d+)|(%d+)$')
    limits = {of_key, of_key, tonumber(rpm), tonumber(tpm), tonumber(streams), known[6], known[7], known[8]}
    scopes, count = of_key .. ',' .. rpm .. ',' .. tpm .. ',' .. streams .. ';', 8
end
if ARGV[11] ~= '' or known[4] or cfg ~= 'active||||||' or (of_project and of_project ~= 'active||||||') then
    local texts = {'a', cfg, 'p:' .. project, of_project or '', 'm', known[4] and 'active|' .. known[4] .. '|||' or '', 'k:' .. ARGV[4],
        ARGV[11] == '' and '' or 'active||||' .. ARGV[11]}
    limits, budgets, asked = limits or {}, {}, {}
    for i = 1, 8, 2 do
        local id = texts[i]
        local name = id == 'm' and 'm:' .. model or id
        local rpm, tpm, streams, day, month, total = string.match(texts[i + 1], '^active|(%d*)|(%d*)|(%d*)|(%d*)|(%d*)|(%d*)')
        local r, k, n = tonumber(rpm) or 0, tonumber(tpm) or 0, tonumber(streams) or 0
        if r + k + n > 0 then
            limits[count + 1], limits[count + 2], limits[count + 3], limits[count + 4], limits[count + 5] = id, name, r, k, n
            count = count + 8
            local f = #asked
            asked[f + 1], asked[f + 2], asked[f + 3] = 'r:' .. name, 't:' .. name, 's:' .. name
            scopes = scopes .. id .. ',' .. string.format('%.0f,%.0f,%.0f;', r, k, n)
        end
        for period, limit in pairs({d = day, m = month, t = total}) do
            if limit ~= '' and limit ~= '0' then
                local at = #budgets
                budgets[at + 1], budgets[at + 2], budgets[at + 3] = period, limit, id .. ':' .. period
            end
        end
    end
    local buckets = #asked
    for i = 3, #budgets, 3 do
        asked[#asked + 1] = 'w:' .. budgets[i]
    end
    if #asked > 0 then
        local told, at = run('HMGET', acct, unpack(asked)), of_key and 8 or 0
        for i = 1, buckets, 3 do
            limits[at + 6], limits[at + 7], limits[at + 8] = told[i], told[i + 1], told[i + 2]
            at = at + 8
        end
        for i = 3, #budgets, 3 do
            asked[i / 3] = told[buckets + i / 3] -- from here on: the windows as they stand
        end
    end
end

-- ---- Rates: buckets that empty within a minute (GCRA); one that the clock left behind is full, not worse ----
local MINUTE = 60000000 -- us
local t = run('TIME')
local now = t[1] * 1000000 + t[2]
local answer = {'ok', '', 0, -1, -1, -1, -1, -1, -1}
local writes, nexts = nil, 0
if count > 0 then
    local tokens, wait, reason, detail = tonumber(ARGV[9]), 0, nil, nil
    local levels, at = {}, 0 -- where in the answer, limit, before, after
    writes = {}
    for i = 1, count, 8 do
        for kind = 1, 2 do
            local limit, cost = limits[i + 1 + kind], kind == 1 and 1 or tokens
            if limit > 0 then
                local before = math.min(math.max(tonumber(limits[i + 4 + kind] or 0) - now, 0), MINUTE)
                local after = before + cost * MINUTE / limit
                levels[at + 1], levels[at + 2], levels[at + 3], levels[at + 4] = kind * 3 + 1, limit, before, after
                at = at + 4
                writes[nexts + 1], writes[nexts + 2] = (kind == 1 and 'r:' or 't:') .. limits[i + 1], math.floor(now + after)
                nexts = nexts + 2
                if cost > limit then -- never: whatever else there is to wait for
                    wait, reason, detail = math.huge, 'tokens_size', tostring(limit)
                elseif after - MINUTE > wait then
                    wait, reason, detail = after - MINUTE, kind == 1 and 'requests' or 'tokens', limits[i]
                end
            end
        end
        if limits[i + 4] > 0 then
            local running = tonumber(limits[i + 7] or 0)
            if running >= limits[i + 4] and not reason then
                wait, reason, detail = 1000000, 'streams', limits[i]
            end
            writes[nexts + 1], writes[nexts + 2] = 's:' .. limits[i + 1], running + 1
            nexts = nexts + 2
        end
    end
    -- Of each kind the tightest bucket is told, with this call counted or not.
    for i = 1, at, 4 do
        local to, level = levels[i], reason and levels[i + 2] or levels[i + 3]
        local left = math.floor((MINUTE - level) * levels[i + 1] / MINUTE + 0.000001)
        if answer[to] == -1 or left < answer[to + 1] then
            answer[to], answer[to + 1], answer[to + 2] = levels[i + 1], left, math.ceil(level / 1000)
        end
    end
    if reason then
        answer[1], answer[2], answer[3] = reason, detail, reason == 'tokens_size' and 0 or math.ceil(wait / 1000)
        return answer
    end
end

-- ---- Windows of budgets: the UTC day, the month (civil_from_days of Hinnant's "chrono-compatible low-level date algorithms"), all ----
if budgets and #budgets > 0 then
    local days = math.floor(now / 86400000000)
    local z = days + 719468
    local era = math.floor(z / 146097)
    local doe = z - era * 146097
    local yoe = math.floor((doe - math.floor(doe / 1460) + math.floor(doe / 36524) - math.floor(doe / 146096)) / 365)
    local doy = doe - (365 * yoe + math.floor(yoe / 4) - math.floor(yoe / 100))
    local mp = math.floor((5 * doy + 2) / 153)
    local m = mp < 10 and mp + 3 or mp - 9
    local months = (yoe + era * 400 + (m <= 2 and 1 or 0) - 1970) * 12 + m - 1
    for i = 1, #budgets, 3 do
        local period = budgets[i]
        budgets[i] = period == 'd' and 'd' .. days or period == 'm' and 'm' .. months or 't'
        spent = spent .. string.sub(budgets[i + 2], 1, -3) .. ',' .. period .. ',' .. budgets[i] .. ';'
    end
end

-- ---- The row: a tombstone, or the same call again, stands in its way ----
local row = 'open|' .. ceiling .. '|0|0||' .. ARGV[12] .. '|' .. ARGV[4] .. '|' .. project .. '|' .. ARGV[13] .. '|' .. ARGV[14] .. '|' ..
    ARGV[15] .. '|' .. ARGV[16] .. '|' .. ARGV[9] .. '|' .. scopes .. '|' .. spent .. '|' .. model
if not run('SET', KEYS[2], row, 'NX') then
    return {'exists', string.match(run('GET', KEYS[2]), '^[^|]*'), 0, -1, -1, -1, -1, -1, -1}
end

-- ---- Money ----
local refused
if budgets and #budgets > 0 then
    for i = 1, #budgets, 3 do
        local field = 'b:' .. budgets[i + 2]
        if asked[(i + 2) / 3] ~= budgets[i] then
            run('HSET', acct, 'w:' .. budgets[i + 2], budgets[i], field, 0)
        end
        local used = run('HINCRBY', acct, field, ceiling)
        budgets[i + 2] = field
        if used > tonumber(budgets[i + 1]) then
            refused = i
            break
        end
    end
end
if not refused and run('HINCRBY', acct, 'available', minus) < 0 then
    run('HINCRBY', acct, 'available', ceiling)
    refused = budgets and #budgets - 2 or 0
    answer[1] = 'balance'
end
if refused then
    for i = 1, refused, 3 do
        run('HINCRBY', acct, budgets[i + 2], minus)
    end
    run('DEL', KEYS[2])
    if answer[1] == 'ok' then
        answer[1], answer[2] = 'budget', string.sub(budgets[refused + 2], 3)
    end
    return answer
end
run('ZADD', KEYS[3], math.floor(now / 1000) + tonumber(ARGV[8]), ARGV[1])
if nexts > 0 then
    run('HSET', acct, unpack(writes))
end
return answer
