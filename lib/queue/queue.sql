-- Enqueue and end: what the engine writes in PostgreSQL. A claim writes nothing there.

-- name: job_insert
-- New durable jobs, in arrays. Answers with the ids that were new; the others met a live unique_key or their own id.
INSERT INTO jobs (id, queue, task, args, state, run_at, priority, max_attempts, timeout_ms, unique_key, subject, tenant_id, trace,
                  options, key_free)
SELECT id, queue, task, args,
       CASE WHEN run_at_ms > extract(epoch FROM now()) * 1000 THEN 'scheduled' ELSE 'ready' END,
       CASE WHEN run_at_ms > 0 THEN to_timestamp(run_at_ms / 1000.0) ELSE now() END,
       priority, max_attempts, timeout_ms, unique_key, subject, tenant_id, trace, options,
       coalesce(options ->> 'unique' = 'window', false)
  FROM unnest($1::uuid[], $2::text[], $3::text[], $4::json[], $5::bigint[], $6::smallint[], $7::integer[], $8::bigint[],
              $9::text[], $10::text[], $11::uuid[], $12::text[], $13::json[])
       AS n (id, queue, task, args, run_at_ms, priority, max_attempts, timeout_ms, unique_key, subject, tenant_id, trace, options)
ON CONFLICT DO NOTHING
RETURNING id;

-- name: job_first
-- Who stands for a job that was not new: the same id, or the live holder of its unique key. A new snapshot: the winner
-- of a race is seen here.
SELECT n.ord, j.id
  FROM unnest($1::uuid[], $2::text[]) WITH ORDINALITY AS n (id, unique_key, ord)
  JOIN jobs j ON j.id = n.id OR (j.live AND NOT j.key_free AND j.unique_key = n.unique_key)
 ORDER BY n.ord, j.id = n.id DESC;

-- name: job_end
-- The end of an attempt, in the transaction of the domain change. No row: the attempt is stale.
-- $1 id  $2 generation  $3 claim  $4 snoozes after this end  $5 outcome  $6 state  $7 run_at  $8 error code  $9 error
-- $10 result  $11 worker  $12 started_at
WITH ended AS (
    UPDATE jobs SET state = $6::text, attempt = $3::integer, snoozes = $4::integer,
           run_at = coalesce($7::timestamptz, run_at),
           finished_at = CASE WHEN $6::text IN ('ready', 'scheduled') THEN NULL ELSE now() END,
           last_error_code = coalesce($8::text, last_error_code), last_error = coalesce($9::text, last_error),
           result = coalesce($10::json, result), updated_at = now(),
           result_until = CASE WHEN options IS NOT NULL AND $6::text NOT IN ('ready', 'scheduled')
                               THEN now() + (options ->> 'result_ttl_ms')::bigint * interval '1 millisecond' END
     WHERE id = $1::uuid AND generation = $2::integer AND attempt < $3::integer AND live
    RETURNING *),
tried AS (
    INSERT INTO job_attempts (job_id, generation, attempt, outcome, error_code, error, worker, started_at)
    SELECT id, generation, attempt, $5::text, $8::text, $9::text, $11::text, $12::timestamptz FROM ended),
dead AS (
    INSERT INTO dead_letters (job_id, generation, durable, queue, task, args, priority, max_attempts, timeout_ms, unique_key,
           subject, tenant_id, trace, options, attempts, error_code, error, errors, worker)
    SELECT e.id, e.generation, true, e.queue, e.task, e.args::text, e.priority, e.max_attempts, e.timeout_ms, e.unique_key,
           e.subject, e.tenant_id, e.trace, e.options::text, e.attempt - e.snoozes, coalesce($8::text, 'internal'), coalesce($9::text, ''),
           coalesce((SELECT json_agg(json_build_object('attempt', a.attempt, 'at', a.finished_at, 'worker', a.worker,
                                                       'code', a.error_code, 'error', a.error) ORDER BY a.attempt)
                       FROM (SELECT attempt, finished_at, worker, error_code, error FROM job_attempts
                              WHERE job_id = e.id AND generation = e.generation AND outcome = 'retry'
                             UNION ALL SELECT e.attempt, now(), $11::text, $8::text, $9::text) a), '[]'),
           $11::text
      FROM ended e WHERE $6::text = 'dead')
SELECT count(*) FROM ended;

-- name: job_end_many
-- The ends of many attempts, none of them a death (those write more). Answers with those that were taken; an attempt that is
-- not among them is stale. Arrays as the parameters of job_end.
WITH ends AS (
    SELECT * FROM unnest($1::uuid[], $2::integer[], $3::integer[], $4::integer[], $5::text[], $6::text[], $7::timestamptz[],
                         $8::text[], $9::text[], $10::json[], $11::text[], $12::timestamptz[])
           AS n (id, generation, claim, snoozes, outcome, state, run_at, error_code, error, result, worker, started_at)),
ended AS (
    UPDATE jobs j SET state = n.state, attempt = n.claim, snoozes = n.snoozes, run_at = coalesce(n.run_at, j.run_at),
           finished_at = CASE WHEN n.state IN ('ready', 'scheduled') THEN NULL ELSE now() END,
           last_error_code = coalesce(n.error_code, j.last_error_code), last_error = coalesce(n.error, j.last_error),
           result = coalesce(n.result, j.result), updated_at = now(),
           result_until = CASE WHEN j.options IS NOT NULL AND n.state NOT IN ('ready', 'scheduled')
                               THEN now() + (j.options ->> 'result_ttl_ms')::bigint * interval '1 millisecond' END
      FROM ends n
     WHERE j.id = n.id AND j.generation = n.generation AND j.attempt < n.claim AND j.live
    RETURNING j.id, j.generation, j.attempt)
INSERT INTO job_attempts (job_id, generation, attempt, outcome, error_code, error, worker, started_at)
SELECT n.id, n.generation, n.claim, n.outcome, n.error_code, n.error, n.worker, n.started_at
  FROM ended e JOIN ends n ON n.id = e.id AND n.generation = e.generation AND n.claim = e.attempt
RETURNING job_id, attempt;

-- name: job_ended_by
-- Was it this very attempt that ended the job? Then it did so itself, in SQL (mw_complete).
SELECT state FROM jobs WHERE id = $1::uuid AND generation = $2::integer AND attempt = $3::integer AND NOT live;

-- name: job_fence
-- Is this still the attempt that may write? The row is held until the end of the transaction.
SELECT 1 FROM jobs WHERE id = $1::uuid AND generation = $2::integer AND attempt < $3::integer AND live FOR UPDATE;

-- name: dead_broker_insert
-- A broker job that nobody will try again: PostgreSQL hears of it for the first time.
INSERT INTO dead_letters (job_id, generation, durable, queue, task, args, priority, max_attempts, timeout_ms, subject,
                          tenant_id, trace, attempts, error_code, error, errors, worker, options)
VALUES ($1::uuid, $2::integer, false, $3, $4, $5, $6::smallint, $7::integer, $8::bigint, $9, $10::uuid, $11, $12::integer,
        coalesce($13, 'internal'), coalesce($14, ''),
        json_build_array(json_build_object('attempt', $12::integer, 'at', now(), 'worker', $15::text, 'code', $13::text,
                                           'error', $14::text)), coalesce($15, ''), $16)
ON CONFLICT ON CONSTRAINT dead_letters_once DO NOTHING;
