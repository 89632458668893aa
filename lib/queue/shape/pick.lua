-- pick.lua (piece): which ready tokens are next in a shaped queue. Wants lanes.lua.

-- Up to n tokens out of ten lists, strictly from the first on; appended to `out`. Returns how many.
local function pick_strict(lists, n, out)
    local left = n
    while left > 0 do
        local got = redis.call('LMPOP', 10, lists[1], lists[2], lists[3], lists[4], lists[5], lists[6], lists[7], lists[8],
                               lists[9], lists[10], 'LEFT', 'COUNT', left)
        if not got then
            break
        end
        for _, token in ipairs(got[2]) do
            out[#out + 1] = token
        end
        left = left - #got[2]
    end
    return n - left
end

-- The same by weight: a list's time grows by 1 / weight for each token, and the list with the lowest time is next (the first
-- of several). `turns` (hash) keeps the times as long as something waits; a list that was empty goes on with the others.
local function pick_weighted(lists, n, weights, turns, out)
    local saved = redis.call('HMGET', turns, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10)
    local time, len, taken, any, low = {}, {}, {}, false, nil
    for i = 1, 10 do
        time[i], len[i], taken[i] = tonumber(saved[i] or 0), redis.call('LLEN', lists[i]), 0
        any = any or len[i] > 0
    end
    if not any then
        return 0
    end
    local total = 0
    while total < n do
        local best
        for i = 1, 10 do
            if len[i] > taken[i] and (not best or time[i] < time[best]) then
                best = i
            end
        end
        if not best then
            break
        end
        taken[best] = taken[best] + 1
        time[best] = time[best] + 1 / (tonumber(weights[best]) or 1)
        total = total + 1
    end
    for i = 1, 10 do
        if taken[i] > 0 then
            for _, token in ipairs(redis.call('LPOP', lists[i], taken[i])) do
                out[#out + 1] = token
            end
        end
        if len[i] > taken[i] and (not low or time[i] < low) then
            low = time[i]
        end
    end
    if not low then
        redis.call('DEL', turns)
        return total
    end
    local fields = {}
    for i = 1, 10 do
        fields[2 * i - 1] = i
        fields[2 * i] = math.max(time[i] - low, 0)
    end
    redis.call('HSET', turns, unpack(fields))
    return total
end

local function pick_from(lists, n, policy, turns, out)
    if policy.w then
        return pick_weighted(lists, n, policy.w, turns, out)
    end
    return pick_strict(lists, n, out)
end

-- Who of the ring gets how many of n: one at a time to the lowest virtual time, as if all had plenty.
local function shares(ring, weights, n)
    local row, last, order = {}, #ring / 2, {}
    for i = 1, last do
        row[i] = {tenant = ring[2 * i - 1], time = tonumber(ring[2 * i]), step = 1 / (tonumber(weights[i] or 1) or 1), n = 0}
        order[i] = row[i]
    end
    local first = 1
    for _ = 1, n do
        local t, i = row[first], last
        first = first + 1
        t.n = t.n + 1
        t.time = t.time + t.step
        while i >= first and row[i].time > t.time do
            row[i + 1] = row[i]
            i = i - 1
        end
        row[i + 1] = t
        last = last + 1
    end
    return order
end

-- Up to n tokens, shared between the tenants of the ring; appended to `out`. Returns how many.
local function pick_fair(prefix, n, policy, out)
    local ring_key, left = prefix .. 'ring', n
    while left > 0 do
        local ring = redis.call('ZRANGE', ring_key, 0, left - 1, 'WITHSCORES')
        if #ring == 0 then
            break
        end
        local names = {}
        for i = 1, #ring, 2 do
            names[#names + 1] = ring[i]
        end
        local weights = redis.call('HMGET', prefix .. 'weights', unpack(names))
        for _, t in ipairs(shares(ring, weights, left)) do
            if t.n > 0 then
                local lanes = lanes_of(prefix, t.tenant)
                local got = pick_from(lanes, t.n, policy, prefix .. 'turns:' .. t.tenant, out)
                local time = t.time - (t.n - got) * t.step
                left = left - got
                if redis.call('EXISTS', unpack(lanes)) > 0 then
                    redis.call('ZADD', ring_key, time, t.tenant)
                else
                    leave_ring(prefix, t.tenant, time)
                end
            end
        end
    end
    local lowest = redis.call('ZRANGE', ring_key, 0, 0, 'WITHSCORES')
    if lowest[1] then
        redis.call('ZREMRANGEBYSCORE', prefix .. 'idle', '-inf', lowest[2])
    else
        redis.call('DEL', prefix .. 'idle')
    end
    return n - left
end

-- A step of a queue that has become fair: up to n tokens of the ready lists go into lanes. Tokens without a job are dropped.
local function sort_ready(jobs, prefix, lists, n)
    local tokens = {}
    if pick_strict(lists, n, tokens) == 0 then
        return
    end
    local ids, lanes, tenants = {}, {}, {}
    for i = 1, #tokens do
        ids[i] = id_of(tokens[i])
    end
    for i, body in ipairs(redis.call('HMGET', jobs, unpack(ids))) do
        if body then
            lanes_add(lanes, tenants, prefix, tokens[i], body, envelope_priority(body))
        end
    end
    lanes_put(lanes, tenants, prefix)
end

-- A step of a queue that is no longer fair: up to n tokens of the lanes go back into the ready lists.
local function fold_lanes(prefix, lists, n)
    local left = n
    while left > 0 do
        local tenant = redis.call('ZRANGE', prefix .. 'ring', 0, 0)[1]
        if not tenant then
            redis.call('DEL', prefix .. 'idle')
            return
        end
        local lanes = lanes_of(prefix, tenant)
        for i = 1, 10 do
            local tokens = left > 0 and redis.call('LPOP', lanes[i], left)
            if tokens then
                redis.call('RPUSH', lists[i], unpack(tokens))
                left = left - #tokens
            end
        end
        if redis.call('EXISTS', unpack(lanes)) == 0 then
            leave_ring(prefix, tenant)
        end
    end
end
