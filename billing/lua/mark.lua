-- Replaces a value that is still ours, or removes it; its answer is waited for, or no more.
-- KEYS the value, its answer
-- ARGV 1 ours  2 the new one; empty: none  3 its life, ms  4 how long its answer is waited for, ms; 0: it is not
if redis.call('GET', KEYS[1]) ~= ARGV[1] then
    return 'other'
end
if ARGV[2] == '' then
    redis.call('DEL', KEYS[1])
else
    redis.call('SET', KEYS[1], ARGV[2], 'PX', ARGV[3])
end
if ARGV[4] ~= '0' then
    redis.call('SET', KEYS[2], 'wait', 'PX', ARGV[4])
elseif redis.call('TYPE', KEYS[2]).ok == 'string' and redis.call('GET', KEYS[2]) == 'wait' then
    redis.call('DEL', KEYS[2])
end
return 'ok'
