#!lua flags=allow-oom
-- purge.lua: throw away up to a number of waiting jobs; leased ones go on.
-- KEYS: 15
-- KEYS[1] jobs  KEYS[2] sched  KEYS[3] cancel  KEYS[4] unique  KEYS[5] unique_of  KEYS[6..15] ready9 .. ready0
-- ARGV[1] how many at most (up to 1000)
-- returns {tokens taken, jobs that were there, durable id ...}; call again until no token was taken
-- include: token
-- include: options
-- include: shape/tally
-- include: gone
-- include: shape/lanes
local left, tokens = tonumber(ARGV[1]), {}
for k = 6, 15 do
    if left > 0 then
        for _, token in ipairs(redis.call('LPOP', KEYS[k], left) or {}) do
            tokens[#tokens + 1] = token
        end
        left = tonumber(ARGV[1]) - #tokens
    end
end
-- Lanes and what is held, a key at a time.
local prefix = string.sub(KEYS[1], 1, -5)
local function empty(list)
    for _, token in ipairs(left > 0 and redis.call('LPOP', list, left) or {}) do
        tokens[#tokens + 1] = token
    end
    left = tonumber(ARGV[1]) - #tokens
    return redis.call('EXISTS', list) == 0
end
while left > 0 do
    local tenant = redis.call('ZRANGE', prefix .. 'ring', 0, 0)[1]
    if not tenant then
        break
    end
    local all = true
    for _, lane in ipairs(lanes_of(prefix, tenant)) do
        all = empty(lane) and all
    end
    if all then
        leave_ring(prefix, tenant)
    end
end
while left > 0 do
    local key = redis.call('ZRANGE', prefix .. 'held', 0, 0)[1]
    if not key then
        break
    end
    if empty(prefix .. 'held:' .. key) then
        redis.call('ZREM', prefix .. 'held', key)
    end
end
if left > 0 then
    local popped = redis.call('ZPOPMIN', KEYS[2], left)
    for i = 1, #popped, 2 do
        tokens[#tokens + 1] = string.sub(popped[i], 2)
    end
end
local ids, answer = {}, {#tokens, 0}
for i, token in ipairs(tokens) do
    ids[i] = id_of(token)
    if not is_broker(token) then
        answer[#answer + 1] = ids[i]
    end
end
answer[2] = forget_jobs(KEYS[1], KEYS[3], KEYS[4], KEYS[5], ids)
return answer
