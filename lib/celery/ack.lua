-- ack.lua: lets claimed messages go. One that this claimer does not hold any more is left to whoever does.
-- KEYS: 3
-- KEYS[1] unacked   KEYS[2] unacked_index   KEYS[3] held of this claimer
-- ARGV tags
-- returns how many were held
local held = 0
for _, tag in ipairs(ARGV) do
    if redis.call('HDEL', KEYS[3], tag) == 1 then
        redis.call('HDEL', KEYS[1], tag)
        redis.call('ZREM', KEYS[2], tag)
        held = held + 1
    end
end
return held
