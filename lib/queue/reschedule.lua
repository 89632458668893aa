#!lua flags=allow-oom
-- reschedule.lua: a claim ends, the job comes back later: a retry, or a snooze (which uses no attempt).
-- KEYS: 5
-- KEYS[1] jobs  KEYS[2] lease  KEYS[3] sched  KEYS[4] stats  KEYS[5] wait
-- ARGV[1] now, ms ('': Redis TIME; not looked at)  ARGV[2] run_at, ms  ARGV[3] 1 snooze, 0 retry  ARGV[4] token
-- returns 1, or 0 when the lease is lost
-- include: token
if redis.call('ZREM', KEYS[2], ARGV[4]) == 0 then
    redis.call('HINCRBY', KEYS[4], 'refused', 1)
    return 0
end
redis.call('HINCRBY', KEYS[4], ARGV[3] == '1' and 'snoozed' or 'retried', 1)
local body, again = redis.call('HGET', KEYS[1], id_of(ARGV[4])), next_token(ARGV[4], tonumber(ARGV[3]))
if body and again then
    local member = envelope_priority(body) .. again
    redis.call('ZADD', KEYS[3], ARGV[2], member)
    if redis.call('ZRANGE', KEYS[3], 0, 0)[1] == member then
        redis.call('ZADD', KEYS[5], 0, 'm') -- sleepers know a later due time only
    end
end
return 1
