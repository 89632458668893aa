-- lanes.lua (piece): fair share. Each tenant's ready jobs lie in ten lists of their own, and the tenants stand in a ring by
-- the work that they were given. Wants token.lua. prefix: "mw:{q}:".
--
--     ring          zset  tenant -> virtual time: jobs taken / weight. The lowest is served next
--     idle          zset  tenant -> virtual time of one whose lanes ran empty, until everybody has passed it
--     laneP:TENANT  list  tokens of priority P; TENANT is '-' for jobs of nobody
--     weights       hash  tenant -> weight (1 if not in here)
--
-- Who comes begins at the lowest time of those who are there, or where he left: not at zero, or a newcomer would get
-- everything until he has caught up; not lower than he left, or one job at a time would be a way to the front of the row.
-- include: ../options
local function lane_of(prefix, tenant, p)
    return prefix .. 'lane' .. p .. ':' .. tenant
end

local function lanes_of(prefix, tenant)
    local lanes = {}
    for p = 9, 0, -1 do
        lanes[10 - p] = lane_of(prefix, tenant, p)
    end
    return lanes
end

local function tenant_in(body)
    return tenant_of(body) or '-'
end

local function join_ring(prefix, tenant)
    local ring, idle = prefix .. 'ring', prefix .. 'idle'
    if redis.call('ZSCORE', ring, tenant) then
        return
    end
    local first = redis.call('ZRANGE', ring, 0, 0, 'WITHSCORES')
    if not first[1] then -- nobody to compare with
        redis.call('DEL', idle)
        redis.call('ZADD', ring, 0, tenant)
        return
    end
    local left = redis.call('ZSCORE', idle, tenant)
    redis.call('ZREM', idle, tenant)
    redis.call('ZADD', ring, math.max(tonumber(first[2]), tonumber(left or 0)), tenant)
end

-- At the head: what was handed out and came back. At the tail: what is new.
local function lane_head(prefix, token, body)
    local tenant = tenant_in(body)
    redis.call('LPUSH', lane_of(prefix, tenant, envelope_priority(body)), token)
    join_ring(prefix, tenant)
end

-- {name of a lane -> tokens} and {tenant -> true} of many, then written at once.
local function lanes_add(lanes, tenants, prefix, token, body, p)
    local tenant = tenant_in(body)
    local name = lane_of(prefix, tenant, p)
    local list = lanes[name]
    if not list then
        list = {}
        lanes[name] = list
    end
    list[#list + 1] = token
    tenants[tenant] = true
end

local function lanes_put(lanes, tenants, prefix)
    for name, tokens in pairs(lanes) do
        redis.call('RPUSH', name, unpack(tokens))
    end
    for tenant in pairs(tenants) do
        join_ring(prefix, tenant)
    end
end

local function leave_ring(prefix, tenant, time)
    redis.call('ZREM', prefix .. 'ring', tenant)
    redis.call('DEL', prefix .. 'turns:' .. tenant)
    if time then
        redis.call('ZADD', prefix .. 'idle', time, tenant)
    end
end
