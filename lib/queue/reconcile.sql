-- Mending: Redis is made to agree with the rows of jobs.

-- name: epoch_get
SELECT epoch FROM engine_epoch;

-- name: epoch_advance
UPDATE engine_epoch SET epoch = epoch + 1, advanced_at = now() RETURNING epoch;

-- name: queue_names
-- Every queue that PostgreSQL has heard of and that still matters.
SELECT DISTINCT queue FROM jobs WHERE live UNION SELECT queue FROM queue_states ORDER BY 1;

-- name: recover_lock
-- One rebuild of a queue at a time, for as long as this transaction.
SELECT 1 FROM (SELECT pg_advisory_xact_lock(hashtext('mihwar.recover'), hashtext($1::text))) AS held;

-- name: live_bump
-- A page of the live jobs of a queue, each under its next generation. A row without a generation ended while we looked.
WITH page AS (
    SELECT id FROM jobs WHERE live AND queue = $1 AND id > $2::uuid ORDER BY id LIMIT $3::integer),
bumped AS (
    UPDATE jobs j SET generation = j.generation + 1, updated_at = now() FROM page WHERE j.id = page.id AND j.live
    RETURNING j.*)
SELECT p.id, b.queue, b.generation, b.attempt, b.snoozes, b.task, b.args, b.priority, b.run_at, b.timeout_ms, b.max_attempts,
       b.subject, b.tenant_id, b.trace, b.options
  FROM page p LEFT JOIN bumped b ON b.id = p.id ORDER BY p.id;

-- name: live_page
-- Live jobs that nobody touched for $2 ms, for the comparison with Redis.
SELECT id, queue FROM jobs
 WHERE live AND id > $1::uuid AND updated_at <= now() - $2::bigint * interval '1 millisecond'
   AND ($3::text IS NULL OR queue = $3)
 ORDER BY id LIMIT 500;

-- name: missing_bump
-- Live jobs that Redis does not have.
WITH bumped AS (
    UPDATE jobs SET generation = generation + 1, updated_at = now() WHERE id = ANY ($1::uuid[]) AND live RETURNING *)
SELECT id, queue, generation, attempt, snoozes, task, args, priority, run_at, timeout_ms, max_attempts, subject, tenant_id, trace,
       options
  FROM bumped ORDER BY id;

-- name: ended_among
SELECT n.id FROM unnest($1::uuid[]) AS n (id) WHERE NOT EXISTS (SELECT 1 FROM jobs j WHERE j.id = n.id AND j.live);

-- name: claim_check
SELECT n.ord, j.live, j.generation, j.attempt, j.run_at, j.cancel_requested
  FROM unnest($1::uuid[]) WITH ORDINALITY AS n (id, ord) JOIN jobs j ON j.id = n.id;
