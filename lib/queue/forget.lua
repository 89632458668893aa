#!lua flags=allow-oom
-- forget.lua: drop leases without ending their jobs: tokens of a generation that is no longer the envelope's.
-- KEYS: 1
-- KEYS[1] lease
-- ARGV[1..] tokens
-- returns how many were held
return redis.call('ZREM', KEYS[1], unpack(ARGV))
