-- chord_part.lua: one part of a chord has ended. The same part twice counts once, whatever came of it.
-- KEYS: 3
-- KEYS[1] .j (zset of parts, or a list)   KEYS[2] .t   KEYS[3] .s
-- ARGV[1] place, or +inf   ARGV[2] the part   ARGV[3] seconds to keep them, 0: for ever   ARGV[4] the task's id in quotes
-- returns {parts that are there, parts of the whole; -1: not known}
local parts
if redis.call('TYPE', KEYS[1]).ok == 'list' then
    parts = redis.call('RPUSH', KEYS[1], ARGV[2])
else
    for _, member in ipairs(redis.call('ZRANGEBYSCORE', KEYS[1], ARGV[1], ARGV[1])) do
        local at = string.find(member, ARGV[4], 1, true) -- [1, "id", …
        if at and at < 6 then redis.call('ZREM', KEYS[1], member) end
    end
    redis.call('ZADD', KEYS[1], ARGV[1], ARGV[2])
    parts = redis.call('ZCARD', KEYS[1])
end
local more = tonumber(redis.call('GET', KEYS[2]) or '0') or 0
local whole = tonumber(redis.call('GET', KEYS[3]) or '')
if tonumber(ARGV[3]) > 0 then
    for i = 1, 3 do redis.call('EXPIRE', KEYS[i], ARGV[3]) end
end
return {parts, whole and whole + more or -1}
