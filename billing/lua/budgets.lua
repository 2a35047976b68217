-- What the books have charged in the windows of budgets that were set just now: what was spent before counts, too.
-- KEYS account
-- ARGV 1 as restore.lua is told: "id:period,window,nano; …"
-- ok. A window that is counted already never falls: the books are behind, and know no holds.
for at, window, nano in string.gmatch(ARGV[1], '([^,;]+),(%w+),(%d+);') do
    local known = redis.call('HMGET', KEYS[1], 'w:' .. at, 'b:' .. at)
    local of, now = tonumber(known[1] and string.sub(known[1], 2) or '') or 0, tonumber(string.sub(window, 2)) or 0
    if not known[1] or of < now or (of == now and tonumber(nano) > tonumber(known[2] or 0)) then
        redis.call('HSET', KEYS[1], 'w:' .. at, window, 'b:' .. at, nano)
    end
end
return 'ok'
