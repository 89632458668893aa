#!lua flags=allow-oom
-- expire.lua: jobs that were not begun in time are taken out; those under way go on.
-- KEYS: 5
-- KEYS[1] jobs  KEYS[2] lease  KEYS[3] cancel  KEYS[4] unique  KEYS[5] unique_of
-- ARGV[1..n] id
-- returns a digit for each: 0 not known here, 1 taken out, 2 leased
--   Taken out means without an envelope. Their tokens stay where they are: claim drops them.
-- include: token
-- include: gone
local leased = {}
for _, token in ipairs(redis.call('ZRANGE', KEYS[2], 0, -1)) do
    leased[id_of(token)] = true
end
local known = redis.call('HMGET', KEYS[1], unpack(ARGV))
local digits, gone = {}, {}
for i, id in ipairs(ARGV) do
    digits[i] = leased[id] and '2' or known[i] and '1' or '0'
    if digits[i] == '1' then
        gone[#gone + 1] = id
    end
end
forget_jobs(KEYS[1], KEYS[3], KEYS[4], KEYS[5], gone)
return table.concat(digits)
