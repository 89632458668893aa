#!lua flags=allow-oom
-- workers_beat.lua: a process says that it lives, hands in what it has counted, and hears what is wished of it.
-- KEYS: 4
-- KEYS[1] its card  KEYS[2] seen  KEYS[3] wishes  KEYS[4] counts
-- ARGV[1] name  ARGV[2] how long the card is kept, ms  ARGV[3] the card, JSON ('': it leaves)
-- ARGV[4] number of this batch of counts  ARGV[5..] field, n, field, n ...
-- returns {1 if the batch was new, the wish or ''}
--   A batch that comes again (its answer was lost) is not counted twice. New fields stop at 50 000: names cannot fill Redis.
local card, name = KEYS[1], ARGV[1]
local t = redis.call('TIME')
local now = t[1] * 1000 + math.floor(t[2] / 1000)

local fresh = redis.call('HGET', card, 'batch') ~= ARGV[4]
if fresh and #ARGV > 4 then
    local full = redis.call('HLEN', KEYS[4]) >= 50000
    for i = 5, #ARGV, 2 do
        if not full or redis.call('HEXISTS', KEYS[4], ARGV[i]) == 1 then
            redis.call('HINCRBY', KEYS[4], ARGV[i], ARGV[i + 1])
        end
    end
end
local wish = redis.call('HGET', KEYS[3], name) or ''
if ARGV[3] == '' then
    redis.call('DEL', card)
    redis.call('ZREM', KEYS[2], name)
    redis.call('HDEL', KEYS[3], name)
else
    redis.call('HSET', card, 'card', ARGV[3], 'batch', ARGV[4])
    redis.call('PEXPIRE', card, ARGV[2])
    redis.call('ZADD', KEYS[2], now, name)
end
return {fresh and 1 or 0, wish}
