-- claim.lua: what is due goes to the head of its queue; then up to n messages are taken, each recorded before it is
-- handed out, so that none is lost between the pop and the record. What has no tag is set aside.
-- KEYS: 5
-- KEYS[1] unacked   KEYS[2] unacked_index   KEYS[3] held of this claimer (hash: tag -> list it came from)
-- KEYS[4] schedule (zset: list .. "\n" .. message, by the second when it is due)   KEYS[5] quarantine (list)
-- ARGV[1] n   ARGV[2..] list, queue, list, queue, … in the order in which they are served (Celery's names are no
-- hash slot's, so the lists are arguments)
-- returns {second of the next due one or "", set aside, more? 1/0, list's place, tag, message, list's place, tag, message, …}
local t = redis.call('TIME')
local now = string.format('%d.%06d', t[1], t[2])
local n = tonumber(ARGV[1])

local due = redis.call('ZRANGEBYSCORE', KEYS[4], '-inf', now, 'LIMIT', 0, math.max(n, 1))
for i = #due, 1, -1 do -- the earliest is taken first
    local cut = string.find(due[i], '\n', 1, true)
    redis.call('RPUSH', string.sub(due[i], 1, cut - 1), string.sub(due[i], cut + 1))
    redis.call('ZREM', KEYS[4], due[i])
end
local next_due = redis.call('ZRANGE', KEYS[4], 0, 0, 'WITHSCORES')[2] or ''

local out = {next_due, 0, 0}
local function tag_of(message)
    local ok, m = pcall(cjson.decode, message)
    if not ok then return nil, 'it is not valid JSON' end
    if type(m) ~= 'table' or type(m.properties) ~= 'table' then return nil, 'it has no properties' end
    local tag = m.properties.delivery_tag
    if type(tag) ~= 'string' or tag == '' or #tag > 255 then return nil, 'it has no delivery_tag' end
    local info = type(m.properties.delivery_info) == 'table' and m.properties.delivery_info or {}
    local function text(v, def) return type(v) == 'string' and v or def end
    return tag, nil, text(info.exchange, ''), text(info.routing_key, nil)
end

for k = 2, #ARGV, 2 do
    if redis.call('TYPE', ARGV[k]).ok == 'list' then
        while n > 0 do
            local message = redis.call('RPOP', ARGV[k])
            if not message then break end
            local tag, why, exchange, key = tag_of(message)
            if tag then
                redis.call('ZADD', KEYS[2], now, tag)
                redis.call('HSET', KEYS[1], tag, '[' .. message .. ', ' .. cjson.encode(exchange) .. ', ' ..
                    cjson.encode(key or ARGV[k + 1]) .. ']')
                redis.call('HSET', KEYS[3], tag, ARGV[k])
                out[#out + 1] = k / 2 - 1
                out[#out + 1] = tag
                out[#out + 1] = message
                n = n - 1
            else
                redis.call('LPUSH', KEYS[5], cjson.encode({queue = ARGV[k + 1], why = why}) .. '\n' .. message)
                out[2] = out[2] + 1
            end
        end
        if n == 0 then
            if redis.call('LLEN', ARGV[k]) > 0 then out[3] = 1 end
            break
        end
    end
end
return out
