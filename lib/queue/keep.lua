-- keep.lua: what came of a broker job, for those who ask after its end. Only its holder may say it, before the ack.
-- KEYS: 2
-- KEYS[1] jobs (gives the name of the result's own key)  KEYS[2] lease
-- ARGV[1] token  ARGV[2] how long, ms  ARGV[3] the result: JSON
-- returns 0 the lease is lost, 1 kept, 2 kept and somebody waits for it
if not redis.call('ZSCORE', KEYS[2], ARGV[1]) then
    return 0
end
local name = string.gsub(KEYS[1], 'jobs$', 'result:') .. string.sub(ARGV[1], 1, 36)
redis.call('SET', name, ARGV[3], 'PX', ARGV[2])
return 1 + redis.call('EXISTS', name .. ':await')
