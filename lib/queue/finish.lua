-- finish.lua (piece): ack. Wants now.lua and gone.lua. The tokens are ARGV[first..]; a token that is no longer in the lease
-- set is counted as refused and changes nothing else. `died` of them ended in the dead letters.
-- Returns {done, refused}.
local function finish(keys, first, now, died)
    local ids, refused = {}, 0
    for i = first, #ARGV do
        if redis.call('ZREM', keys.lease, ARGV[i]) == 1 then
            ids[#ids + 1] = string.sub(ARGV[i], 1, 36)
        else
            refused = refused + 1
        end
    end
    local done = #ids
    if done > 0 then
        forget_jobs(keys.jobs, keys.cancel, keys.unique, keys.unique_of, ids)
        local slot = math.floor(now / 10000)
        if redis.call('HINCRBY', keys.rate, slot, done) == done then
            for _, old in ipairs(redis.call('HKEYS', keys.rate)) do
                if slot - (tonumber(old) or 0) > 6 then
                    redis.call('HDEL', keys.rate, old)
                end
            end
        end
        if died > done then
            died = done
        end
        if done > died then
            redis.call('HINCRBY', keys.stats, 'done', done - died)
        end
        if died > 0 then
            redis.call('HINCRBY', keys.stats, 'died', died)
        end
    end
    if refused > 0 then
        redis.call('HINCRBY', keys.stats, 'refused', refused)
    end
    return done, refused
end
