-- store_result.lua: a result is kept and told; a SUCCESS that stands is never overwritten.
-- KEYS: 1
-- KEYS[1] celery-task-meta-ID, which is the channel's name, too
-- ARGV[1] ms to keep it, 0: for ever   ARGV[2] the result
-- returns 1, or 0 when there was a SUCCESS
local there = redis.call('GET', KEYS[1])
if there then
    local ok, m = pcall(cjson.decode, there)
    if ok and type(m) == 'table' and m.status == 'SUCCESS' then return 0 end
end
if tonumber(ARGV[1]) > 0 then
    redis.call('SET', KEYS[1], ARGV[2], 'PX', ARGV[1])
else
    redis.call('SET', KEYS[1], ARGV[2])
end
redis.call('PUBLISH', KEYS[1], ARGV[2])
return 1
