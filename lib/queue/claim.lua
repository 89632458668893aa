#!lua flags=allow-oom
-- claim.lua: end what was finished, return what expired, promote what is due, hand out the next: one round trip.
-- KEYS: 23
-- KEYS[1] jobs     KEYS[2] lease    KEYS[3] sched     KEYS[4] stats  KEYS[5] rate    KEYS[6] wait  KEYS[7] paused
-- KEYS[8] epoch    KEYS[9] cancel   KEYS[10] unique   KEYS[11] unique_of             KEYS[12] last of this claimer
-- KEYS[13] crashed  KEYS[14..23] ready9 .. ready0
-- ARGV[1] now, ms ('': Redis TIME)  ARGV[2] how many at most  ARGV[3] lease, ms
-- ARGV[4] the oldest epoch that is trusted (-1: broker jobs only, no epoch is looked at)
-- ARGV[5] how many of the acks died  ARGV[6] '1': note in `last` what is handed out  ARGV[7..] tokens to ack
-- returns {state 0 open | 1 lost | 2 paused, now, epoch or -1, refused, next due or 0, {token...}, {envelope or nil...},
--   {crashes or nil...} (empty when nobody crashed)}
--   An envelope that is nil belongs to a token without a job (cancelled in a long list): it was dropped, not leased.
--   next due is looked up only when fewer than asked were handed out.
-- include: now
-- include: token
-- include: gone
-- include: finish
local jobs, lease, sched, stats, wait = KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[6]
local now = clock(ARGV[1])
local max, lease_ms, trusted = tonumber(ARGV[2]), tonumber(ARGV[3]), tonumber(ARGV[4])
local refused = 0

if ARGV[7] then
    local _
    _, refused = finish({jobs = jobs, lease = lease, stats = stats, rate = KEYS[5], cancel = KEYS[9], unique = KEYS[10],
                         unique_of = KEYS[11]}, 7, now, tonumber(ARGV[5]))
end

local epoch = tonumber(redis.call('GET', KEYS[8]) or -1)
if trusted >= 0 and epoch < trusted then
    return {1, now, epoch, refused, 0, {}, {}}
end

local function ready(priority)
    return KEYS[23 - priority]
end

-- Expired leases: ready again at the head, one claim used. A broker job that somebody wanted cancelled ends here; whether
-- a durable one has ended is known to PostgreSQL only, and its next holder asks there.
local expired = redis.call('ZRANGEBYSCORE', lease, '-inf', now, 'LIMIT', 0, 500)
if #expired > 0 then
    redis.call('ZREM', lease, unpack(expired))
    redis.call('HINCRBY', stats, 'expired', #expired)
    local cancelled = {}
    for i = #expired, 1, -1 do
        local token, again = expired[i], next_token(expired[i], 0)
        local body = again and redis.call('HGET', jobs, id_of(token))
        if body and is_broker(token) and redis.call('SISMEMBER', KEYS[9], id_of(token)) == 1 then
            cancelled[#cancelled + 1] = id_of(token)
        elseif body then
            redis.call('LPUSH', ready(envelope_priority(body)), again)
        end
    end
    forget_jobs(jobs, KEYS[9], KEYS[10], KEYS[11], cancelled)
end

local due = redis.call('ZRANGEBYSCORE', sched, '-inf', now, 'LIMIT', 0, 1000)
if #due > 0 then
    redis.call('ZREM', sched, unpack(due))
    local by = {}
    for _, member in ipairs(due) do
        local p = string.match(member, '^%d') or '5'
        by[p] = by[p] or {}
        by[p][#by[p] + 1] = string.sub(member, 2)
    end
    for p, tokens in pairs(by) do
        redis.call('RPUSH', ready(tonumber(p)), unpack(tokens))
    end
end

if redis.call('EXISTS', KEYS[7]) == 1 then
    return {2, now, epoch, refused, 0, {}, {}}
end

local tokens, left = {}, max
while left > 0 do
    local got = redis.call('LMPOP', 10, KEYS[14], KEYS[15], KEYS[16], KEYS[17], KEYS[18], KEYS[19], KEYS[20], KEYS[21],
                           KEYS[22], KEYS[23], 'LEFT', 'COUNT', left)
    if not got then
        break
    end
    if left == max then
        tokens = got[2]
    else
        for _, token in ipairs(got[2]) do
            tokens[#tokens + 1] = token
        end
    end
    left = max - #tokens
end

local bodies, crashes = {}, {}
if #tokens > 0 then
    local ids = {}
    for i = 1, #tokens do
        ids[i] = string.sub(tokens[i], 1, 36)
    end
    bodies = redis.call('HMGET', jobs, unpack(ids))
    local members, n, expiry = {}, 0, now + lease_ms
    for i = 1, #tokens do
        if bodies[i] then
            members[n + 1] = expiry
            members[n + 2] = tokens[i]
            n = n + 2
        end
    end
    if n > 0 then
        redis.call('ZADD', lease, unpack(members))
    end
    if redis.call('EXISTS', KEYS[13]) == 1 then
        local heads = {}
        for i = 1, #tokens do
            heads[i] = head_of(tokens[i])
        end
        crashes = redis.call('HMGET', KEYS[13], unpack(heads))
    end
    -- Should the answer never arrive, or its reader die over it: these leases can be given back at once.
    if ARGV[6] == '1' then
        redis.call('SET', KEYS[12], table.concat(tokens, ' '), 'PX', lease_ms)
    end
end

-- Whoever took all that he could carry leaves the marker for the next one.
local next_due = 0
if max > 0 and left == 0 then
    if redis.call('EXISTS', KEYS[14], KEYS[15], KEYS[16], KEYS[17], KEYS[18], KEYS[19], KEYS[20], KEYS[21], KEYS[22],
                  KEYS[23]) > 0 then
        redis.call('ZADD', wait, 0, 'm')
    end
elseif max > 0 then
    for _, set in ipairs({sched, lease}) do
        local first = redis.call('ZRANGE', set, 0, 0, 'WITHSCORES')
        if first[2] and (next_due == 0 or tonumber(first[2]) < next_due) then
            next_due = tonumber(first[2])
        end
    end
end
return {0, now, epoch, refused, next_due, tokens, bodies, crashes}
