-- Jobs that nobody began in time.

-- name: jobs_late
-- A page of those whose time is over and of whom no attempt has been used; $1, $2: the last one seen. Some may be under way.
SELECT (options ->> 'expires_at_ms')::bigint, id, queue FROM jobs
 WHERE live AND (options ->> 'expires_at_ms') IS NOT NULL
   AND (options ->> 'expires_at_ms')::bigint <= extract(epoch FROM now()) * 1000
   AND ((options ->> 'expires_at_ms')::bigint, id) > ($1::bigint, $2::uuid)
   AND attempt = snoozes
 ORDER BY 1, 2 LIMIT 500;

-- name: jobs_expire
-- They were taken out of Redis, so nobody runs them. The attempt is the one that was never made.
WITH expired AS (
    UPDATE jobs SET state = 'cancelled', attempt = attempt + 1, finished_at = now(), updated_at = now(),
           last_error_code = 'expired', last_error = 'nobody began it in time'
     WHERE id = ANY ($1::uuid[]) AND live AND attempt = snoozes RETURNING id, generation, attempt),
tried AS (
    INSERT INTO job_attempts (job_id, generation, attempt, outcome, error_code, error, worker, started_at)
    SELECT id, generation, attempt, 'cancelled', 'expired', 'nobody began it in time', 'beat', now() FROM expired)
SELECT count(*) FROM expired;
