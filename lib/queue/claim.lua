#!lua flags=allow-oom
-- claim.lua: end what was finished, return what expired, promote what is due, hand out the next: one round trip.
-- KEYS: 23
-- KEYS[1] jobs     KEYS[2] lease    KEYS[3] sched     KEYS[4] stats  KEYS[5] rate    KEYS[6] wait  KEYS[7] gate
-- KEYS[8] epoch    KEYS[9] cancel   KEYS[10] unique   KEYS[11] unique_of             KEYS[12] last of this claimer
-- KEYS[13] crashed  KEYS[14..23] ready9 .. ready0
-- ARGV[1] now, ms ('': Redis TIME)  ARGV[2] how many at most  ARGV[3] lease, ms
-- ARGV[4] the oldest epoch that is trusted (-1: broker jobs only, no epoch is looked at)
-- ARGV[5] how many of the acks died  ARGV[6] '1': note in `last` what is handed out  ARGV[7..] tokens to ack
-- returns {state 0 open | 1 lost | 2 paused | 3 shaped (only the acks were done: claim_shaped.lua), + 16 * shards that may have
--   jobs if the queue is spread and the state 0 or 2, now, epoch or -1, refused, next due or 0, {token...}, {envelope or nil...},
--   {crashes or nil...} (empty when nobody crashed)}
--   An envelope that is nil belongs to a token without a job (cancelled in a long list): it was dropped, not leased.
--   next due is looked up only when fewer than asked were handed out.
-- include: now
-- include: token
-- include: options
-- include: shape/tally
-- include: gone
-- include: finish
-- include: ripe
-- include: hand
local jobs, lease, sched, stats, wait = KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[6]
local now = clock(ARGV[1])
local max, lease_ms, trusted = tonumber(ARGV[2]), tonumber(ARGV[3]), tonumber(ARGV[4])
local refused = 0

if ARGV[7] then
    local _
    _, refused = finish({jobs = jobs, lease = lease, stats = stats, rate = KEYS[5], cancel = KEYS[9], unique = KEYS[10],
                         unique_of = KEYS[11]}, 7, now, tonumber(ARGV[5]))
end

local seen = redis.call('MGET', KEYS[8], KEYS[7])
local epoch, gate, shards = tonumber(seen[1] or -1), seen[2], 0
if trusted >= 0 and epoch < trusted then
    return {1, now, epoch, refused, 0, {}, {}}
end
if gate then
    shards = 16 * (string.match(gate, '"h":(%d+)') or 0)
    gate = string.sub(gate, 1, 1)
    if gate == 's' then
        return {3, now, epoch, refused, 0, {}, {}}
    end
end

local function ready(priority)
    return KEYS[23 - priority]
end

local expires = return_expired(KEYS, now, function(token, body)
    redis.call('LPUSH', ready(envelope_priority(body)), token)
end)
local due = promote_due(sched, now, ready)

if gate and gate ~= 'b' then
    return {2 + shards, now, epoch, refused, 0, {}, {}}
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
    crashes = hand_out(KEYS, tokens, bodies, now + lease_ms, lease_ms, ARGV[6] == '1')
end

-- Whoever took all that he could carry leaves the marker for the next one.
local next_due = 0
if max > 0 and left == 0 then
    if redis.call('EXISTS', KEYS[14], KEYS[15], KEYS[16], KEYS[17], KEYS[18], KEYS[19], KEYS[20], KEYS[21], KEYS[22],
                  KEYS[23]) > 0 then
        redis.call('ZADD', wait, 0, 'm')
    end
elseif max > 0 then
    next_due = sooner(sooner(due, expires), #tokens > 0 and now + lease_ms or nil) or 0
end
return {shards, now, epoch, refused, next_due, tokens, bodies, crashes}
