-- scan.lua: a page of the durable jobs that Redis has; envelopes stay where they are.
-- KEYS: 1
-- KEYS[1] jobs
-- ARGV[1] cursor ('0' begins)
-- returns {next cursor ('0': that was all), id ...}
-- include: token
local page = redis.call('HSCAN', KEYS[1], ARGV[1], 'COUNT', 500)
local answer = {page[1]}
for i = 1, #page[2], 2 do
    if envelope_generation(page[2][i + 1]) ~= 0 then
        answer[#answer + 1] = page[2][i]
    end
end
return answer
