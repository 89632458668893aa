-- name: retention_jobs
-- A job goes with its attempts.
WITH old AS (
    SELECT id FROM jobs WHERE finished_at < $1::timestamptz ORDER BY finished_at LIMIT $2::int FOR UPDATE SKIP LOCKED
), attempts AS (
    DELETE FROM job_attempts a USING old WHERE a.job_id = old.id RETURNING 1
), gone AS (
    DELETE FROM jobs j USING old WHERE j.id = old.id RETURNING 1
)
SELECT (SELECT count(*) FROM gone), (SELECT count(*) FROM attempts);

-- name: retention_workflows
-- With their steps; $2 counts jobs, and one workflow is always taken.
WITH oldest AS (
    SELECT id, sum(jobs) OVER (ORDER BY finished_at, id) - jobs AS jobs_before
      FROM (SELECT id, finished_at, jobs FROM workflows WHERE finished_at < $1::timestamptz ORDER BY finished_at, id LIMIT $2::int) w),
old AS (
    SELECT f.id FROM workflows f JOIN oldest s ON s.id = f.id WHERE s.jobs_before < $2::int AND f.finished_at IS NOT NULL FOR UPDATE OF f SKIP LOCKED),
steps AS (
    DELETE FROM workflow_steps s USING old WHERE s.workflow_id = old.id),
buckets AS (
    DELETE FROM workflow_buckets b USING old WHERE b.workflow_id = old.id),
gone AS (
    DELETE FROM workflows f USING old WHERE f.id = old.id RETURNING 1)
SELECT count(*) FROM gone;

-- name: retention_dead_letters
-- Those that somebody has dealt with; what waits for a decision stays.
DELETE FROM dead_letters
 WHERE id IN (SELECT id FROM dead_letters WHERE replayed_at < $1::timestamptz LIMIT $2::int);

-- name: retention_events
-- What jobs told: not longer than their rows, also of broker jobs, which have none.
DELETE FROM job_events
 WHERE (job_id, generation, attempt, slot) IN (SELECT job_id, generation, attempt, slot FROM job_events
                                                WHERE at < $1::timestamptz ORDER BY at LIMIT $2::int);

-- name: retention_firings
DELETE FROM schedule_firings
 WHERE (schedule_id, due_at) IN (SELECT schedule_id, due_at FROM schedule_firings
                                  WHERE fired_at < $1::timestamptz ORDER BY fired_at LIMIT $2::int);

-- name: retention_keys
DELETE FROM idempotency_keys
 WHERE (tenant_id, route, idempotency_key) IN
       (SELECT tenant_id, route, idempotency_key FROM idempotency_keys
         WHERE created_at < least($1::timestamptz, now() - interval '24 hours') ORDER BY created_at LIMIT $2::int);

-- name: retention_requests
-- Their timelines go with them; what came of them stays in the command history.
DELETE FROM requests
 WHERE request_id IN (SELECT request_id FROM requests
                       WHERE completed_at < least($1::timestamptz, now() - interval '24 hours') ORDER BY completed_at LIMIT $2::int
                         FOR UPDATE SKIP LOCKED);

-- name: retention_refusals
-- Never younger than a day: a trigger refuses that, too.
DELETE FROM security_events
 WHERE id IN (SELECT id FROM security_events WHERE at < least($1::timestamptz, now() - interval '1 day') ORDER BY at LIMIT $2::int);
