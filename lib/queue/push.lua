-- push.lua: make jobs known. An id that is known already is left alone, unless the new one has a higher generation.
-- KEYS: 20
-- KEYS[1] jobs  KEYS[2] sched  KEYS[3] stats  KEYS[4] wait  KEYS[5] epoch  KEYS[6] unique  KEYS[7] unique_of
-- KEYS[8] lease  KEYS[9] cancel  KEYS[10] gate  KEYS[11..20] ready9 .. ready0
-- ARGV[1] now, ms ('': Redis TIME)
-- ARGV[2] '0': new jobs   '1': take durable jobs although there is no epoch (the rebuild itself does that)
--         '2': jobs that may be known here: taken although this shard takes nothing new
-- ARGV[3..] per job: id, "generation.claim.snoozes", priority, run_at ms (0: now), unique key or '', envelope
-- returns {jobs ever pushed here, index, id, index, id ...}: those that are not new, with the id that stands for them;
--   behind them, if the queue is spread (policy.lua), over how many shards
--   A durable job offered to a Redis without an epoch is answered with the id '': the rebuild will bring it.
--   {-1, word, number}: the queue takes none of these broker jobs, nothing was stored (room.lua). Durable ones are in PostgreSQL
--   already: they were asked for before.
--   {-2, shards}: this shard takes nothing new, nothing was stored.
-- include: now
-- include: token
-- include: options
-- include: shape/tally
-- include: shape/policy
-- include: shape/lanes
-- include: shape/room
local jobs, sched, stats, wait, unique, unique_of = KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[6], KEYS[7]
local byte, now = string.byte, nil -- the clock is asked when something is for later
local epoch_gate = redis.call('MGET', KEYS[5], KEYS[10])
local closed, policy = ARGV[2] ~= '1' and not epoch_gate[1], policy_of(epoch_gate[2])
local count = (#ARGV - 2) / 6

local ids, keys, holders = {}, nil, {} -- holders: of each unique key that is taken, the id
for i = 1, count do
    local at = i * 6 - 3
    local key = ARGV[at + 4]
    ids[i] = ARGV[at]
    if key ~= '' and byte(key) ~= 1 then
        keys = keys or {}
        keys[#keys + 1] = key
    end
end
local known = redis.call('HMGET', jobs, unpack(ids))
if keys then
    for i, id in ipairs(redis.call('HMGET', unique, unpack(keys))) do
        holders[keys[i]] = id or nil
    end
end
local prefix, counted = string.sub(jobs, 1, -5), nil
if policy and policy.c and ARGV[2] == '0' then
    return {-2, policy.x or 1}
end
if policy and (policy.d or policy.n or policy.b or policy.t) then
    local asked = tally_new()
    asked.n = 0
    for i = 1, count do
        local at = i * 6 - 3
        if not known[i] and string.sub(ARGV[at + 1], 1, 2) == '0.' and
           not holders[ARGV[at + 4]] then
            asked.n = asked.n + 1
            tally_job(asked, ARGV[at + 5], 1)
        end
    end
    local word, number = no_room(policy, prefix, asked)
    if word then
        return {-1, word, number}
    end
end
if policy then
    counted = redis.call('EXISTS', prefix .. 'tally') == 1 and tally_new()
end

local answer, fields, later, ready, seen, fresh, refused, old = {0}, {}, {}, {}, {}, 0, false, nil
local lanes, tenants, taken, taken_by
local function stands_for(i, id)
    answer[#answer + 1] = i
    answer[#answer + 1] = id
end
for i = 1, count do
    local at = i * 6 - 3
    local id, numbers, p, run_at, key, body =
        ids[i], ARGV[at + 1], ARGV[at + 2], ARGV[at + 3], ARGV[at + 4], ARGV[at + 5]
    local broker = byte(numbers) == 48 and byte(numbers, 2) == 46 -- '0.'
    local window, first
    if key ~= '' then
        -- "\1MS:NAME": taken for so long, in a key of its own that expires. No other key has a control character.
        if byte(key) == 1 then
            local ms, name = string.match(key, '^.(%d+):(.*)$')
            window = {string.gsub(unique, 'unique$', 'window:') .. name, ms}
            first = redis.call('GET', window[1])
        else
            first = holders[key]
        end
    end

    if closed and not broker then
        refused = true
        stands_for(i, '')
    elseif seen[id] or (known[i] and (broker or envelope_generation(known[i]) >= envelope_generation(body))) then
        stands_for(i, id)
    elseif first then
        stands_for(i, first)
    else
        if window then
            redis.call('SET', window[1], id, 'PX', window[2])
        elseif key ~= '' then
            holders[key] = id
            taken = taken or {}
            taken_by = taken_by or {}
            taken[#taken + 1] = key
            taken[#taken + 1] = id
            taken_by[#taken_by + 1] = id
            taken_by[#taken_by + 1] = key
        end
        if known[i] then
            old = old or {}
            old[id] = true
        end
        seen[id] = true
        fresh = fresh + 1
        fields[fresh * 2 - 1] = id
        fields[fresh * 2] = body
        if counted then
            tally_job(counted, body, 1)
            if known[i] then
                tally_job(counted, known[i], -1)
            end
        end
        if run_at ~= '0' then
            now = now or clock(ARGV[1])
        end
        if run_at ~= '0' and tonumber(run_at) > now then
            later[#later + 1] = run_at
            later[#later + 1] = p .. id .. ':' .. numbers
        elseif policy and policy.f then
            lanes = lanes or {}
            tenants = tenants or {}
            lanes_add(lanes, tenants, prefix, id .. ':' .. numbers, body, p)
        else
            local list = ready[p]
            if not list then
                list = {}
                ready[p] = list
            end
            list[#list + 1] = id .. ':' .. numbers
        end
    end
end

if fresh > 0 then
    redis.call('HSET', jobs, unpack(fields))
    if taken then
        redis.call('HSET', unique, unpack(taken))
        redis.call('HSET', unique_of, unpack(taken_by))
    end
    if old then
        -- Whoever still holds an older generation may not end this one, and nobody has wished this one away.
        for _, token in ipairs(redis.call('ZRANGE', KEYS[8], 0, -1)) do
            if old[id_of(token)] then
                redis.call('ZREM', KEYS[8], token)
            end
        end
        for id in pairs(old) do
            redis.call('SREM', KEYS[9], id)
        end
    end
    answer[1] = redis.call('HINCRBY', stats, 'pushed', fresh)
    local wake = false
    for p, tokens in pairs(ready) do
        redis.call('RPUSH', KEYS[20 - p], unpack(tokens))
        wake = true
    end
    if lanes then
        lanes_put(lanes, tenants, prefix)
        wake = true
    end
    if counted then
        tally_put(prefix .. 'tally', counted)
    end
    if #later > 0 then
        -- Sleepers know the old first due time only.
        local before = redis.call('ZRANGE', sched, 0, 0)[1]
        redis.call('ZADD', sched, unpack(later))
        wake = wake or redis.call('ZRANGE', sched, 0, 0)[1] ~= before
    end
    if wake then
        redis.call('ZADD', wait, 0, 'm')
    end
end
if refused then
    redis.call('ZADD', wait, 0, 'm') -- a worker that looks finds Redis without an epoch, and mends it
end
if policy and policy.x then
    answer[#answer + 1] = policy.x
end
return answer
