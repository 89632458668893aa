-- restore.lua: an abandoned claim becomes a message at the head of its queue again, unless it was touched meanwhile.
-- KEYS: 4
-- KEYS[1] unacked   KEYS[2] unacked_index   KEYS[3] held of the claimer that is gone   KEYS[4] the list
-- ARGV[1] tag   ARGV[2] the record as it was read   ARGV[3] the message   ARGV[4] only if claimed before this second ("": always)
-- returns 1 or 0
local score = redis.call('ZSCORE', KEYS[2], ARGV[1])
if ARGV[4] ~= '' and (not score or tonumber(score) > tonumber(ARGV[4])) then return 0 end
if redis.call('HGET', KEYS[1], ARGV[1]) ~= ARGV[2] then return 0 end
redis.call('HDEL', KEYS[1], ARGV[1])
redis.call('ZREM', KEYS[2], ARGV[1])
redis.call('HDEL', KEYS[3], ARGV[1])
redis.call('RPUSH', KEYS[4], ARGV[3])
return 1
