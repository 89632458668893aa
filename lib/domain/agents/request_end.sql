-- The only way to an end. Three statements in one transaction: requests locked, their agents locked, and then everything at once; the
-- chain of the history is held from the first row that goes into it until the commit.

-- name: requests_end_soon
-- Where the commit is a round trip of its own: a process that is stopped or stuck before it sends it would hold the head, and with it every
-- end of the house. The server takes it back before anybody's lock_timeout (5 s) is over.
SELECT set_config('idle_in_transaction_session_timeout', '3s', true);

-- name: requests_end_lock
SELECT request_id FROM requests WHERE job_id = ANY ($1::uuid[]) ORDER BY request_id FOR NO KEY UPDATE;

-- name: requests_end_lock_agents
SELECT agent_id FROM agents
 WHERE agent_id IN (SELECT assigned_agent_id FROM requests WHERE job_id = ANY ($1::uuid[]) AND status IN ('assigned', 'sent'))
 ORDER BY agent_id FOR NO KEY UPDATE;

-- name: requests_end
-- $1 job_id  $2 agent_id (NULL: not an agent's word)  $3 tenant_id  $4 to  $5 response  $6 the same, masked (NULL: nothing to mask)
-- $7 error_code  $8 error  $9 actor        $10 failures in a row, $11 first rest in ms, $12 longest
-- The subselect around $1 keeps the length of the batch from the planner, who would plan anew (1 to 2 ms) for each short one.
-- A batch may hold several ends of one agent: what counts is its last success, and what failed after it.
WITH input AS (
    SELECT * FROM unnest((SELECT $1::uuid[]), $2::text[], $3::uuid[], $4::text[], $5::jsonb[], $6::jsonb[], $7::text[], $8::text[], $9::text[])
             WITH ORDINALITY AS i (job_id, agent_id, tenant_id, "to", response, masked, error_code, error, actor, ord)
), looked AS (
    SELECT i.*, r.request_id, r.status AS was, r.assigned_agent_id, r.probe,
           CASE WHEN r.request_id IS NULL OR r.tenant_id <> i.tenant_id THEN 'unknown'
                WHEN r.assigned_agent_id IS DISTINCT FROM coalesce(i.agent_id, r.assigned_agent_id) THEN 'stranger'
                WHEN r.completed_at IS NOT NULL THEN 'late'
                WHEN i."to" = 'cancelled' AND r.status = 'sent' THEN 'too_late'
                WHEN i."to" = 'timeout' AND r.deadline > clock_timestamp() THEN 'early'
                WHEN (i."to" = 'completed' OR i.agent_id IS NOT NULL) AND r.status <> 'sent' THEN 'early'
                ELSE 'done' END AS says,
           left(coalesce(i.error_code, i.response ->> 'code',
                         CASE jsonb_typeof(i.response -> 'error') WHEN 'string' THEN i.response ->> 'error'
                                                                  WHEN 'object' THEN i.response #>> '{error,code}' END,
                         CASE i."to" WHEN 'failed' THEN 'failed' WHEN 'timeout' THEN 'timeout' WHEN 'cancelled' THEN 'cancelled' END),
                64) AS code
      FROM input i LEFT JOIN requests r ON r.job_id = i.job_id
), judged AS MATERIALIZED ( -- of two words about one request the first counts
    SELECT *, CASE WHEN says = 'done' AND row_number() OVER (PARTITION BY request_id, says ORDER BY ord) > 1 THEN 'late' ELSE says END AS verdict
      FROM looked
), ended AS (
    UPDATE requests r
       SET status = j."to", result = j.response, error_code = CASE WHEN j."to" <> 'completed' THEN nullif(j.code, '') END,
           error = left(j.error, 1000), command_payload = coalesce(r.masked_payload, r.command_payload), masked_payload = NULL,
           completed_at = greatest(clock_timestamp(), r.created_at, r.assigned_at, r.sent_at, r.delivered_at),
           version = r.version + 1, updated_at = now()
      FROM judged j
     WHERE j.verdict = 'done' AND r.request_id = j.request_id
    RETURNING r.*, j.ord, j.masked
), counted AS (
    SELECT j.assigned_agent_id AS agent_id, count(*) AS n, bool_or(probe) AS probe_over,
           bool_or(probe AND good) AS probe_good, bool_or(probe AND bad) AS probe_bad,
           bool_or(good) AS any_good, count(*) FILTER (WHERE bad AND ord > coalesce(last_good, 0)) AS bad_after
      FROM (SELECT *, max(ord) FILTER (WHERE good) OVER (PARTITION BY assigned_agent_id) AS last_good
              FROM (SELECT *, was = 'sent' AND "to" = 'completed' AS good,
                           was = 'sent' AND "to" IN ('failed', 'timeout') AND code NOT IN ('not_allowed', 'bad_arguments') AS bad
                      FROM judged WHERE verdict = 'done' AND was IN ('assigned', 'sent')) g) j
     GROUP BY j.assigned_agent_id
), fate AS (
    SELECT a.agent_id, c.n, c.probe_over, c.probe_good,
           CASE WHEN a.cooldown_ms > 0 AND c.probe_good THEN 0
                WHEN a.cooldown_ms > 0 AND c.probe_bad THEN least(a.cooldown_ms * 2, $12::bigint)
                WHEN a.cooldown_ms > 0 THEN a.cooldown_ms
                WHEN a.status = 'active' AND (CASE WHEN c.any_good THEN 0 ELSE a.failures END) + c.bad_after >= $10::int THEN $11::bigint
                ELSE 0 END AS rest_ms,
           CASE WHEN a.cooldown_ms > 0 AND c.probe_good THEN 0
                WHEN a.cooldown_ms > 0 THEN a.failures + (CASE WHEN c.probe_bad THEN 1 ELSE 0 END)
                WHEN a.session_id IS NULL AND NOT c.any_good THEN a.failures -- away is not failing
                ELSE (CASE WHEN c.any_good THEN 0 ELSE a.failures END) + c.bad_after END AS failures,
           a.cooldown_ms = 0 OR c.probe_bad AS begins
      FROM counted c JOIN agents a ON a.agent_id = c.agent_id
), agents_done AS (
    UPDATE agents a
       SET load = a.load - f.n, failures = f.failures, cooldown_ms = f.rest_ms,
           cooldown_until = CASE WHEN f.rest_ms = 0 THEN NULL
                                 WHEN f.begins THEN now() + f.rest_ms * interval '1 millisecond'
                                 ELSE a.cooldown_until END,
           probing = a.probing AND NOT f.probe_over AND f.rest_ms > 0,
           status = CASE WHEN a.session_id IS NULL THEN a.status WHEN f.rest_ms > 0 THEN 'cooldown' ELSE 'active' END,
           updated_at = now()
      FROM fate f WHERE a.agent_id = f.agent_id
    RETURNING 1
), told AS (
    INSERT INTO request_events (request_id, at, step, agent_id, actor, detail)
    SELECT j.request_id, coalesce(e.completed_at, clock_timestamp()), CASE WHEN verdict = 'late' THEN 'late_result' ELSE "to" END,
           coalesce(j.agent_id, j.assigned_agent_id), coalesce(actor, j.agent_id, 'mihwar'),
           left(CASE WHEN verdict = 'late' THEN "to" || coalesce(': ' || code, '') ELSE coalesce(j.error, code) END, 1000)
      FROM judged j LEFT JOIN ended e ON e.ord = j.ord
     WHERE (verdict = 'late' AND j.agent_id IS NOT NULL
            AND (SELECT count(*) FROM request_events t WHERE t.request_id = j.request_id) < 100) -- an agent that never stops is told of no more
        OR (verdict = 'done' AND j.agent_id IS NULL)
     ORDER BY j.ord
    RETURNING 1
), archived AS ( -- behind everything else, whose counts it waits for: it takes the head of the history
    INSERT INTO command_history (job_id, request_id, tenant_id, agent_id, requested_by_user_id, requested_by, command_name,
                                 request_payload, status, response_payload, created_at, completed_at)
    SELECT job_id, request_id, tenant_id, assigned_agent_id, requested_by, requested_by_name, command, command_payload,
           CASE status WHEN 'cancelled' THEN 'failed' ELSE status END,
           coalesce(masked, result, CASE WHEN status <> 'completed'
                                         THEN jsonb_strip_nulls(jsonb_build_object('error', error_code, 'detail', error)) END),
           created_at, completed_at
      FROM ended
     WHERE (SELECT count(*) FROM agents_done) + (SELECT count(*) FROM told) >= 0
     ORDER BY ord
    RETURNING job_id
)
SELECT j.verdict, j.request_id FROM judged j LEFT JOIN archived h ON h.job_id = j.job_id AND j.verdict = 'done' ORDER BY j.ord;

-- name: requests_overdue
-- Not ended although their time was over $1 ms ago: their job was taken away by hand, or died. Each part has its index.
SELECT job_id FROM (SELECT job_id, deadline FROM requests WHERE status IN ('assigned', 'sent')
                    UNION ALL SELECT job_id, deadline FROM requests WHERE status = 'pending' AND agent_id IS NULL
                    UNION ALL SELECT job_id, deadline FROM requests WHERE status = 'pending' AND agent_id IS NOT NULL) AS live
 WHERE deadline < now() - $1::bigint * interval '1 millisecond'
 LIMIT $2::int;
