#!lua flags=allow-oom
-- epoch.lua: one step of the epoch, which PostgreSQL has taken already.
-- KEYS: 1
-- KEYS[1] epoch
-- ARGV[1] the oldest epoch that may be here (-1: set it, whatever is here)  ARGV[2] the new one
-- returns 1, or 0 when Redis is empty or older than it should be: then nothing is changed
local from, to = tonumber(ARGV[1]), tonumber(ARGV[2])
local here = tonumber(redis.call('GET', KEYS[1]) or -1)
if here < from then
    return 0
end
if here < to then
    redis.call('SET', KEYS[1], ARGV[2])
end
return 1
