-- admit.lua (piece): may this job begin now? Asked in shaped queues only, for each token that was picked, after the lanes have
-- chosen it and before it is leased. Wants options.lua. One `c` per claim:
--
--     c = {prefix = "mw:{q}:", now = ms, policy = policy_of(gate), lease = KEYS[2], jobs = KEYS[1], broker = trusted < 0}
--
--   admit(c, token, body)  nil: it begins, and is leased by this very step (it has been counted).
--                          key, at: held back. hold() appends the token to the list of its key; `at` (ms) is when somebody must
--                          look again, unless the end of another lets it go before.
--   let_go(c, n, out)      what was held and may begin now, at most n tokens, appended to `out`, first held first; counted. Called at
--                          the head of each claim, before anything is picked.
--   ended(c, tokens)       these have been acked: what they counted is free, and who waits for it is looked at in this claim.
--   first_held(c)          when the first held job is to be looked at, ms; 0: nothing is held.
--
-- Held tokens lie in
--     held        zset  key -> when to look again
--     held:KEY    list  tokens, first held first; KEY is the job's limit key, '=' for a job that has none
-- A token that is held is its job's one live token, like one in a lane. Tokens without an envelope are dropped by let_go.
-- A claim that acked something while something is held sets the marker, so that somebody comes and lets go.
--
-- Limits (limits.c). A job counts against the limit of its key and against '=', the queue's own; both must have room.
--     limits      hash    key -> {"r":ms between two, "b":burst, "c":at once, "e":[percent, least, window ms, open ms, probes],
--                                 "f":"open"|"closed", "g":[queues]}; '*' is for each key without a limit of its own
--     slots:KEY   set     "queue|token": who is under way
--     slot_of     hash    token -> the keys whose slots it holds, with blanks between
--     tat:KEY     string  the theoretical arrival time of GCRA, ms
--     brk:KEY     hash    the breaker (breaker.lua)
-- With "g" several queues share a limit: its state lies under mw:{limits}:, which is another hash slot (not on a Cluster).
-- A count cannot drift: a slot is worth as much as its lease. When all seem taken, those without a lease are thrown out.
-- include: breaker
local LOOK_AGAIN_MS, LOOKS = 1000, 64

local function limit_of(c, key)
    c.limits = c.limits or {}
    local known = c.limits[key]
    if known == nil then
        local texts = redis.call('HMGET', c.prefix .. 'limits', key, '*')
        local text = texts[1] or (key ~= '=' and texts[2])
        local good, def = pcall(cjson.decode, text or 'null')
        known = good and type(def) == 'table' and def or false
        if known then
            known.state = known.g and 'mw:{limits}:' or c.prefix
        end
        c.limits[key] = known
    end
    return known
end

local function key_of(body)
    local options = options_of(body)
    return options and options.limit_key or '='
end

