-- ripe.lua (piece): what time has made ready. Wants token.lua and gone.lua; `keys` are those of claim.lua.

-- Expired leases: ready again at the head (`put(token, envelope)`), one claim used. A broker job that somebody wanted
-- cancelled ends here; whether a durable one has ended is known to PostgreSQL only, and its next holder asks there.
local function return_expired(keys, now, put)
    local expired = redis.call('ZRANGEBYSCORE', keys[2], '-inf', now, 'LIMIT', 0, 500)
    if #expired == 0 then
        return
    end
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
end

-- What is scheduled and due, at the tail of the list `ready(priority)`.
local function promote_due(sched, now, ready)
    local due = redis.call('ZRANGEBYSCORE', sched, '-inf', now, 'LIMIT', 0, 1000)
    if #due == 0 then
        return
    end
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
end

-- When the next of them is due, 0: never.
local function first_due(...)
    local first = 0
    for _, set in ipairs({...}) do
        local head = redis.call('ZRANGE', set, 0, 0, 'WITHSCORES')
        if head[2] and (first == 0 or tonumber(head[2]) < first) then
            first = tonumber(head[2])
        end
    end
    return first
end
