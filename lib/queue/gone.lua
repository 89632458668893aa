-- gone.lua (piece): forget ended jobs. keys: jobs, cancel, unique, unique_of; ids may be an empty table.
-- Returns how many envelopes were there.
-- include: shape/tally
local function forget_jobs(jobs, cancel, unique, unique_of, ids)
    if #ids == 0 then
        return 0
    end
    local tally = string.sub(jobs, 1, -5) .. 'tally'
    if redis.call('EXISTS', cancel, unique_of, tally) > 0 then
        redis.call('SREM', cancel, unpack(ids))
        local keys = {}
        for _, key in ipairs(redis.call('HMGET', unique_of, unpack(ids))) do
            if key then
                keys[#keys + 1] = key
            end
        end
        if #keys > 0 then
            redis.call('HDEL', unique, unpack(keys))
            redis.call('HDEL', unique_of, unpack(ids))
        end
        if redis.call('EXISTS', tally) == 1 then
            local counted, seen = tally_new(), {}
            for i, body in ipairs(redis.call('HMGET', jobs, unpack(ids))) do
                if body and not seen[ids[i]] then
                    seen[ids[i]] = true
                    tally_job(counted, body, -1)
                end
            end
            tally_put(tally, counted)
        end
    end
    return redis.call('HDEL', jobs, unpack(ids))
end
