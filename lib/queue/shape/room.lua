-- room.lua (piece): does a bounded queue take these jobs? Wants tally.lua. `asked`: a tally of what is to come, with `n` jobs.
-- Every job that has not ended counts: waiting, scheduled, held and under way.
-- Returns nil, or the word of the bound and its number: 'draining', 'length', 'bytes', 'tenant'.
local function no_room(policy, prefix, asked)
    if asked.n == 0 then
        return nil
    end
    if policy.d then
        return 'draining', 0
    end
    if policy.n and redis.call('HLEN', prefix .. 'jobs') + asked.n > policy.n then
        return 'length', policy.n
    end
    if policy.b and tonumber(redis.call('HGET', prefix .. 'tally', 'bytes') or 0) + asked.bytes > policy.b then
        return 'bytes', policy.b
    end
    if policy.t then
        for tenant, n in pairs(asked.tenants) do
            if tonumber(redis.call('HGET', prefix .. 'tally', 'n:' .. tenant) or 0) + n > policy.t then
                return 'tenant', policy.t
            end
        end
    end
    return nil
end
