-- limit_look.lua: what a limit's key is doing.
-- KEYS: 2
-- KEYS[1] limits  KEYS[2] held
-- ARGV[1] now, ms ('': Redis TIME)  ARGV[2] key
-- returns {held, under way, tokens until the next may begin by rate (ms from now, 0: at once), breaker '' | 'open' | 'half',
--          open for so many ms, ended well, ended badly (in the window), how many at once (0: any number),
--          slot, slot ... (at most 20 of who is under way)}
-- include: ../now
local prefix, now, key = string.sub(KEYS[1], 1, -7), clock(ARGV[1]), ARGV[2]
local texts = redis.call('HMGET', KEYS[1], key, '*')
local good, def = pcall(cjson.decode, texts[1] or (key ~= '=' and texts[2]) or 'null')
def = good and type(def) == 'table' and def or {}
local state = def.g and 'mw:{limits}:' or prefix
local wait_ms, ok, bad = 0, 0, 0
if def.r then
    local tat = tonumber(redis.call('GET', state .. 'tat:' .. key) or 0)
    wait_ms = math.max(math.ceil(tat - def.r * (def.b - 1) - now), 0)
end
local b = redis.call('HMGET', state .. 'brk:' .. key, 's', 'u')
local open_ms = b[1] == 'open' and math.max(tonumber(b[2]) - now, 0) or 0
if def.f then
    b[1] = def.f == 'open' and 'open' or ''
end
for _, both in ipairs(redis.call('HVALS', state .. 'brkw:' .. key)) do
    local x, y = string.match(both, '(%d+) (%d+)')
    ok, bad = ok + x, bad + y
end
-- A slot is worth as much as its lease: those that are over count no more, as far as they are looked at (admit.lua).
local all = redis.call('SCARD', state .. 'slots:' .. key)
local seen, alive = redis.call('SRANDMEMBER', state .. 'slots:' .. key, 20), {}
for _, slot in ipairs(seen) do
    local queue, token = string.match(slot, '^(.-)|(.*)$')
    if token and redis.call('ZSCORE', 'mw:{' .. queue .. '}:lease', token) then
        alive[#alive + 1] = slot
    end
end
table.sort(alive)
local answer = {redis.call('LLEN', KEYS[2] .. ':' .. key), all - #seen + #alive, wait_ms, b[1] or '', open_ms, ok, bad, def.c or 0}
for _, slot in ipairs(alive) do
    answer[#answer + 1] = slot
end
return answer
