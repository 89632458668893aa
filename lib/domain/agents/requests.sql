-- name: request_create
-- The request and its job, if it is new and names somebody who is there. Answers in one row: was it made, and is the agent known?
WITH judged AS MATERIALIZED (
    SELECT $9::text IS NULL OR EXISTS (SELECT FROM agents a WHERE a.agent_id = $9 AND a.tenant_id = $2::uuid AND a.enabled) AS known
), made AS (
    INSERT INTO requests (request_id, tenant_id, job_id, requested_by, requested_by_name, command, command_payload, masked_payload,
                          agent_id, agent_type, match, timeout_ms, deadline, admitted_at, idempotency_key, body_hash, trace)
    SELECT $1::uuid, $2::uuid, $3::uuid, $4::uuid, $5, $6, $7::jsonb, $8::jsonb, $9, $10, $11::jsonb, $12::bigint,
           now() + $12::bigint * interval '1 millisecond', coalesce($13::timestamptz, now()), $14, $15, $16
      FROM judged WHERE known
    ON CONFLICT DO NOTHING
    RETURNING *
), queued AS (
    INSERT INTO jobs (id, queue, task, args, unique_key, subject, tenant_id, trace)
    SELECT job_id, 'requests', 'request.run', json_build_object('request_id', request_id), 'request.run:' || request_id,
           request_id::text, tenant_id, trace
      FROM made
)
SELECT j.known, m.request_id IS NOT NULL, m.created_at, m.deadline, m.admitted_at FROM judged j LEFT JOIN made m ON true;

-- name: request_first
-- What a request that was not new lost to: itself (an earlier try was kept), or the one with its key.
SELECT r.request_id, r.tenant_id, r.job_id, r.requested_by, r.requested_by_name, r.command, r.command_payload, r.agent_id, r.agent_type,
       r.match, r.status, r.assigned_agent_id, r.probe, r.timeout_ms, r.deadline, r.sends, r.version, r.result, r.error_code, r.error,
       r.trace, r.admitted_at, r.created_at, r.assigned_at, r.sent_at, r.delivered_at, r.completed_at, r.updated_at, r.body_hash
  FROM requests r
 WHERE r.request_id = $1::uuid OR (r.tenant_id = $2::uuid AND r.idempotency_key = $3)
 ORDER BY r.request_id = $1::uuid DESC
 LIMIT 1;

-- name: request_get
SELECT r.request_id, r.tenant_id, r.job_id, r.requested_by, r.requested_by_name, r.command, r.command_payload, r.agent_id, r.agent_type,
       r.match, r.status, r.assigned_agent_id, r.probe, r.timeout_ms, r.deadline, r.sends, r.version, r.result, r.error_code, r.error,
       r.trace, r.admitted_at, r.created_at, r.assigned_at, r.sent_at, r.delivered_at, r.completed_at, r.updated_at
  FROM requests r
 WHERE r.request_id = $1::uuid AND ($2::uuid IS NULL OR r.tenant_id = $2);

-- name: request_list
-- Newest first. $7 is the cursor; $9 bounds the walk by birth (ids are made in order of time).
SELECT r.request_id, r.tenant_id, r.job_id, r.requested_by, r.requested_by_name, r.command, r.command_payload, r.agent_id, r.agent_type,
       r.match, r.status, r.assigned_agent_id, r.probe, r.timeout_ms, r.deadline, r.sends, r.version, r.result, r.error_code, r.error,
       r.trace, r.admitted_at, r.created_at, r.assigned_at, r.sent_at, r.delivered_at, r.completed_at, r.updated_at
  FROM requests r
 WHERE ($1::uuid IS NULL OR r.tenant_id = $1)
   AND ($2::text IS NULL OR r.status = $2)
   AND ($3::text IS NULL OR r.assigned_agent_id = $3)
   AND ($4::text IS NULL OR r.command = $4)
   AND ($5::timestamptz IS NULL OR r.created_at >= $5)
   AND ($6::timestamptz IS NULL OR r.created_at < $6)
   AND ($7::uuid IS NULL OR r.request_id < $7)
   AND ($9::uuid IS NULL OR r.request_id >= $9)
 ORDER BY r.request_id DESC
 LIMIT $8::int;

-- name: request_events
-- The times that every request has are its own columns; the history row is of the same transaction as the end. `way` keeps the steps
-- of one moment in order.
WITH r AS (
    SELECT * FROM requests WHERE request_id = $1::uuid
)
SELECT at, step, agent_id, actor, detail
  FROM (SELECT admitted_at AS at, 0 AS way, 0::bigint AS id, 'security' AS step, NULL AS agent_id, requested_by_name AS actor,
               NULL AS detail FROM r
        UNION ALL SELECT created_at, 1, 0, 'registered', NULL, requested_by_name, command FROM r
        UNION ALL SELECT assigned_at, 3, 0, 'found', assigned_agent_id, 'mihwar', NULL FROM r WHERE assigned_agent_id IS NOT NULL
        UNION ALL SELECT sent_at, 4, 0, 'sent', assigned_agent_id, 'mihwar', NULL FROM r WHERE sent_at IS NOT NULL
        UNION ALL SELECT delivered_at, 5, 0, 'delivered', assigned_agent_id, assigned_agent_id, NULL FROM r WHERE delivered_at IS NOT NULL
        UNION ALL SELECT r.completed_at, 6, 0, 'result', assigned_agent_id, assigned_agent_id, coalesce(r.error_code, r.status)
                    FROM r WHERE r.status IN ('completed', 'failed') AND r.sends > 0
                     AND NOT EXISTS (SELECT FROM request_events e WHERE e.request_id = r.request_id AND e.step = 'failed')
        UNION ALL SELECT h.archived_at, 7, 0, 'archived', h.agent_id, 'mihwar', '#' || h.seq
                    FROM r JOIN command_history h ON h.job_id = r.job_id AND h.archived_at >= r.created_at
        UNION ALL SELECT e.at, CASE WHEN step IN ('waiting', 'moved') THEN 2 ELSE 6 END, e.id, e.step, e.agent_id, e.actor, e.detail
                    FROM request_events e WHERE e.request_id = $1::uuid) AS t
 ORDER BY at, way, id
 LIMIT 1000;

-- name: request_note
INSERT INTO request_events (request_id, step, agent_id, actor, detail)
SELECT request_id, $2, $3, $4, left($5, 1000) FROM requests WHERE request_id = $1::uuid;
