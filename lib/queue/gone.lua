-- gone.lua (piece): forget ended jobs. keys: jobs, cancel, unique, unique_of; ids may be an empty table.
-- Returns how many envelopes were there.
local function forget_jobs(jobs, cancel, unique, unique_of, ids)
    if #ids == 0 then
        return 0
    end
    if redis.call('EXISTS', cancel) == 1 then
        redis.call('SREM', cancel, unpack(ids))
    end
    if redis.call('EXISTS', unique_of) == 1 then
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
    end
    return redis.call('HDEL', jobs, unpack(ids))
end
