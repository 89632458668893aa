-- name: requests_insert
-- One statement for a batch: judges each row, inserts those that may be and are new, each with its request.run job, and tells for
-- every row what became of it. Rows go in in one order everywhere, so that two batches with the same keys wait for each other
-- instead of deadlocking. A row that was skipped is looked up by requests_first.
WITH input AS MATERIALIZED (
    SELECT * FROM unnest($1::uuid[], $2::uuid[], $3::uuid[], $4::uuid[], $5::text[], $6::text[], $7::jsonb[], $8::jsonb[],
                         $9::text[], $10::text[], $11::jsonb[], $12::bigint[], $13::text[], $14::text[], $15::text[],
                         $16::timestamptz[]) WITH ORDINALITY
        AS t (request_id, job_id, tenant_id, requested_by, requested_by_name, command, payload, masked, agent_id, agent_type, match,
              timeout_ms, idempotency_key, body_hash, trace, admitted_at, ord)
), judged AS MATERIALIZED (
    SELECT i.*, i.agent_id IS NULL OR EXISTS (SELECT FROM agents a WHERE a.agent_id = i.agent_id AND a.tenant_id = i.tenant_id
                                                 AND a.enabled) AS known
      FROM input i
), made AS (
    INSERT INTO requests (request_id, tenant_id, job_id, requested_by, requested_by_name, command, command_payload, masked_payload,
                          agent_id, agent_type, match, timeout_ms, deadline, idempotency_key, body_hash, trace, admitted_at)
    SELECT request_id, tenant_id, job_id, requested_by, requested_by_name, command, payload, masked, agent_id, agent_type, match,
           timeout_ms, now() + timeout_ms * interval '1 millisecond', idempotency_key, body_hash, trace,
           coalesce(admitted_at, now())
      FROM judged
     WHERE known
     ORDER BY tenant_id, idempotency_key, ord
    ON CONFLICT DO NOTHING
    RETURNING request_id
), queued AS (
    INSERT INTO jobs (id, queue, task, args, unique_key, subject, tenant_id, trace)
    SELECT j.job_id, 'requests', 'request.run', json_build_object('request_id', j.request_id), 'request.run:' || j.request_id,
           j.request_id::text, j.tenant_id, j.trace
      FROM made m JOIN judged j ON j.request_id = m.request_id
)
SELECT j.known, m.request_id IS NOT NULL
  FROM judged j LEFT JOIN made m ON m.request_id = j.request_id
 ORDER BY j.ord;

-- name: requests_first
-- The request that a skipped row lost to: itself (an earlier try of ours was committed), or the one with its key.
SELECT i.ord, f.how, f.request_id, f.body_hash
  FROM unnest($1::uuid[], $2::uuid[], $3::text[]) WITH ORDINALITY AS i (request_id, tenant_id, idempotency_key, ord),
       LATERAL (SELECT 1 AS how, r.request_id, r.body_hash FROM requests r WHERE r.request_id = i.request_id
                UNION ALL
                SELECT 2, r.request_id, r.body_hash FROM requests r
                 WHERE r.tenant_id = i.tenant_id AND r.idempotency_key = i.idempotency_key
                 ORDER BY 1 LIMIT 1) AS f
 ORDER BY i.ord;

-- name: request_known
SELECT EXISTS (SELECT FROM requests WHERE tenant_id = $1::uuid AND idempotency_key = $2);
