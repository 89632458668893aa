#!lua flags=allow-oom
-- words.lua: how the process died that carried these jobs out; kept for an hour, read when one of them is given up.
-- KEYS: 1
-- KEYS[1] words
-- ARGV[1..] "id:generation", words, ...
-- returns how many were kept
redis.call('HSET', KEYS[1], unpack(ARGV))
redis.call('PEXPIRE', KEYS[1], 3600000)
return #ARGV / 2
