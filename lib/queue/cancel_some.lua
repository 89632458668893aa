#!lua flags=allow-oom
-- cancel_some.lua: cancel.lua for many at once.
-- KEYS: 5
-- KEYS[1] jobs  KEYS[2] lease  KEYS[3] cancel  KEYS[4] unique  KEYS[5] unique_of
-- ARGV[1..n] id
-- returns a digit for each: 0 not known here, 1 taken out, 2 leased
--   Taken out means without an envelope. Their tokens stay where they are: claim drops them.
-- include: token
-- include: options
-- include: shape/tally
-- include: gone
local leased = {}
for _, token in ipairs(redis.call('ZRANGE', KEYS[2], 0, -1)) do
    leased[id_of(token)] = true
end
local known = redis.call('HMGET', KEYS[1], unpack(ARGV))
local digits, wished, gone = {}, {}, {}
for i, id in ipairs(ARGV) do
    if not known[i] then
        digits[i] = '0'
    elseif leased[id] then
        digits[i] = '2'
        wished[#wished + 1] = id
    else
        digits[i] = '1'
        gone[#gone + 1] = id
    end
end
forget_jobs(KEYS[1], KEYS[3], KEYS[4], KEYS[5], gone)
if #wished > 0 then
    redis.call('SADD', KEYS[3], unpack(wished))
end
return table.concat(digits)
