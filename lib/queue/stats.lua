-- stats.lua: what is in one queue.
-- KEYS: 16
-- KEYS[1] jobs  KEYS[2] lease  KEYS[3] sched  KEYS[4] stats  KEYS[5] rate  KEYS[6] gate  KEYS[7..16] ready9 .. ready0
-- ARGV[1] now, ms ('': Redis TIME)
-- returns {ready, leased, scheduled, paused, draining, held, age of the oldest ready job or 0, ends in the last minute,
--          jobs that have not ended, at most so many (0: any number), their bytes (0: not counted), at most, of one tenant at most,
--          counter, value ...}
-- include: now
-- include: token
-- include: options
-- include: shape/policy
-- include: shape/lanes
local now, prefix = clock(ARGV[1]), string.sub(KEYS[1], 1, -5)
local ready, oldest, ends, held = 0, 0, 0, 0
local function look(list)
    local n = redis.call('LLEN', list)
    if n > 0 then
        local body = redis.call('HGET', KEYS[1], id_of(redis.call('LINDEX', list, 0)))
        local born = body and tonumber(string.match(body, '^1 %d+ %d %d+ %d+ (%d+)'))
        if born and now - born > oldest then
            oldest = now - born
        end
    end
    return n
end
for k = 7, 16 do
    ready = ready + look(KEYS[k])
end
local leased, scheduled = redis.call('ZCARD', KEYS[2]), redis.call('ZCARD', KEYS[3])
local keys = redis.call('ZRANGE', prefix .. 'held', 0, 999)
for _, key in ipairs(keys) do
    held = held + redis.call('LLEN', prefix .. 'held:' .. key)
end
-- There may be any number of tenants: what is in none of the other places waits in a lane; the longest waiting is looked for
-- among those who are served next.
local ring = redis.call('ZRANGE', prefix .. 'ring', 0, 63)
if #ring > 0 then
    for _, tenant in ipairs(ring) do
        for _, lane in ipairs(lanes_of(prefix, tenant)) do
            look(lane)
        end
    end
    ready = math.max(redis.call('HLEN', KEYS[1]) - leased - scheduled - held, 0)
end
local slot, slots = math.floor(now / 10000), redis.call('HGETALL', KEYS[5])
for i = 1, #slots, 2 do
    local age = slot - slots[i]
    if age >= 1 and age <= 6 then
        ends = ends + slots[i + 1]
    end
end
local policy = policy_of(redis.call('GET', KEYS[6])) or {}
local paused, draining = policy.letter == 'p' and 1 or 0, policy.d and 1 or 0
local answer = {ready, leased, scheduled, paused, draining, held, oldest, ends, redis.call('HLEN', KEYS[1]), policy.n or 0,
                tonumber(redis.call('HGET', prefix .. 'tally', 'bytes') or 0), policy.b or 0, policy.t or 0}
for _, v in ipairs(redis.call('HGETALL', KEYS[4])) do
    answer[#answer + 1] = v
end
return answer
