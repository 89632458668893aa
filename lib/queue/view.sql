-- Jobs and dead letters as they are shown.

-- name: job_get
SELECT id, queue, task, args, state, live, generation, attempt, snoozes, max_attempts, priority, run_at, timeout_ms, unique_key,
       subject, tenant_id, trace, cancel_requested, result_until,
       CASE WHEN result_until <= now() THEN NULL ELSE result END AS result, last_error_code, last_error, created_at, finished_at,
       options
  FROM jobs WHERE id = $1::uuid AND ($2::uuid IS NULL OR tenant_id = $2);

-- name: job_attempts_list
SELECT generation, attempt, outcome, error_code, error, worker, started_at, finished_at
  FROM job_attempts WHERE job_id = $1::uuid ORDER BY generation, attempt LIMIT 1000;

-- name: dead_of_job
SELECT id FROM dead_letters WHERE job_id = $1::uuid AND ($2::uuid IS NULL OR tenant_id = $2) ORDER BY died_at DESC LIMIT 1;

-- name: dlq_list
-- Newest first; $6 is the last id seen. NULL filters nothing.
SELECT id, job_id, generation, durable, queue, task, args, priority, subject, tenant_id, trace, attempts, error_code, error,
       errors, worker, fingerprint, died_at, replayed_at
  FROM dead_letters
 WHERE ($1::text IS NULL OR queue = $1) AND ($2::text IS NULL OR task = $2)
   AND ($3::text IS NULL OR fingerprint = $3 OR error_code = $3) AND ($4::uuid IS NULL OR tenant_id = $4)
   AND ($5::boolean OR replayed_at IS NULL)
   AND ($6::uuid IS NULL OR (died_at, id) < (SELECT d.died_at, d.id FROM dead_letters d WHERE d.id = $6))
 ORDER BY died_at DESC, id DESC LIMIT $7::integer;

-- name: dlq_get
SELECT id, job_id, generation, durable, queue, task, args, priority, subject, tenant_id, trace, attempts, error_code, error,
       errors, worker, fingerprint, died_at, replayed_at
  FROM dead_letters WHERE id = $1::uuid;

-- name: dlq_some
-- What a replay needs of each.
SELECT id, job_id, durable, queue, task, args, priority, max_attempts, timeout_ms, subject, tenant_id, trace, replayed_at,
       options
  FROM dead_letters WHERE id = ANY ($1::uuid[]) ORDER BY died_at, id;

-- name: dlq_mark
UPDATE dead_letters SET replayed_at = now() WHERE id = $1::uuid AND replayed_at IS NULL RETURNING id;

-- name: dlq_drop
-- All or none.
WITH asked AS (SELECT DISTINCT id FROM unnest($1::uuid[]) AS a (id)),
there AS (SELECT count(*) AS n FROM dead_letters WHERE id IN (SELECT id FROM asked))
DELETE FROM dead_letters WHERE id IN (SELECT id FROM asked)
   AND (SELECT n FROM there) = (SELECT count(*) FROM asked) RETURNING id;

-- name: end_tell
-- A broker job that somebody waits for has ended; durable ones tell by a trigger.
SELECT pg_notify('mihwar_ended', $1);

-- name: job_await
-- Whoever ends it tells, in the same commit (trigger jobs_awaited).
UPDATE jobs SET awaited = true WHERE id = $1::uuid AND live AND NOT awaited RETURNING id;

-- name: job_lives
SELECT live FROM jobs WHERE id = $1::uuid;
