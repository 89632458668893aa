-- room_count.lua: what counts against the bounds of a queue, in one of its shards (room.lua looks at the same).
-- KEYS: 1
-- KEYS[1] jobs
-- ARGV[1..] tenants, '-' for nobody
-- returns {jobs, bytes, jobs of each of the tenants ...}; bytes and tenants' jobs are 0 unless the queue is bounded in them
local tally = string.sub(KEYS[1], 1, -5) .. 'tally'
local answer = {redis.call('HLEN', KEYS[1]), tonumber(redis.call('HGET', tally, 'bytes') or 0)}
for i = 1, #ARGV do
    answer[2 + i] = tonumber(redis.call('HGET', tally, 'n:' .. ARGV[i]) or 0)
end
return answer
