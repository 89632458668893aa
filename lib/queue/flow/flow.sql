-- Workflows: written, moved, read. What follows from the end of a job is in the schema.

-- name: flow_insert
-- No row: it is there already.
INSERT INTO workflows (id, tenant_id, name, jobs, trace) VALUES ($1::uuid, $2::uuid, $3, $4::integer, $5)
ON CONFLICT DO NOTHING RETURNING id;

-- name: flow_steps_insert
-- A batch of steps, and the jobs of those that wait for nothing. $1: the workflow
WITH put AS (
    INSERT INTO workflow_steps (workflow_id, step, kind, state, started_at, parent, last, previous, opens_with, before, next, bucket,
                                continues, open, queue, task, args, priority, max_attempts, timeout_ms, delay_ms, run_at, subject,
                                options, job_id)
    SELECT $1::uuid, step, kind, CASE opens_with WHEN 1 THEN 'running' ELSE 'waiting' END, CASE opens_with WHEN 1 THEN now() END,
           parent, last, previous, opens_with, before, next, bucket, continues, open, queue, task, args, priority, max_attempts,
           timeout_ms, delay_ms, run_at, subject, options, job_id
      FROM unnest($2::integer[], $3::text[], $4::integer[], $5::integer[], $6::integer[], $7::integer[], $8::integer[], $9::integer[],
                  $10::integer[], $11::boolean[], $12::integer[], $13::text[], $14::text[], $15::json[], $16::smallint[],
                  $17::integer[], $18::bigint[], $19::bigint[], $20::timestamptz[], $21::text[], $22::json[], $23::uuid[])
           AS n (step, kind, parent, last, previous, opens_with, before, next, bucket, continues, open, queue, task, args, priority,
                 max_attempts, timeout_ms, delay_ms, run_at, subject, options, job_id)
    RETURNING *)
INSERT INTO jobs (id, queue, task, args, state, run_at, priority, max_attempts, timeout_ms, subject, tenant_id, trace, options)
SELECT p.job_id, p.queue, p.task, p.args, CASE WHEN d.at > now() THEN 'scheduled' ELSE 'ready' END, d.at,
       p.priority, p.max_attempts, p.timeout_ms, p.subject, f.tenant_id, f.trace, p.options
  FROM put p JOIN workflows f ON f.id = $1::uuid,
       LATERAL (SELECT greatest(now(), p.run_at) + p.delay_ms * interval '1 millisecond') AS d (at)
 WHERE p.kind = 'job' AND p.state = 'running';

-- name: flow_buckets_insert
-- $2: groups; $3: how many buckets; $4: how many members. Member i counts down bucket i % buckets.
INSERT INTO workflow_buckets (workflow_id, step, bucket, open)
SELECT $1::uuid, g.step, b, g.members / g.buckets + CASE WHEN b < g.members % g.buckets THEN 1 ELSE 0 END
  FROM unnest($2::integer[], $3::integer[], $4::integer[]) AS g (step, buckets, members), generate_series(0, g.buckets - 1) AS b;

-- name: flow_gathered
-- Ends of members in this transaction are not looked at one by one.
SELECT set_config('mihwar.ends_gathered', 'on', true);

-- name: flow_members_ended
-- Behind their ends, in the same transaction.
SELECT 1 FROM (SELECT workflow_members_ended($1::uuid[])) AS done;

-- name: flow_reached
-- The jobs that this transaction's ends have begun.
SELECT j.id, j.queue, j.generation, j.attempt, j.snoozes, j.task, j.args, j.priority, j.run_at, j.timeout_ms, j.max_attempts, j.subject,
       j.tenant_id, j.trace, j.options
  FROM workflow_reached() r
  JOIN workflow_steps a ON a.workflow_id = r.workflow_id AND a.step = r.step
  JOIN workflow_steps s ON s.workflow_id = a.workflow_id AND s.step BETWEEN a.step AND a.last AND s.opens_with = a.step
  JOIN jobs j ON j.id = s.job_id
 WHERE j.live;

-- name: flow_previous
-- NULL: nothing stands before it. $3: no more bytes than that
WITH given AS MATERIALIZED (
    SELECT workflow_result(s.workflow_id, s.previous)::text AS result FROM workflow_steps s
     WHERE s.workflow_id = $1::uuid AND s.step = $2::integer AND s.previous IS NOT NULL)
