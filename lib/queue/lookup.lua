-- lookup.lua: what Redis knows of one job.
-- KEYS: 3
-- KEYS[1] jobs  KEYS[2] lease  KEYS[3] sched
-- ARGV[1] id  ARGV[2] the token that it probably waits under
-- returns {0} unknown, {4, what was kept of its end}, or {1 ready | 2 leased | 3 scheduled, envelope, due ms or 0}
-- include: token
local body = redis.call('HGET', KEYS[1], ARGV[1])
if not body then
    local kept = redis.call('GET', string.gsub(KEYS[1], 'jobs$', 'result:') .. ARGV[1])
    if kept then
        return {4, kept}
    end
    return {0}
end
for _, token in ipairs(redis.call('ZRANGE', KEYS[2], 0, -1)) do
    if id_of(token) == ARGV[1] then
        return {2, body, 0}
    end
end
local due = redis.call('ZSCORE', KEYS[3], envelope_priority(body) .. ARGV[2])
if due then
    return {3, body, tonumber(due)}
end
return {1, body, 0}
