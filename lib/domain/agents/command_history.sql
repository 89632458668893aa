-- name: history_list
-- Newest first. $8 is the cursor. A row is archived after it was created, so that old months are not looked into.
SELECT seq, job_id, request_id, tenant_id, agent_id, requested_by_user_id, requested_by, command_name, request_payload, status,
       response_payload, created_at, completed_at, archived_at
  FROM command_history
 WHERE ($1::uuid IS NULL OR tenant_id = $1)
   AND ($2::text IS NULL OR agent_id = $2)
   AND ($3::text IS NULL OR command_name = $3)
   AND ($4::text IS NULL OR status = $4)
   AND ($5::uuid IS NULL OR job_id = $5)
   AND ($6::timestamptz IS NULL OR (created_at >= $6 AND archived_at >= $6))
   AND ($7::timestamptz IS NULL OR created_at < $7)
   AND ($8::bigint = 0 OR seq < $8)
 ORDER BY seq DESC
 LIMIT $9::int;

-- name: history_chain
-- What each row says and what it says of itself; the text is spelled here once more, apart from the trigger that wrote the hash.
-- $1, $2: the last row seen; $3: up to this seq.
SELECT seq, job_id, prev_hash, hash,
       jsonb_build_array(seq, job_id, request_id, tenant_id, agent_id, requested_by_user_id, requested_by, command_name,
                         request_payload, status, response_payload,
                         to_char(created_at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"'),
                         to_char(completed_at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"'),
                         to_char(archived_at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"'))::text
  FROM command_history
 WHERE (seq, job_id) > ($1::bigint, $2::uuid) AND seq >= greatest($1, 1) AND seq <= $3::bigint
 ORDER BY seq, job_id
 LIMIT $4::int;

-- name: history_head
SELECT seq, hash FROM command_history_head;

-- name: history_beyond
-- Rows that the head does not know: both are read from one snapshot.
SELECT h.seq, h.job_id FROM command_history h
 WHERE h.seq > (SELECT seq FROM command_history_head) OR h.seq < 1
 ORDER BY h.seq, h.job_id
 LIMIT 100;

-- name: history_partitions
-- This month and the next two.
SELECT command_history_partition(((now() AT TIME ZONE 'UTC') + n * interval '1 month')::date) FROM generate_series(0, 2) AS n;
