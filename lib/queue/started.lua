-- started.lua: a broker job begins whose key was to be unique until then: the key is free.
-- KEYS: 2
-- KEYS[1] unique  KEYS[2] unique_of
-- ARGV[1] id
-- returns 1 freed, 0 it was free
local key = redis.call('HGET', KEYS[2], ARGV[1])
if not key then
    return 0
end
if redis.call('HGET', KEYS[1], key) == ARGV[1] then
    redis.call('HDEL', KEYS[1], key)
end
redis.call('HDEL', KEYS[2], ARGV[1])
return 1
