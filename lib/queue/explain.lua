-- explain.lua: where one job stands, and what stands before it. Bounded: a place behind the first 10000 of a list is not found.
-- KEYS: 16
-- KEYS[1] jobs  KEYS[2] lease  KEYS[3] sched  KEYS[4] gate  KEYS[5] epoch  KEYS[6] cancel  KEYS[7..16] ready9 .. ready0
-- ARGV[1] now, ms ('': Redis TIME)  ARGV[2] id  ARGV[3] the token that it probably waits under
-- returns {now, has the queue an epoch, 0 unknown | 1 ready | 2 leased | 3 scheduled | 4 held, when that is over (ms, 0: not known),
--          jobs of higher priorities, jobs before it in its own, tenants that share with its own, is a cancel asked for,
--          its token, the key that holds it or '', is the queue paused}
-- include: now
-- include: token
-- include: options
-- include: shape/policy
-- include: shape/lanes
local now, prefix, id, token = clock(ARGV[1]), string.sub(KEYS[1], 1, -5), ARGV[2], ARGV[3]
local policy = policy_of(redis.call('GET', KEYS[4])) or {}
local body = redis.call('HGET', KEYS[1], id)
local where, at, higher, before, others, holder = body and 1 or 0, 0, 0, 0, 0, ''

local function place(list)
    return redis.call('LPOS', list, token, 'MAXLEN', 10000)
end

local function in_lease()
    for _, t in ipairs(redis.call('ZRANGE', KEYS[2], 0, -1)) do
        if id_of(t) == id then
            token, where, at = t, 2, tonumber(redis.call('ZSCORE', KEYS[2], t))
            return true
        end
    end
end

-- A broker job's token is only guessed: the first that are due are looked through for it.
local function in_sched()
    local member = envelope_priority(body) .. token
    local due = redis.call('ZSCORE', KEYS[3], member)
    if not due then
        for _, m in ipairs(redis.call('ZRANGE', KEYS[3], 0, 999)) do
            if string.sub(m, 2, 37) == id then
                member, due = m, redis.call('ZSCORE', KEYS[3], m)
            end
        end
    end
    if due then
        token, where, at = string.sub(member, 2), 3, tonumber(due)
    end
    return due
end

local function in_held()
    local held = redis.call('ZRANGE', prefix .. 'held', 0, 999, 'WITHSCORES')
    for i = 1, #held, 2 do
        local n = place(prefix .. 'held:' .. held[i])
        if n then
            where, holder, before = 4, held[i], n
            at = held[i + 1] ~= 'inf' and tonumber(held[i + 1]) or 0
            return true
        end
    end
end

-- lists[1..10]: of priority 9 to 0.
local function count(lists, own)
    for i = 1, own - 1 do
        higher = higher + redis.call('LLEN', lists[i])
    end
    before = before + (place(lists[own]) or 0)
end

if body and not in_lease() and not in_sched() and not in_held() then
    local own, ready = 10 - envelope_priority(body), {}
    for i = 1, 10 do
        ready[i] = KEYS[6 + i]
    end
    count(ready, own)
    if redis.call('EXISTS', prefix .. 'ring') == 1 then
        local tenant = tenant_in(body)
        count(lanes_of(prefix, tenant), own)
        others = redis.call('ZCARD', prefix .. 'ring') - (redis.call('ZSCORE', prefix .. 'ring', tenant) and 1 or 0)
    end
end
return {now, redis.call('EXISTS', KEYS[5]), where, at, higher, before, others, redis.call('SISMEMBER', KEYS[6], id), token,
        holder, policy.letter == 'p' and 1 or 0}
