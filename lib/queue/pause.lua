#!lua flags=allow-oom
-- pause.lua: stop or go on handing out.
-- KEYS: 2
-- KEYS[1] paused  KEYS[2] wait
-- ARGV[1] 1 pause, 0 go on
-- returns 1 when something changed
if ARGV[1] == '1' then
    return redis.call('SET', KEYS[1], '1', 'NX') and 1 or 0
end
redis.call('ZADD', KEYS[2], 0, 'm')
return redis.call('DEL', KEYS[1])
