-- room_asked.lua: is there room for durable jobs that are about to be written? Nothing is kept for them.
-- KEYS: 2
-- KEYS[1] gate  KEYS[2] jobs
-- ARGV[1] jobs  ARGV[2] bytes  ARGV[3..] tenant or '-', jobs of it, ...
-- returns {} or {word of the bound, its number}
-- include: ../options
-- include: tally
-- include: policy
-- include: room
local policy = policy_of(redis.call('GET', KEYS[1]))
if not policy then
    return {}
end
local asked = {n = tonumber(ARGV[1]), bytes = tonumber(ARGV[2]), tenants = {}}
for i = 3, #ARGV, 2 do
    asked.tenants[ARGV[i]] = (asked.tenants[ARGV[i]] or 0) + tonumber(ARGV[i + 1])
end
local word, number = no_room(policy, string.sub(KEYS[2], 1, -5), asked)
return word and {word, number} or {}
