-- The limits of a project (p:<project>) or of a model (m:<model>) in an account, or a key's version (kv:<key>), from the ledger.
-- KEYS account
-- ARGV 1 field  2 version  3 value; empty: none
-- ok, or stale: a later version is here. A key's version is its own value and never falls.
local at = 'v:' .. ARGV[1]
local known = redis.call('HGET', KEYS[1], at)
if known and tonumber(ARGV[2]) < tonumber(known) then
    return 'stale'
end
redis.call('HSET', KEYS[1], at, ARGV[2])
if ARGV[3] == '' then
    redis.call('HDEL', KEYS[1], ARGV[1])
else
    redis.call('HSET', KEYS[1], ARGV[1], ARGV[3])
end
return 'ok'