SELECT CASE WHEN octet_length(result) <= $3::integer THEN result END, octet_length(result) FROM given;

-- name: flow_state
SELECT state FROM workflows WHERE id = $1::uuid AND ($2::uuid IS NULL OR tenant_id = $2);

-- name: flow_lock
SELECT 1 FROM (SELECT pg_advisory_xact_lock(workflow_lock($1::uuid))) AS held;

-- name: flow_cancel
SELECT 1 FROM (SELECT workflow_cancel($1::uuid)) AS done;

-- name: flow_unfinished
-- Jobs of a workflow that live, by step; $2: the last step seen.
SELECT s.step, j.id, j.queue FROM workflow_steps s JOIN jobs j ON j.id = s.job_id
 WHERE s.workflow_id = $1::uuid AND s.step > $2::integer AND s.kind = 'job' AND s.state = 'running' AND j.live
 ORDER BY s.step LIMIT $3::integer;

-- name: flow_retriable
-- How many of its jobs died or were cancelled, how many are under way.
SELECT count(*) FILTER (WHERE state IN ('failed', 'cancelled')), count(*) FILTER (WHERE state = 'running')
  FROM workflow_steps WHERE workflow_id = $1::uuid AND kind = 'job';

-- name: flow_retry
SELECT id, queue, generation, attempt, snoozes, task, args, priority, run_at, timeout_ms, max_attempts, subject, tenant_id, trace,
       options
  FROM workflow_retry($1::uuid);

-- name: flow_get
-- $3: no more bytes of the result than that.
WITH f AS MATERIALIZED (
    SELECT w.*, CASE WHEN w.state = 'completed' THEN workflow_result(w.id, 1)::text END AS result
      FROM workflows w WHERE w.id = $1::uuid AND ($2::uuid IS NULL OR w.tenant_id = $2))
SELECT f.name, f.state, f.tenant_id, f.trace, f.jobs, f.created_at, f.finished_at,
       CASE WHEN octet_length(f.result) <= $3::integer THEN f.result END, octet_length(f.result),
       c.waiting, c.running, c.done, c.failed, c.cancelled
  FROM f, LATERAL (SELECT count(*) FILTER (WHERE s.state = 'waiting') AS waiting, count(*) FILTER (WHERE s.state = 'running') AS running,
                          count(*) FILTER (WHERE s.state = 'done') AS done, count(*) FILTER (WHERE s.state = 'failed') AS failed,
                          count(*) FILTER (WHERE s.state = 'cancelled') AS cancelled
                     FROM workflow_steps s WHERE s.workflow_id = f.id AND s.kind = 'job') c;

-- name: flow_steps
-- $2: the last step seen; $4: no more bytes of a result than that.
SELECT step, parent, kind, state, continues, task, queue, args, job_id,
       CASE WHEN octet_length(result::text) <= $4::integer THEN result END AS result, octet_length(result::text), error_code, error,
       started_at, finished_at
  FROM workflow_steps WHERE workflow_id = $1::uuid AND step > $2::integer ORDER BY step LIMIT $3::integer;

-- name: flow_list
-- Newest first; $3 is the last id seen. NULL filters nothing.
SELECT id, name, state, tenant_id, jobs, created_at, finished_at FROM workflows
 WHERE ($1::uuid IS NULL OR tenant_id = $1) AND ($2::text IS NULL OR state = $2)
   AND ($3::uuid IS NULL OR (created_at, id) < (SELECT f.created_at, f.id FROM workflows f WHERE f.id = $3))
 ORDER BY created_at DESC, id DESC LIMIT $4::integer;

-- name: flow_wish
-- Holders hear of it at the commit; a notice has room for 200 of them.
WITH wished AS (
    UPDATE jobs SET cancel_requested = true, updated_at = now() WHERE id = ANY ($1::uuid[]) AND live RETURNING id)
SELECT pg_notify('mihwar_cancelled', string_agg(n.id::text, ' '))
  FROM (SELECT id, row_number() OVER () / 200 AS notice FROM wished) n GROUP BY n.notice;
