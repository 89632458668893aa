-- What jobs tell while they run.

-- name: timeline_write
-- A slot takes what is newer than what it has; of several for one slot in a batch the newest.
INSERT INTO job_events AS e (job_id, generation, attempt, slot, seq, at, kind, level, body)
SELECT DISTINCT ON (job_id, generation, attempt, slot) job_id, generation, attempt, slot, seq, at,
       CASE WHEN level IS NULL THEN 'progress' ELSE 'log' END, level, body
  FROM unnest($1::uuid[], $2::integer[], $3::integer[], $4::smallint[], $5::bigint[], $6::timestamptz[], $7::text[], $8::text[])
       AS n (job_id, generation, attempt, slot, seq, at, level, body)
 ORDER BY job_id, generation, attempt, slot, seq DESC
ON CONFLICT (job_id, generation, attempt, slot) DO UPDATE SET seq = excluded.seq, at = excluded.at, level = excluded.level,
   body = excluded.body WHERE e.seq < excluded.seq;

-- name: timeline_prune
-- An attempt has said its first: of what is there of its job the newest events stay.
DELETE FROM job_events e USING (
    SELECT job_id, generation, attempt, slot, row_number() OVER newest AS n, sum(octet_length(body)) OVER newest AS bytes
      FROM job_events WHERE job_id = ANY ($1::uuid[])
    WINDOW newest AS (PARTITION BY job_id ORDER BY generation DESC, attempt DESC, seq DESC)) AS k
 WHERE (e.job_id, e.generation, e.attempt, e.slot) = (k.job_id, k.generation, k.attempt, k.slot)
   AND (k.n > 1000 OR k.bytes > 262144);

-- name: timeline_list
SELECT generation, attempt, seq, at, level, body FROM job_events
 WHERE job_id = $1::uuid AND (generation, attempt, seq) > ($2::integer, $3::integer, $4::bigint)
 ORDER BY generation, attempt, seq LIMIT $5::integer;

-- name: timeline_last
SELECT generation, attempt, seq, at, level, body FROM job_events
 WHERE job_id = $1::uuid ORDER BY generation DESC, attempt DESC, seq DESC LIMIT $2::integer;

-- name: timeline_progress
SELECT body FROM job_events WHERE job_id = $1::uuid AND slot = 0 ORDER BY generation DESC, attempt DESC LIMIT 1;
