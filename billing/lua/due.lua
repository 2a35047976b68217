-- The open holds whose time is over, by Redis' clock, by which they were given it: no more than the sweeper takes at once.
-- KEYS holds
-- ARGV 1 how many
-- calls, the longest over first
return redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', math.floor(now_us() / 1000), 'LIMIT', 0, ARGV[1])
