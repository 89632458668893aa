-- part.lua (piece): many ids at once, parted. Those that are under way go on; the others that are known here are taken out.
-- Taken out means without an envelope. Their tokens stay where they are: claim drops them.
-- include: token
-- include: gone
local function part(jobs, lease, cancel, unique, unique_of, ids)
    local leased = {}
    for _, token in ipairs(redis.call('ZRANGE', lease, 0, -1)) do
        leased[id_of(token)] = true
    end
    local known = redis.call('HMGET', jobs, unpack(ids))
    local digits, going_on, gone = {}, {}, {}
    for i, id in ipairs(ids) do
        digits[i] = not known[i] and '0' or leased[id] and '2' or '1'
        if digits[i] == '2' then
            going_on[#going_on + 1] = id
        elseif digits[i] == '1' then
            gone[#gone + 1] = id
        end
    end
    forget_jobs(jobs, cancel, unique, unique_of, gone)
    return table.concat(digits), going_on
end
