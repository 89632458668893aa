#!lua flags=allow-oom
-- workers_list.lua: who has said of late that it lives. Those silent for an hour are forgotten.
-- KEYS: 2
-- KEYS[1] seen  KEYS[2] wishes
-- ARGV[1] what the names of cards begin with (one hash slot with the keys)  ARGV[2] how many at most
-- ARGV[3] a card older than this, ms, is not shown: the process is silent
-- returns {name, ms since its last beat, card or '', wish or '', ...}, by name
local t = redis.call('TIME')
local now = t[1] * 1000 + math.floor(t[2] / 1000)
for _, name in ipairs(redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', now - 3600000, 'LIMIT', 0, 1000)) do
    redis.call('ZREM', KEYS[1], name)
    redis.call('HDEL', KEYS[2], name)
end
local names, age = {}, {}
local seen = redis.call('ZRANGE', KEYS[1], 0, ARGV[2] - 1, 'REV', 'WITHSCORES')
for i = 1, #seen, 2 do
    names[#names + 1] = seen[i]
    age[seen[i]] = math.max(now - seen[i + 1], 0)
end
table.sort(names)
local answer = {}
for _, name in ipairs(names) do
    answer[#answer + 1] = name
    answer[#answer + 1] = age[name]
    answer[#answer + 1] = age[name] <= tonumber(ARGV[3]) and redis.call('HGET', ARGV[1] .. name, 'card') or ''
    answer[#answer + 1] = redis.call('HGET', KEYS[2], name) or ''
end
return answer
