-- tally.lua (piece): how many bytes the envelopes of a queue have, and how many jobs each tenant. Counted only for a queue
-- that is bounded in them: the hash is there then, and every step that adds or forgets envelopes keeps it.
--     bytes -> sum    n:TENANT -> jobs (n:- those of nobody)
-- A hash is scanned in steps that may show a field twice only while it is resized, and never inside one script.
-- include: ../options
local function tally_new()
    return {bytes = 0, tenants = {}}
end

local function tally_job(t, body, sign)
    local tenant = tenant_of(body) or '-'
    t.bytes = t.bytes + sign * #body
    t.tenants[tenant] = (t.tenants[tenant] or 0) + sign
end

local function tally_put(key, t)
    if t.bytes ~= 0 then
        redis.call('HINCRBY', key, 'bytes', t.bytes)
    end
    for tenant, n in pairs(t.tenants) do
        if n ~= 0 and redis.call('HINCRBY', key, 'n:' .. tenant, n) <= 0 then
            redis.call('HDEL', key, 'n:' .. tenant)
        end
    end
end
