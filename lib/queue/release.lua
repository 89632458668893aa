#!lua flags=allow-oom
-- release.lua: give leases back; the jobs are ready again at the head of their lists, in the order of the tokens.
-- KEYS: 16
-- KEYS[1] jobs  KEYS[2] lease  KEYS[3] stats  KEYS[4] wait  KEYS[5] crashed  KEYS[6] gate  KEYS[7..16] ready9 .. ready0
-- ARGV[1] 1: as a snooze (no attempt used), 0: as an attempt (their process was killed)
-- ARGV[2] 1: their process crashed while they were under way, which is remembered for an hour  ARGV[3..] tokens
-- returns how many leases were still held
-- include: token
-- include: options
-- include: shape/policy
-- include: shape/lanes
local held, prefix, policy = 0, string.sub(KEYS[1], 1, -5), policy_of(redis.call('GET', KEYS[6]))
for i = #ARGV, 3, -1 do
    local token, again = ARGV[i], next_token(ARGV[i], tonumber(ARGV[1]))
    if redis.call('ZREM', KEYS[2], token) == 1 then
        held = held + 1
        local body = redis.call('HGET', KEYS[1], id_of(token))
        if body and again then
            if policy and policy.f then
                lane_head(prefix, again, body)
            else
                redis.call('LPUSH', KEYS[16 - envelope_priority(body)], again)
            end
            if ARGV[2] == '1' then
                redis.call('HINCRBY', KEYS[5], head_of(token), 1)
                redis.call('PEXPIRE', KEYS[5], 3600000)
            end
        end
    end
end
if held > 0 then
    redis.call('HINCRBY', KEYS[3], 'released', held)
    redis.call('ZADD', KEYS[4], 0, 'm')
end
return held
