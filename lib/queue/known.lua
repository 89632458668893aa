-- known.lua: which of these jobs has Redis?
-- KEYS: 1
-- KEYS[1] jobs
-- ARGV[1..] ids
-- returns a string, '1' or '0' for each id
local answer = {}
for i = 1, #ARGV do
    answer[i] = redis.call('HEXISTS', KEYS[1], ARGV[i])
end
return table.concat(answer)
