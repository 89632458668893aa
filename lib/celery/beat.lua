-- beat.lua: this claimer lives, and works on these: their claims are as fresh as now, so that nobody restores them.
-- KEYS: 4
-- KEYS[1] unacked_index   KEYS[2] held of this claimer   KEYS[3] claimers (zset, by the second of their last beat)
-- KEYS[4] schedule
-- ARGV[1] claimer   ARGV[2] seconds after which a silent claimer is dead   ARGV[3..] tags
-- returns {{tags that are not held any more}, {dead claimers}, second of the next due message or ""}
local t = redis.call('TIME')
local now = string.format('%d.%06d', t[1], t[2])
local lost = {}
for i = 3, #ARGV do
    if redis.call('HEXISTS', KEYS[2], ARGV[i]) == 1 then
        redis.call('ZADD', KEYS[1], 'XX', now, ARGV[i])
    else
        lost[#lost + 1] = ARGV[i]
    end
end
redis.call('ZADD', KEYS[3], now, ARGV[1])
return {lost, redis.call('ZRANGEBYSCORE', KEYS[3], '-inf', tonumber(t[1]) - tonumber(ARGV[2]), 'LIMIT', 0, 16),
    redis.call('ZRANGE', KEYS[4], 0, 0, 'WITHSCORES')[2] or ''}
