-- Replaces a value that is still ours, or removes it.
-- KEYS the value's
-- ARGV 1 ours  2 the new one; empty: none  3 its life, ms
if redis.call('GET', KEYS[1]) ~= ARGV[1] then
    return 'other'
end
if ARGV[2] == '' then
    redis.call('DEL', KEYS[1])
else
    redis.call('SET', KEYS[1], ARGV[2], 'PX', ARGV[3])
end
return 'ok'
