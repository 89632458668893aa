-- admit.lua (piece): may this job begin now? Asked in shaped queues only, for each token that was picked, after the lanes have
-- chosen it and before it is leased. Wants options.lua (options_of). One `c` per claim:
--
--     c = {prefix = "mw:{q}:", now = ms, policy = policy_of(gate), lease = KEYS[2], jobs = KEYS[1], broker = trusted < 0}
--
--   admit(c, token, body)  nil: it begins, and is leased by this very step (what counts it may be written here: it is sure).
--                          key, at: held back. hold() appends the token to the list of its key; `at` (ms, nil: only the end
--                          of another) is when somebody must look again.
--   let_go(c, n, out)      what was held and may begin now, at most n tokens, appended to `out`, first held first. They are not
--                          asked again. Called at the head of each claim, before anything is picked.
--   first_held(c)          when the first held job may begin for all that is known, ms; 0: none, or only an end lets it go.
--
-- Held tokens lie in
--     held        zset  key -> when to look again (+inf: when a job of the key ends)
--     held:KEY    list  tokens, first held first
-- A token that is held is its job's one live token, like one in a lane. Tokens without an envelope are dropped by let_go.
-- A claim that acked something while something is held sets the marker, so that somebody comes and lets go.
local function hold(c, key, at, token)
    redis.call('RPUSH', c.prefix .. 'held:' .. key, token)
    redis.call('ZADD', c.prefix .. 'held', at or '+inf', key)
end

local function admit(_, _, _)
    return nil
end

-- Nothing is held while admit() says yes to all: whatever is found here goes.
local function let_go(c, n, out)
    local left = n
    while left > 0 do
        local key = redis.call('ZRANGE', c.prefix .. 'held', 0, 0)[1]
        if not key then
            return
        end
        local tokens = redis.call('LPOP', c.prefix .. 'held:' .. key, left)
        for _, token in ipairs(tokens or {}) do
            out[#out + 1] = token
            left = left - 1
        end
        if redis.call('EXISTS', c.prefix .. 'held:' .. key) == 0 then
            redis.call('ZREM', c.prefix .. 'held', key)
        end
    end
end

local function first_held(c)
    local first = redis.call('ZRANGE', c.prefix .. 'held', 0, 0, 'WITHSCORES')
    return first[2] and first[2] ~= 'inf' and tonumber(first[2]) or 0
end
