-- What Redis may not have been told.

-- name: outbox_note
WITH noted AS (INSERT INTO job_outbox (job_id) SELECT * FROM unnest($1::uuid[]) ON CONFLICT DO NOTHING)
SELECT pg_notify('mihwar_outbox', '');

-- name: outbox_push
-- Live jobs of the outbox, held until they are pushed: nobody ends one meanwhile, so none is pushed that has ended.
SELECT j.id, j.queue, j.generation, j.attempt, j.snoozes, j.task, j.args, j.priority, j.run_at, j.timeout_ms, j.max_attempts,
       j.subject, j.tenant_id, j.trace, j.options
  FROM job_outbox o JOIN jobs j ON j.id = o.job_id
 WHERE j.live AND NOT j.cancel_requested
 ORDER BY o.at LIMIT 500 FOR UPDATE OF o SKIP LOCKED FOR NO KEY UPDATE OF j SKIP LOCKED;

-- name: outbox_done
DELETE FROM job_outbox WHERE job_id = ANY ($1::uuid[]);

-- name: outbox_cancels
SELECT j.id FROM job_outbox o JOIN jobs j ON j.id = o.job_id WHERE j.live AND j.cancel_requested ORDER BY o.at LIMIT 500;

-- name: outbox_ended
-- Nothing is to be told of these any more.
DELETE FROM job_outbox o WHERE NOT EXISTS (SELECT 1 FROM jobs j WHERE j.id = o.job_id AND j.live);

-- name: young_page
-- Born between two moments (ids sort by birth) and still alive: has Redis heard of them?
SELECT id, queue FROM jobs
 WHERE live AND id > $1::uuid AND id < $2::uuid AND updated_at <= now() - $3::bigint * interval '1 millisecond'
 ORDER BY id LIMIT 500;
