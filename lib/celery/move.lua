-- move.lua: a claimed message goes somewhere else, in one step with the end of its claim: back to its queue, to the
-- schedule, to the quarantine; or its next try takes its place.
-- KEYS: 4
-- KEYS[1] unacked   KEYS[2] unacked_index   KEYS[3] held of this claimer   KEYS[4] where to
-- ARGV[1] tag   ARGV[2] head, tail or at   ARGV[3] second (at)   ARGV[4] what goes there
-- returns 1, or 0 when this claimer does not hold it any more (then nothing moves)
if redis.call('HDEL', KEYS[3], ARGV[1]) == 0 then return 0 end
redis.call('HDEL', KEYS[1], ARGV[1])
redis.call('ZREM', KEYS[2], ARGV[1])
if ARGV[2] == 'head' then
    redis.call('RPUSH', KEYS[4], ARGV[4])
elseif ARGV[2] == 'tail' then
    redis.call('LPUSH', KEYS[4], ARGV[4])
else
    redis.call('ZADD', KEYS[4], ARGV[3], ARGV[4])
end
return 1
