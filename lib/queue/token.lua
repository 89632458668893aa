-- token.lua (piece): "id:generation.claim.snoozes". Lists and sets hold the token of the *next* claim, so that a claim moves
-- it as it is; what ends a claim without ending the job makes the next one here. nil: it is none of ours. A step never fails
-- over one token or envelope, because what it has taken out by then would be lost with it.
local function next_token(token, snoozed)
    local head, claim, snoozes = string.match(token, '^([^.]+)%.(%d+)%.(%d+)$')
    if not head then
        return nil
    end
    return string.format('%s.%d.%d', head, claim + 1, snoozes + snoozed)
end

-- "id:generation"
local function head_of(token)
    return string.match(token, '^[^.]*')
end

local function id_of(token)
    return string.sub(token, 1, 36)
end

-- Generation 0 is a broker job: PostgreSQL knows nothing of it.
local function is_broker(token)
    return string.sub(token, 38, 39) == '0.'
end

-- An envelope begins "1 GENERATION PRIORITY ". One that does not is handed out like any other, and the claimer buries it.
local function envelope_generation(body)
    return tonumber(string.match(body, '^1 (%d+)')) or -1
end

local function envelope_priority(body)
    return tonumber(string.match(body, '^1 %d+ (%d)')) or 5
end
