#!lua flags=allow-oom
-- extend.lua: hold leases for longer; tells which are lost and which jobs somebody wants cancelled.
-- KEYS: 3
-- KEYS[1] lease  KEYS[2] cancel  KEYS[3] stats
-- ARGV[1] now, ms ('': Redis TIME)  ARGV[2] lease, ms  ARGV[3..] tokens
-- returns a string, a letter for each token: h held, l lost, c held and to be cancelled
-- include: now
local expiry = clock(ARGV[1]) + tonumber(ARGV[2])
local wishes = redis.call('EXISTS', KEYS[2]) == 1
local letters, members, lost = {}, {}, 0

for i = 3, #ARGV do
    local token = ARGV[i]
    if not redis.call('ZSCORE', KEYS[1], token) then
        letters[i - 2] = 'l'
        lost = lost + 1
    else
        members[#members + 1] = expiry
        members[#members + 1] = token
        letters[i - 2] = wishes and redis.call('SISMEMBER', KEYS[2], string.sub(token, 1, 36)) == 1 and 'c' or 'h'
    end
end
if #members > 0 then
    redis.call('ZADD', KEYS[1], 'XX', unpack(members))
end
if lost > 0 then
    redis.call('HINCRBY', KEYS[3], 'refused', lost)
end
return table.concat(letters)
