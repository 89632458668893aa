-- policy.lua (piece): the gate's text as a table. nil: the queue is plain.
--     w  weights of the priorities, 9 first (absent: strict)     f  fair share between tenants
--     n  jobs at most    b  bytes at most    t  jobs of one tenant at most    d  being drained: nothing more is taken
--     l  some keys are limited (admit.lua)
--     x  over how many shards new jobs go    h  how many shards may have jobs    c  closed: this one takes nothing new (shards.h)
local function policy_of(gate)
    if not gate then
        return nil
    end
    local good, policy = pcall(cjson.decode, string.sub(gate, 2))
    policy = good and type(policy) == 'table' and policy or {}
    policy.letter = string.sub(gate, 1, 1)
    return policy
end
