-- now.lua (piece): the clock. Redis' own, unless a test hands one over: ms since 1970.
local function clock(given)
    if given ~= '' then
        return tonumber(given)
    end
    local t = redis.call('TIME')
    return t[1] * 1000 + math.floor(t[2] / 1000)
end
