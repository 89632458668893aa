-- How a queue shares out its work and how much it takes (lib/queue/policy.h); and jobs that are not begun in time.
--
-- policy is one object, replaced as a whole; NULL: plain. Redis has a copy that claims and pushes go by.

ALTER TABLE queue_states
    ADD COLUMN draining boolean NOT NULL DEFAULT false,
    ADD COLUMN policy   json,
    ADD CONSTRAINT queue_states_policy_is_object CHECK (policy IS NULL OR json_typeof(policy) = 'object');

-- Those nobody claims in time are found by this; jobs without options, nearly all, are not in it.
CREATE INDEX jobs_expire ON jobs (((options ->> 'expires_at_ms')::bigint))
    WHERE live AND (options ->> 'expires_at_ms') IS NOT NULL;
