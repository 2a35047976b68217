-- Recovery: an account's money from the books, less the open holds that are here.
-- KEYS account, holds, the holds' rows …
-- ARGV 1 epoch  2 version  3 granted  4 charged by the books  5 configuration  6 … the calls of the rows, in order of their expiry
-- ok; moved: other holds are open now: read them again. short: held and charged are more than granted: available is 0
local acct, holds = KEYS[1], KEYS[2]
local open = redis.call('ZRANGE', holds, 0, -1)
if #open ~= #KEYS - 2 then
    return 'moved'
end
for i, call in ipairs(open) do
    if call ~= ARGV[5 + i] then
        return 'moved'
    end
end
for _, field in ipairs(redis.call('HKEYS', acct)) do
    if string.sub(field, 1, 2) == 's:' then
        redis.call('HDEL', acct, field)
    end
end
redis.call('HSET', acct, 'available', ARGV[3], 'granted', ARGV[3], 'charged', ARGV[4], 'epoch', ARGV[1], 'version', ARGV[2],
    'cfg', ARGV[5])
local available = redis.call('HINCRBY', acct, 'available', minus(ARGV[4]))
for i, call in ipairs(open) do
    local text = redis.call('GET', KEYS[2 + i])
    local r = text and row_parse(text)
    if r and r.state == 'open' then
        available = redis.call('HINCRBY', acct, 'available', minus(r.hold))
        for id, _, _, streams in string.gmatch(r.scopes, '([^,;]+),(%d+),(%d+),(%d+);') do
            if tonumber(streams) > 0 then
                redis.call('HINCRBY', acct, 's:' .. scope_name(id, r.model), 1)
            end
        end
    else
        redis.call('ZREM', holds, call)
    end
end
if available < 0 then
    redis.call('HSET', acct, 'available', 0)
    return 'short'
end
return 'ok'
