-- What people do to jobs and queues by hand.

-- name: job_state
SELECT queue, state, live, generation, attempt, snoozes FROM jobs WHERE id = $1::uuid;

-- name: job_cancel_wish
-- Its holder hears of it at the commit, and asks Redis.
UPDATE jobs SET cancel_requested = true, updated_at = now() WHERE id = $1::uuid AND live
RETURNING id, pg_notify('mihwar_cancelled', id::text);

-- name: cancel_tell
-- A broker job that is running: Redis has the wish.
SELECT pg_notify('mihwar_cancelled', $1);

-- name: job_cancel
-- It was taken out of Redis, so nobody runs it. Ended meanwhile: no row.
UPDATE jobs SET state = 'cancelled', finished_at = now(), updated_at = now() WHERE id = $1::uuid AND live RETURNING id;

-- name: jobs_cancel
UPDATE jobs SET state = 'cancelled', finished_at = now(), updated_at = now() WHERE id = ANY ($1::uuid[]) AND live;

-- name: job_revive
-- An ended job lives again: attempts are counted anew under the next generation. $2: when it may run, ms (0: now).
WITH revived AS (
    UPDATE jobs SET state = CASE WHEN $2::bigint > extract(epoch FROM now()) * 1000 THEN 'scheduled' ELSE 'ready' END,
           run_at = CASE WHEN $2::bigint > 0 THEN to_timestamp($2::bigint / 1000.0) ELSE now() END,
           generation = generation + 1, attempt = 0, snoozes = 0, finished_at = NULL, cancel_requested = false,
           key_free = coalesce(options ->> 'unique' = 'window', false), result_until = NULL, awaited = false,
           updated_at = now()
     WHERE id = $1::uuid AND state IN ('dead', 'cancelled') RETURNING *),
replayed AS (
    UPDATE dead_letters d SET replayed_at = now() FROM revived r WHERE d.job_id = r.id AND d.replayed_at IS NULL)
SELECT id, queue, generation, attempt, snoozes, task, args, priority, run_at, timeout_ms, max_attempts, subject, tenant_id, trace,
       options
  FROM revived;

-- name: dead_counts
SELECT queue, count(*) FROM dead_letters WHERE replayed_at IS NULL GROUP BY queue;
