-- inbox_push.lua: notes for a hub instance, all or none.
-- KEYS: 1
-- KEYS[1] mw:hub:{INSTANCE}
-- ARGV[1] ceiling  ARGV[2] seconds until a list that nobody reads is gone  ARGV[3..] notes
-- returns 1, or 0 when the list would grow past its ceiling
if redis.call('LLEN', KEYS[1]) + #ARGV - 2 > tonumber(ARGV[1]) then
    return 0
end
for i = 3, #ARGV do
    redis.call('RPUSH', KEYS[1], ARGV[i])
end
redis.call('EXPIRE', KEYS[1], ARGV[2])
return 1
