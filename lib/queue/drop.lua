#!lua flags=allow-oom
-- drop.lua: forget every durable job of a queue, before the rebuild: Redis was older than it should be. Broker jobs stay.
-- KEYS: 15
-- KEYS[1] jobs  KEYS[2] lease  KEYS[3] sched  KEYS[4] epoch  KEYS[5] cancel  KEYS[6..15] ready9 .. ready0
-- No arguments. One atomic step: about a second for a million jobs, after an accident only.
-- returns how many envelopes were dropped
-- include: token
-- include: options
-- include: shape/lanes
-- include: shape/tally
redis.call('DEL', KEYS[4]) -- from here on nobody pushes durable jobs but the rebuild

local function in_pieces(list, fn)
    for i = 1, #list, 5000 do
        fn(unpack(list, i, math.min(i + 4999, #list)))
    end
end
local function keep_brokers(list)
    local stay, all = {}, redis.call('LRANGE', list, 0, -1)
    for _, token in ipairs(all) do
        if is_broker(token) then
            stay[#stay + 1] = token
        end
    end
    if #stay < #all then
        redis.call('DEL', list)
        in_pieces(stay, function(...) redis.call('RPUSH', list, ...) end)
    end
end
for k = 6, 15 do
    keep_brokers(KEYS[k])
end
local prefix = string.sub(KEYS[1], 1, -5)
for _, tenant in ipairs(redis.call('ZRANGE', prefix .. 'ring', 0, -1)) do
    for _, lane in ipairs(lanes_of(prefix, tenant)) do
        keep_brokers(lane)
    end
end
for _, key in ipairs(redis.call('ZRANGE', prefix .. 'held', 0, -1)) do
    keep_brokers(prefix .. 'held:' .. key)
end
for k, skip in pairs({[2] = 1, [3] = 2}) do
    local go = {}
    for _, member in ipairs(redis.call('ZRANGE', KEYS[k], 0, -1)) do
        if not is_broker(string.sub(member, skip)) then
            go[#go + 1] = member
        end
    end
    in_pieces(go, function(...) redis.call('ZREM', KEYS[k], ...) end)
end
local dropped, cursor, counted = 0, '0', redis.call('EXISTS', prefix .. 'tally') == 1 and tally_new()
repeat
    local page = redis.call('HSCAN', KEYS[1], cursor, 'COUNT', 1000)
    local go = {}
    cursor = page[1]
    for i = 1, #page[2], 2 do
        if envelope_generation(page[2][i + 1]) ~= 0 then
            go[#go + 1] = page[2][i]
            if counted then
                tally_job(counted, page[2][i + 1], -1)
            end
        end
    end
    if #go > 0 then
        dropped = dropped + redis.call('HDEL', KEYS[1], unpack(go))
        redis.call('SREM', KEYS[5], unpack(go))
    end
until cursor == '0'
if counted then
    tally_put(prefix .. 'tally', counted)
end
return dropped
