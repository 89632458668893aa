-- Policies of queues.

-- name: queue_pause
-- Resuming also ends a drain.
INSERT INTO queue_states (queue, paused) VALUES ($1, $2::boolean)
ON CONFLICT (queue) DO UPDATE
   SET paused = excluded.paused, draining = queue_states.draining AND excluded.paused, updated_at = now();

-- name: queue_drain
-- A queue that nobody claims from does not get empty: a pause ends with it.
INSERT INTO queue_states (queue, draining) VALUES ($1, true)
ON CONFLICT (queue) DO UPDATE SET draining = true, paused = false, updated_at = now();

-- name: queue_policy_set
-- $3: over how many shards; those that it had may still have jobs.
INSERT INTO queue_states (queue, policy, shards_held) VALUES ($1, $2::json, $3::smallint)
ON CONFLICT (queue) DO UPDATE
   SET policy = excluded.policy, shards_held = greatest(queue_states.shards_held, excluded.shards_held), full_of = NULL, updated_at = now();

-- name: queue_setting
SELECT paused, draining, policy, shards_held FROM queue_states WHERE queue = $1;

-- name: queue_gate_lock
-- One copy to Redis at a time for each queue: the last one to copy has read what was committed last.
SELECT 1 FROM (SELECT pg_advisory_xact_lock(hashtext('mihwar.gate'), hashtext($1::text))) AS held;

-- name: queues_set
SELECT queue FROM queue_states ORDER BY queue;

-- name: queues_bounded
-- And those over several shards.
SELECT queue, draining, coalesce((policy ->> 'shards')::integer, 1), shards_held::integer,
       coalesce((policy ->> 'max_length')::bigint, 0), coalesce((policy ->> 'max_bytes')::bigint, 0),
       coalesce((policy ->> 'tenant_max_length')::bigint, 0)
  FROM queue_states
 WHERE draining OR shards_held > 1 OR (policy ->> 'max_length') IS NOT NULL OR (policy ->> 'max_bytes') IS NOT NULL
    OR (policy ->> 'tenant_max_length') IS NOT NULL;

-- name: queue_full_note
-- For mw_enqueue: $2 the bound that has no room for one more job, NULL where there is room. It holds for a while only: nobody may
-- look again. A bound that was changed meanwhile is another's word.
UPDATE queue_states SET full_of = $2, full_bound = $3::bigint, full_until = clock_timestamp() + interval '20 seconds'
 WHERE queue = $1
   AND CASE WHEN $2::text IS NULL THEN full_of IS NOT NULL
            ELSE (policy ->> ('max_' || $2))::bigint = $3::bigint
             AND (full_of IS DISTINCT FROM $2 OR full_bound IS DISTINCT FROM $3::bigint
                  OR full_until < clock_timestamp() + interval '15 seconds') END;
