#!lua flags=allow-oom
-- gate.lua: how a queue is to be served from now on. The truth is in PostgreSQL (policy.c); this is its copy.
-- KEYS: 5
-- KEYS[1] gate  KEYS[2] wait  KEYS[3] tally  KEYS[4] jobs  KEYS[5] weights
-- ARGV[1] '' plainly, or a letter and a JSON object (policy.lua): p paused | s shaped | b as if plain, but bounded or drained
-- ARGV[2] '1': bytes and tenants' jobs are counted from now on, '0': they are not  ARGV[3..] tenant, weight, tenant, weight ...
-- returns 1
--   What still lies in lanes or is held keeps a queue shaped until a claim has folded it back (claim_shaped.lua).
--   The first count of a queue that is full already is one step: two to four seconds for a million jobs, when somebody asks for it.
-- include: ../options
-- include: tally
local prefix = string.sub(KEYS[1], 1, -5)
local gate, letter = ARGV[1], string.sub(ARGV[1], 1, 1)
if letter ~= 's' and letter ~= 'p' and redis.call('EXISTS', prefix .. 'ring', prefix .. 'held') > 0 then
    gate = 's' .. (gate == '' and '{}' or string.sub(gate, 2))
end
if gate == '' then
    redis.call('DEL', KEYS[1])
else
    redis.call('SET', KEYS[1], gate)
end

redis.call('DEL', KEYS[5], prefix .. 'turns')
if #ARGV > 2 then
    redis.call('HSET', KEYS[5], unpack(ARGV, 3))
end

if ARGV[2] ~= '1' then
    redis.call('DEL', KEYS[3])
elseif redis.call('EXISTS', KEYS[3]) == 0 then
    local counted, cursor = tally_new(), '0'
    repeat
        local page = redis.call('HSCAN', KEYS[4], cursor, 'COUNT', 500)
        cursor = page[1]
        for i = 2, #page[2], 2 do
            tally_job(counted, page[2][i], 1)
        end
    until cursor == '0'
    redis.call('HSET', KEYS[3], 'bytes', 0) -- there from now on: the sign that is looked for
    tally_put(KEYS[3], counted)
end
redis.call('ZADD', KEYS[2], 0, 'm')
return 1
