-- Shared by the scripts of this folder: put in front of each of them.
--
-- Money never passes through arithmetic of Lua, whose numbers are doubles: it goes as decimal
-- strings into HINCRBY, whose result's sign decides, and is compared as text. Times, tokens and
-- counts are small enough for doubles.
--
-- A hold's row:
-- state|hold|charged|attempt|epoch|instance|key|project|price|bid|max_input|max_tokens|tokens|scopes|budgets|model
--   epoch    of the account when it was charged; empty before; 0: not known, of a row of before there were epochs
--   scopes   id,requests,tokens,streams; …   limits a minute that the call was counted against
--   budgets  id,period,window; …             where its money was counted
local MINUTE = 60000000 -- us

local function now_us()
    local t = redis.call('TIME')
    return t[1] * 1000000 + t[2]
end

-- a > b, of decimal strings without sign or leading zeros.
local function above(a, b)
    if #a ~= #b then
        return #a > #b
    end
    return a > b
end

local function least(a, b)
    if above(a, b) then
        return b
    end
    return a
end

-- Redis takes no "-0".
local function minus(a)
    return a == '0' and a or '-' .. a
end

local CHARGE, TERMS, COUNTED = '^([^|]*)|([^|]*)|([^|]*)|([^|]*)|', '([^|]*|[^|]*)|([^|]*)|([^|]*|[^|]*|[^|]*|[^|]*)|', '|([^|]*)|([^|]*)|(.*)$'

-- Rows of before there were epochs are read, too: only where the epoch stands do the tokens come at their place. A tombstone has none,
-- and is read for its state.
local function row_parse(text)
    local r = {}
    r.state, r.hold, r.charged, r.attempt, r.epoch, r.fixed, r.project, r.terms, r.tokens, r.scopes, r.budgets, r.model =
        string.match(text, CHARGE .. '(%d*)|' .. TERMS .. '(%d+)' .. COUNTED)
    if not r.state then
        r.epoch = '0'
        r.state, r.hold, r.charged, r.attempt, r.fixed, r.project, r.terms, r.tokens, r.scopes, r.budgets, r.model =
            string.match(text, CHARGE .. TERMS .. '(%d*)' .. COUNTED)
    end
    return r
end

local function row_text(r)
    return table.concat({r.state, r.hold, r.charged, r.attempt, r.epoch, r.fixed, r.project, r.terms, r.tokens, r.scopes, r.budgets, r.model}, '|')
end

-- The field's suffix: a model's name stands at the row's end only.
local function scope_name(id, model)
    return id == 'm' and 'm:' .. model or id
end

-- The stream ends; the tokens that were counted beforehand become those that were used.
local function scopes_return(acct, r, used, now)
    for id, _, tpm, streams in string.gmatch(r.scopes, '([^,;]+),(%d+),(%d+),(%d+);') do
        local name = scope_name(id, r.model)
        if tonumber(streams) > 0 and redis.call('HINCRBY', acct, 's:' .. name, -1) < 0 then
            redis.call('HSET', acct, 's:' .. name, 0)
        end
        if tonumber(tpm) > 0 then
            local tat = tonumber(redis.call('HGET', acct, 't:' .. name) or 0)
            tat = tat + (used - tonumber(r.tokens)) * MINUTE / tonumber(tpm)
            redis.call('HSET', acct, 't:' .. name, string.format('%.0f', math.max(0, math.min(tat, now + MINUTE))))
        end
    end
end

-- Adds a signed amount to the windows of r that still run.
local function budgets_add(acct, r, amount)
    for id, period, window in string.gmatch(r.budgets, '([^,;]+),(%a),(%w+);') do
        local at = id .. ':' .. period
        if redis.call('HGET', acct, 'w:' .. at) == window then
            redis.call('HINCRBY', acct, 'b:' .. at, amount)
        end
    end
end

-- Out of open: all that was held comes back.
local function hold_return(acct, holds, call, r, used, now)
    redis.call('HINCRBY', acct, 'available', r.hold)
    redis.call('ZREM', holds, call)
    scopes_return(acct, r, used, now)
    budgets_add(acct, r, minus(r.hold))
end
