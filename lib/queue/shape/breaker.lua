-- breaker.lua (piece): the circuit breaker of a limit's key.
--
--     closed --errors >= percent of at least `least` ends in the window--> open --open ms--> half open
--        ^                                                                  ^                  |  `probes` may begin
--        `------------------ all probes ended well ------------------------|------------------'
--                                                                           `-- one did not --'
--
--     brk:KEY   hash  s state (absent: closed), u open until, p probes begun, o probes that ended well, h half open since
--     brkw:KEY  hash  slot -> "ok bad"; a tenth of the window each; gone a window after the last end
-- def.e = {percent, least, window ms, open ms, probes}; def.f is what an operator set: it stays until he takes it back.
local FAR_MS = 3600000

local function breaker_until(now, def, key)
    if not def.e and not def.f then
        return nil
    end
    if def.f then
        return def.f == 'open' and now + FAR_MS or nil
    end
    local name = def.state .. 'brk:' .. key
    local b = redis.call('HMGET', name, 's', 'u', 'p', 'h')
    if not b[1] then
        return nil
    end
    if b[1] == 'open' then
        if now < tonumber(b[2]) then
            return tonumber(b[2])
        end
        redis.call('HSET', name, 's', 'half', 'p', 0, 'o', 0, 'h', now)
        return nil
    end
    if tonumber(b[3]) < def.e[5] then
        return nil
    end
    local again = tonumber(b[4]) + def.e[4]
    if now >= again then -- nobody said how the probes ended: others are sent
        redis.call('HSET', name, 'p', 0, 'o', 0, 'h', now)
        return nil
    end
    return again
end

local function breaker_begin(def, key)
    local name = def.state .. 'brk:' .. key
    if def.e and not def.f and redis.call('HGET', name, 's') == 'half' then
        redis.call('HINCRBY', name, 'p', 1)
    end
end
