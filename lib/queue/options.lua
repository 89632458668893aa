-- options.lua (piece): what a shaped queue reads of an envelope beyond generation and priority (envelope.h). A plain queue
-- never looks. Both answer nil for what is not there and for an envelope that is none.
local function envelope_texts(body)
    local a, b, c, d, e, from = string.match(body, '^1 %d+ %d %d+ %d+ %d+ (%d+) (%d+) (%d+) (%d+) ?(%d*)\n()')
    if not a then
        return nil
    end
    return from, tonumber(a), tonumber(b), tonumber(c), tonumber(d), tonumber(e)
end

local function tenant_of(body)
    local from, task, subject, tenant = envelope_texts(body)
    if not from or tenant == 0 then
        return nil
    end
    from = from + task + 1 + subject + 1
    return string.sub(body, from, from + tenant - 1)
end

-- A table, for instance {limit_key = 'znet:7', expires_at_ms = 1795248000123}.
local function options_of(body)
    local from, task, subject, tenant, trace, options = envelope_texts(body)
    if not from or not options then
        return nil
    end
    from = from + task + 1 + subject + 1 + tenant + 1 + trace + 1
    local good, table = pcall(cjson.decode, string.sub(body, from, from + options - 1))
    return good and type(table) == 'table' and table or nil
end
