#!lua flags=allow-oom
-- claim_shaped.lua: claim.lua for a queue with a policy: weighted priorities, fair share between tenants, limits.
-- KEYS: 23
-- KEYS as of claim.lua
-- ARGV as of claim.lua
-- returns as claim.lua; state 3: the queue is plain (again), only the acks were done: claim.lua
--
--     ready9..0 --sort--> lanes of the tenants --pick by virtual time--> admit --yes--> lease
--        ^                     |                                           `--hold--> held:KEY --let go--> lease
--        `-------fold----------'  (when the queue is no longer fair)
--
-- No part of it costs more in a longer queue: sorting and folding go a few steps with each claim.
-- include: ../now
-- include: ../token
-- include: ../options
-- include: tally
-- include: ../gone
-- include: ../finish
-- include: ../ripe
-- include: ../hand
-- include: policy
-- include: lanes
-- include: pick
-- include: admit
local jobs, lease, sched, wait = KEYS[1], KEYS[2], KEYS[3], KEYS[6]
local prefix = string.sub(jobs, 1, -5)
local now = clock(ARGV[1])
local max, lease_ms, trusted = tonumber(ARGV[2]), tonumber(ARGV[3]), tonumber(ARGV[4])
local done, refused = 0, 0

if ARGV[7] then
    done, refused = finish({jobs = jobs, lease = lease, stats = KEYS[4], rate = KEYS[5], cancel = KEYS[9], unique = KEYS[10],
                            unique_of = KEYS[11]}, 7, now, tonumber(ARGV[5]))
end
local seen = redis.call('MGET', KEYS[8], KEYS[7])
local epoch, policy = tonumber(seen[1] or -1), policy_of(seen[2])
if trusted >= 0 and epoch < trusted then
    return {1, now, epoch, refused, 0, {}, {}}
end
if not policy or policy.letter == 'b' then
    return {3, now, epoch, refused, 0, {}, {}}
end

local shards = 16 * (policy.h or 0)
local lists = {}
for i = 1, 10 do
    lists[i] = KEYS[13 + i]
end
local function ready(priority)
    return lists[10 - priority]
end
return_expired(KEYS, now, function(token, body)
    if policy.f then
        lane_head(prefix, token, body)
    else
        redis.call('LPUSH', ready(envelope_priority(body)), token)
    end
end)
promote_due(sched, now, ready)

if policy.letter == 'p' then
    return {2 + shards, now, epoch, refused, 0, {}, {}}
end
local c = {prefix = prefix, now = now, policy = policy, lease = lease, jobs = jobs, broker = trusted < 0}
if done > 0 then
    ended(c, 7)
end
if max == 0 then
    if done > 0 and redis.call('EXISTS', prefix .. 'held') == 1 then
        redis.call('ZADD', wait, 0, 'm')
    end
    return {shards, now, epoch, refused, 0, {}, {}, {}}
end

local step = math.min(2 * max + 64, 1000)
if policy.f then
    sort_ready(jobs, prefix, lists, step)
else
    fold_lanes(prefix, lists, step)
end

local tokens, bodies, dry = {}, {}, false
-- Of what was picked: those with a job, each asked once.
local function consider(picked, ask)
    local ids = {}
    for i = 1, #picked do
        ids[i] = id_of(picked[i])
    end
    for i, body in ipairs(redis.call('HMGET', jobs, unpack(ids))) do
        if body then
            local key, at
            if ask then
                key, at = admit(c, picked[i], body)
            end
            if key then
                hold(c, key, at, picked[i])
            else
                tokens[#tokens + 1] = picked[i]
                bodies[#bodies + 1] = body
            end
        end
    end
end

local free = {}
let_go(c, max, free)
if #free > 0 then
    consider(free, false)
end
for _ = 1, 8 do -- all of a round may be held back, or have no job any more
    local left, picked = max - #tokens, {}
    if left == 0 then
        break
    end
    if policy.f then
        pick_fair(prefix, left, policy, picked)
    else
        pick_from(lists, left, policy, prefix .. 'turns', picked)
    end
    if #picked == 0 then
        dry = true
        break
    end
    consider(picked, true)
end

local crashes = {}
if #tokens > 0 then
    crashes = hand_out(KEYS, tokens, bodies, now + lease_ms, lease_ms, ARGV[6] == '1')
end

-- Folded: the rest is plain.
if not policy.f and not policy.w and not policy.l and redis.call('EXISTS', prefix .. 'ring', prefix .. 'held') == 0 then
    if policy.n or policy.b or policy.t or policy.d or policy.x then
        redis.call('SET', KEYS[7], 'b' .. string.sub(seen[2], 2))
    else
        redis.call('DEL', KEYS[7])
    end
end

local next_due = 0
if redis.call('EXISTS', prefix .. 'ring', unpack(lists)) > 0 then
    redis.call('ZADD', wait, 0, 'm')
end
if dry then
    local held = first_held(c)
    next_due = sooner(first_of(sched), first_of(lease)) or 0
    if held > 0 and (next_due == 0 or held < next_due) then
        next_due = held
    end
end
return {shards, now, epoch, refused, next_due, tokens, bodies, crashes}
