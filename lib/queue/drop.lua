#!lua flags=allow-oom
-- drop.lua: forget every durable job of a queue, before the rebuild: Redis was older than it should be. Broker jobs stay.
-- KEYS: 15
-- KEYS[1] jobs  KEYS[2] lease  KEYS[3] sched  KEYS[4] epoch  KEYS[5] cancel  KEYS[6..15] ready9 .. ready0
-- ARGV[1] where the step before left; '' begins
-- returns {where this step left ('': that was all), how many envelopes it dropped}
--
--   ''  ->  sched CURSOR  ->  list LEFT NAME  ->  jobs CURSOR  ->  ''
--
-- A step looks at about a thousand tokens or envelopes, so that Redis goes on with everybody else's work however long the queue is.
-- The first one takes the epoch away: from then on nobody pushes durable jobs but the rebuild, and whoever trusts an epoch claims
-- nothing. Somebody who knows broker jobs only goes on, hence the order: leases and what is scheduled go before the lists that
-- they would return to. A list is turned round once, so what stays keeps its order; whoever stops halfway begins again.
-- An epoch that is there again is somebody else's, who has rebuilt it all: an error, and nothing is dropped.
-- include: token
-- include: options
-- include: shape/lanes
-- include: shape/tally
local STEP = 1000
local prefix = string.sub(KEYS[1], 1, -5)

-- Members of a sorted set, `every` apart, whose tokens begin at `from`.
local function drop_members(set, members, every, from)
    local go = {}
    for i = 1, #members, every do
        if not is_broker(string.sub(members[i], from)) then
            go[#go + 1] = members[i]
        end
    end
    for i = 1, #go, 5000 do
        redis.call('ZREM', set, unpack(go, i, math.min(i + 4999, #go)))
    end
end

-- In the order of their names, which does not change while they come and go.
local function all_lists()
    local lists = {}
    for k = 6, 15 do
        lists[#lists + 1] = KEYS[k]
    end
    for _, tenant in ipairs(redis.call('ZRANGE', prefix .. 'ring', 0, -1)) do
        for _, lane in ipairs(lanes_of(prefix, tenant)) do
            lists[#lists + 1] = lane
        end
    end
    for _, key in ipairs(redis.call('ZRANGE', prefix .. 'held', 0, -1)) do
        lists[#lists + 1] = prefix .. 'held:' .. key
    end
    table.sort(lists)
    return lists
end

-- Takes n tokens at most from the head and puts those that stay at the tail. Returns how many it took.
local function turn(list, n)
    local tokens, stay = redis.call('LPOP', list, n) or {}, {}
    for _, token in ipairs(tokens) do
        if is_broker(token) then
            stay[#stay + 1] = token
        end
    end
    if #stay > 0 then
        redis.call('RPUSH', list, unpack(stay))
    end
    return #tokens
end

local function turn_lists(left, name)
    local budget = STEP
    for _, list in ipairs(all_lists()) do
        if list > name then
            left = redis.call('LLEN', list)
        end
        while list >= name and left > 0 do
            local taken = turn(list, math.min(left, budget))
            left = taken == 0 and 0 or left - taken
            budget = budget - taken
            if budget <= 0 then
                return 'list ' .. left .. ' ' .. list
            end
        end
    end
    return 'jobs 0'
end

local function drop_envelopes(cursor)
    local page = redis.call('HSCAN', KEYS[1], cursor, 'COUNT', STEP)
    local counted, go = redis.call('EXISTS', prefix .. 'tally') == 1 and tally_new(), {}
    for i = 1, #page[2], 2 do
        if envelope_generation(page[2][i + 1]) ~= 0 then
            go[#go + 1] = page[2][i]
            if counted then
                tally_job(counted, page[2][i + 1], -1)
            end
        end
    end
    local dropped = 0
    for i = 1, #go, 5000 do
        local last = math.min(i + 4999, #go)
        dropped = dropped + redis.call('HDEL', KEYS[1], unpack(go, i, last))
        redis.call('SREM', KEYS[5], unpack(go, i, last))
    end
    if counted then
        tally_put(prefix .. 'tally', counted)
    end
    return page[1], dropped
end

local at, rest = string.match(ARGV[1], '^(%a*) ?(.*)$')
if at == '' then
    redis.call('DEL', KEYS[4])
    drop_members(KEYS[2], redis.call('ZRANGE', KEYS[2], 0, -1), 1, 1) -- as many as workers carry
    return {'sched 0', 0}
elseif redis.call('EXISTS', KEYS[4]) == 1 then
    return redis.error_reply('ERR the queue was rebuilt by somebody else between two steps of drop.lua')
elseif at == 'sched' then
    local page = redis.call('ZSCAN', KEYS[3], rest, 'COUNT', STEP)
    drop_members(KEYS[3], page[2], 2, 2)
    return {page[1] == '0' and 'list 0 ' or 'sched ' .. page[1], 0}
elseif at == 'list' then
    local left, name = string.match(rest, '^(%d+) (.*)$')
    return {turn_lists(tonumber(left), name), 0}
end
local cursor, dropped = drop_envelopes(rest)
return {cursor == '0' and '' or 'jobs ' .. cursor, dropped}
