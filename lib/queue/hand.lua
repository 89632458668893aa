-- hand.lua (piece): what was picked goes to whoever asked. Wants token.lua; `keys` are those of claim.lua. An envelope that is
-- not there belongs to a token without a job, which is not leased.
-- Returns {crashes or nil...}, empty when nobody crashed.
local function hand_out(keys, tokens, bodies, expiry, lease_ms, noted)
    local members, n, crashes = {}, 0, {}
    for i = 1, #tokens do
        if bodies[i] then
            members[n + 1] = expiry
            members[n + 2] = tokens[i]
            n = n + 2
        end
    end
    if n > 0 then
        redis.call('ZADD', keys[2], unpack(members))
    end
    if redis.call('EXISTS', keys[13]) == 1 then
        local heads = {}
        for i = 1, #tokens do
            heads[i] = head_of(tokens[i])
        end
        crashes = redis.call('HMGET', keys[13], unpack(heads))
    end
    -- Should the answer never arrive, or its reader die over it: these leases can be given back at once.
    if noted then
        redis.call('SET', keys[12], table.concat(tokens, ' '), 'PX', lease_ms)
    end
    return crashes
end
