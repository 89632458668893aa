-- stats.lua: what is in one queue.
-- KEYS: 16
-- KEYS[1] jobs  KEYS[2] lease  KEYS[3] sched  KEYS[4] stats  KEYS[5] rate  KEYS[6] paused  KEYS[7..16] ready9 .. ready0
-- ARGV[1] now, ms ('': Redis TIME)
-- returns {ready, leased, scheduled, paused, age of the oldest ready job or 0, ends in the last minute, counter, value ...}
-- include: now
-- include: token
local now = clock(ARGV[1])
local ready, oldest, ends = 0, 0, 0
for k = 7, 16 do
    local n = redis.call('LLEN', KEYS[k])
    if n > 0 then
        ready = ready + n
        local body = redis.call('HGET', KEYS[1], id_of(redis.call('LINDEX', KEYS[k], 0)))
        local born = body and tonumber(string.match(body, '^1 %d+ %d %d+ %d+ (%d+)'))
        if born and now - born > oldest then
            oldest = now - born
        end
    end
end
local slot, slots = math.floor(now / 10000), redis.call('HGETALL', KEYS[5])
for i = 1, #slots, 2 do
    local age = slot - slots[i]
    if age >= 1 and age <= 6 then
        ends = ends + slots[i + 1]
    end
end
local answer = {ready, redis.call('ZCARD', KEYS[2]), redis.call('ZCARD', KEYS[3]), redis.call('EXISTS', KEYS[6]), oldest, ends}
for _, v in ipairs(redis.call('HGETALL', KEYS[4])) do
    answer[#answer + 1] = v
end
return answer
