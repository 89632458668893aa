#!lua flags=allow-oom
-- limit_put.lua: the limits of a queue from now on. The truth is in PostgreSQL (limits.c); this is its copy.
-- KEYS: 3
-- KEYS[1] limits  KEYS[2] held  KEYS[3] wait
-- ARGV[1..] key, definition (admit.lua), key, definition ...
-- returns how many
--   What is held is looked at anew: it may be held by a limit that is gone.
redis.call('DEL', KEYS[1])
if #ARGV > 0 then
    redis.call('HSET', KEYS[1], unpack(ARGV))
end
for _, key in ipairs(redis.call('ZRANGE', KEYS[2], 0, 4999)) do
    redis.call('ZADD', KEYS[2], 'XX', 0, key)
end
redis.call('ZADD', KEYS[3], 0, 'm')
return #ARGV / 2
