#!lua flags=allow-oom
-- limit_note.lua: how a job of a limit's key ended, for its breaker (breaker.lua).
-- KEYS: 1
-- KEYS[1] limits
-- ARGV[1] now, ms ('': Redis TIME)  ARGV[2] key  ARGV[3] '1': well, '0': not
-- returns 0 nobody counts | 1 counted | 2 and it opened | 3 and it closed
-- include: ../now
local prefix, now, key, well = string.sub(KEYS[1], 1, -7), clock(ARGV[1]), ARGV[2], ARGV[3] == '1'
local texts = redis.call('HMGET', KEYS[1], key, '*')
local good, def = pcall(cjson.decode, texts[1] or texts[2] or 'null')
if not good or type(def) ~= 'table' or not def.e or def.f then
    return 0
end
local state = def.g and 'mw:{limits}:' or prefix
local name, window = state .. 'brk:' .. key, state .. 'brkw:' .. key
local percent, least, window_ms, open_ms, probes = unpack(def.e)

-- Who waits looks again, in every queue that shares the limit.
local function wake()
    for _, queue in ipairs(def.g or {string.match(prefix, '^mw:{(.*)}:$')}) do
        local p = 'mw:{' .. queue .. '}:'
        redis.call('ZADD', p .. 'held', 'XX', now, key)
        redis.call('ZADD', p .. 'wait', 0, 'm')
    end
end
local function open()
    redis.call('HSET', name, 's', 'open', 'u', now + open_ms)
    redis.call('DEL', window)
    return 2
end

local now_is = redis.call('HGET', name, 's')
if now_is == 'open' then
    return 1 -- it began before
end
if now_is == 'half' then
    if not well then
        return open()
    end
    if redis.call('HINCRBY', name, 'o', 1) < probes then
        return 1
    end
    redis.call('DEL', name, window)
    wake()
    return 3
end

local tenth = math.max(math.floor(window_ms / 10), 1)
local slot = math.floor(now / tenth)
local seen, ok, bad = redis.call('HGETALL', window), well and 1 or 0, well and 0 or 1
local mine_ok, mine_bad = ok, bad
for i = 1, #seen, 2 do
    local a, b = string.match(seen[i + 1], '(%d+) (%d+)')
    if slot - tonumber(seen[i]) >= 10 then
        redis.call('HDEL', window, seen[i])
    else
        ok, bad = ok + a, bad + b
        if tonumber(seen[i]) == slot then
            mine_ok, mine_bad = mine_ok + a, mine_bad + b
        end
    end
end
redis.call('HSET', window, slot, mine_ok .. ' ' .. mine_bad)
redis.call('PEXPIRE', window, window_ms)
if ok + bad >= least and bad * 100 >= percent * (ok + bad) then
    return open()
end
return 1