-- The limits that a job of this key counts against.
local function levels(c, key)
    local all, own = {}, key ~= '=' and limit_of(c, key)
    if own then
        all[1] = {key = key, def = own}
    end
    local whole = limit_of(c, '=')
    if whole then
        all[#all + 1] = {key = '=', def = whole}
    end
    return all
end

local function slot_name(c, token)
    return string.match(c.prefix, '^mw:{(.*)}:$') .. '|' .. token
end

local function slots_are_full(c, level)
    local set, def = level.def.state .. 'slots:' .. level.key, level.def
    if redis.call('SCARD', set) < def.c then
        return false
    end
    if redis.call('SET', set .. ':looked', '1', 'NX', 'PX', 500) then
        for _, slot in ipairs(redis.call('SMEMBERS', set)) do
            local queue, token = string.match(slot, '^(.-)|(.*)$')
            if not (c.counted and c.counted[slot]) and
               not (token and redis.call('ZSCORE', 'mw:{' .. queue .. '}:lease', token)) then
                redis.call('SREM', set, slot)
            end
        end
    end
    return redis.call('SCARD', set) >= def.c
end

-- nil: there is room. Otherwise when to look again.
local function full_until(c, level)
    local def = level.def
    local at = breaker_until(c.now, def, level.key)
    if at then
        return at
    end
    if def.c and slots_are_full(c, level) then
        return c.now + LOOK_AGAIN_MS
    end
    if def.r then
        at = tonumber(redis.call('GET', def.state .. 'tat:' .. level.key) or 0) - def.r * (def.b - 1)
        if at > c.now then
            return math.ceil(at)
        end
    end
end

local function count(c, all, token)
    local keys = {}
    for _, level in ipairs(all) do
        local def, slot = level.def, slot_name(c, token)
        breaker_begin(def, level.key)
        if def.c then
            c.counted = c.counted or {}
            c.counted[slot] = true -- its lease is written at the end of this claim
            redis.call('SADD', def.state .. 'slots:' .. level.key, slot)
            keys[#keys + 1] = level.key
        end
        if def.r then
            local name = def.state .. 'tat:' .. level.key
            local tat = math.max(tonumber(redis.call('GET', name) or 0), c.now) + def.r
            redis.call('SET', name, string.format('%.3f', tat), 'PX', math.ceil(tat - c.now) + 1000)
        end
    end
    if #keys > 0 then
        redis.call('HSET', c.prefix .. 'slot_of', token, table.concat(keys, ' '))
    end
end

local function begin_or_wait(c, key, token)
    local all = levels(c, key)
    for _, level in ipairs(all) do
        local at = full_until(c, level)
        if at then
            return at
        end
    end
    count(c, all, token)
end

local function hold(c, key, at, token)
    redis.call('RPUSH', c.prefix .. 'held:' .. key, token)
    redis.call('ZADD', c.prefix .. 'held', 'LT', at, key)
end

local function admit(c, token, body)
    if not c.policy.l then
        return nil
    end
    local key = key_of(body)
    local before = redis.call('ZSCORE', c.prefix .. 'held', key)
    if before then -- behind those of its key that wait
        return key, before
    end
    local at = begin_or_wait(c, key, token)
    if at then
        return key, at
    end
end

-- Those of one key, as far as they may begin; false: n were let go before all were looked at.
local function let_go_of(c, key, n, out)
    local list, went = c.prefix .. 'held:' .. key, 0
    while went < n do
        local token = redis.call('LINDEX', list, 0)
        if not token then
            redis.call('ZREM', c.prefix .. 'held', key)
            return went
        end
        if redis.call('HEXISTS', c.jobs, id_of(token)) == 1 then
            local at = c.policy.l and begin_or_wait(c, key, token)
            if at then
                redis.call('ZADD', c.prefix .. 'held', at, key)
                return went
            end
            out[#out + 1] = token
            went = went + 1
        end
        redis.call('LPOP', list)
    end
    return went
end

local function let_go(c, n, out)
    local held, went = c.prefix .. 'held', 0
    -- No limits any more: all of them may go, whatever time they were given.
    local latest = c.policy.l and c.now or '+inf'
    for _, key in ipairs(redis.call('ZRANGEBYSCORE', held, '-inf', latest, 'LIMIT', 0, LOOKS)) do
        if went >= n then
            return
        end
        went = went + let_go_of(c, key, n - went, out)
    end
end

-- Who waits for this key is looked at next; in the other queues too, where a limit is shared.
local function wake_held(c, key, def)
    for _, queue in ipairs(def and def.g or {}) do
        local prefix = 'mw:{' .. queue .. '}:'
        if prefix ~= c.prefix and redis.call('ZADD', prefix .. 'held', 'XX', 'CH', c.now, key) == 1 then
            redis.call('ZADD', prefix .. 'wait', 0, 'm')
        end
    end
    if key ~= '=' then
        redis.call('ZADD', c.prefix .. 'held', 'XX', c.now, key)
        return
    end
    for _, waiting in ipairs(redis.call('ZRANGE', c.prefix .. 'held', 0, LOOKS - 1)) do
        redis.call('ZADD', c.prefix .. 'held', 'XX', 'LT', c.now, waiting)
    end
end

local function ended(c, first)
    local slot_of = c.prefix .. 'slot_of'
    if redis.call('EXISTS', slot_of) == 0 then
        return
    end
    for i = first, #ARGV do
        local token = ARGV[i]
        for key in string.gmatch(redis.call('HGET', slot_of, token) or '', '%S+') do
            local def = limit_of(c, key)
            redis.call('SREM', (def and def.state or c.prefix) .. 'slots:' .. key, slot_name(c, token))
            wake_held(c, key, def)
        end
        redis.call('HDEL', slot_of, token)
    end
end

local function first_held(c)
    local first = redis.call('ZRANGE', c.prefix .. 'held', 0, 0, 'WITHSCORES')
    return first[2] and math.max(tonumber(first[2]), 1) or 0
end
