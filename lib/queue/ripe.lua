-- ripe.lua (piece): what time has made ready. Wants token.lua and gone.lua; `keys` are those of claim.lua.

-- When the first of a set is due; nil: it is empty.
local function first_of(set)
    return tonumber(redis.call('ZRANGE', set, 0, 0, 'WITHSCORES')[2])
end

-- The first of two times, each of which may be nil.
local function sooner(a, b)
    return a and b and math.min(a, b) or a or b
end

-- Expired leases: ready again at the head (`put(token, envelope)`), one claim used. A broker job that somebody wanted
-- cancelled ends here; whether a durable one has ended is known to PostgreSQL only, and its next holder asks there.
-- Returns when the next one expires.
local function return_expired(keys, now, put)
    local first = first_of(keys[2])
    if not first or first > now then
        return first
    end
    local expired = redis.call('ZRANGEBYSCORE', keys[2], '-inf', now, 'LIMIT', 0, 500)
    redis.call('ZREM', keys[2], unpack(expired))
    redis.call('HINCRBY', keys[4], 'expired', #expired)
    local cancelled = {}
    for i = #expired, 1, -1 do
        local token, again = expired[i], next_token(expired[i], 0)
        local body = again and redis.call('HGET', keys[1], id_of(token))
        if body and is_broker(token) and redis.call('SISMEMBER', keys[9], id_of(token)) == 1 then
            cancelled[#cancelled + 1] = id_of(token)
        elseif body then
            put(again, body)
        end
    end
    forget_jobs(keys[1], keys[9], keys[10], keys[11], cancelled)
    return first_of(keys[2])
end

-- What is scheduled and due, at the tail of the list `ready(priority)`. Returns when the next one is.
local function promote_due(sched, now, ready)
    local first = first_of(sched)
    if not first or first > now then
        return first
    end
    local due = redis.call('ZRANGEBYSCORE', sched, '-inf', now, 'LIMIT', 0, 1000)
    redis.call('ZREM', sched, unpack(due))
    local by = {}
    for _, member in ipairs(due) do
        local p = string.match(member, '^%d') or '5'
        by[p] = by[p] or {}
        by[p][#by[p] + 1] = string.sub(member, 2)
    end
    for p, tokens in pairs(by) do
        redis.call('RPUSH', ready(tonumber(p)), unpack(tokens))
    end
    return first_of(sched)
end
