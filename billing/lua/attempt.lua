-- A further attempt runs: what an earlier one used is not charged any more.
-- KEYS hold
-- ARGV 1 attempt
local text = redis.call('GET', KEYS[1])
local r = text and row_parse(text)
if not r or r.state ~= 'open' then
    return {r and r.state or 'unknown'}
end
if tonumber(ARGV[1]) > tonumber(r.attempt) then
    r.attempt = ARGV[1]
    redis.call('SET', KEYS[1], row_text(r))
end
return {'open'}
