-- redis_add.lua: adds ARGV[1] to a counter and answers with the sum and the day's word.
-- KEYS: 1
-- KEYS[1] the counter   ARGV[1] a number
-- include: redis_word
if tonumber(ARGV[1]) == nil then
  return redis.error_reply('NOTANUMBER "' .. ARGV[1] .. '"\\')
end
return { redis.call('INCRBY', KEYS[1], ARGV[1]), word() }
