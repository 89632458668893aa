#!lua flags=allow-oom
-- cancel.lua: a queued job is taken out; for a leased one the wish is noted.
-- KEYS: 16
-- KEYS[1] jobs  KEYS[2] lease  KEYS[3] sched  KEYS[4] cancel  KEYS[5] unique  KEYS[6] unique_of  KEYS[7..16] ready9 .. ready0
-- ARGV[1] id  ARGV[2] the token that it probably waits under
-- returns 0 not known here, 1 taken out, 2 leased
--   Taken out means without an envelope. The token is removed where that is cheap; claim drops what is left.
-- include: token
-- include: options
-- include: shape/tally
-- include: gone
-- include: shape/lanes
local body = redis.call('HGET', KEYS[1], ARGV[1])
if not body then
    return 0
end
-- Leases are at most what all workers carry; a queue may be a thousand times longer.
for _, token in ipairs(redis.call('ZRANGE', KEYS[2], 0, -1)) do
    if id_of(token) == ARGV[1] then
        redis.call('SADD', KEYS[4], ARGV[1])
        return 2
    end
end
local p = envelope_priority(body)
if redis.call('ZREM', KEYS[3], p .. ARGV[2]) == 0 then
    for _, list in ipairs({KEYS[16 - p], lane_of(string.sub(KEYS[1], 1, -5), tenant_in(body), p)}) do
        if redis.call('LLEN', list) <= 10000 then
            redis.call('LREM', list, 1, ARGV[2])
        end
    end
end
forget_jobs(KEYS[1], KEYS[4], KEYS[5], KEYS[6], {ARGV[1]})
return 1
