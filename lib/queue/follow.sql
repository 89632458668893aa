-- Attempts as they end.

-- name: follow_start
-- From where the $4 newest attempts of the last $1 ms can be seen; microseconds since 1970. NULL: there are none.
SELECT (extract(epoch FROM min(finished_at)) * 1000000)::bigint
  FROM (SELECT a.finished_at FROM job_attempts a JOIN jobs j ON j.id = a.job_id
         WHERE a.finished_at >= clock_timestamp() - $1::bigint * interval '1 millisecond'
           AND ($2::text IS NULL OR j.queue = $2) AND ($3::text IS NULL OR j.task = $3)
         ORDER BY a.finished_at DESC LIMIT $4::integer) AS newest;

-- name: follow_horizon
-- What ended before this moment is to be seen already: an attempt bears the time at which its transaction began, and comes to light
-- when that commits. So it is the beginning of the oldest transaction that writes or may yet; but nobody is waited for longer than a
-- minute. Where we may not see the transactions of others: three seconds ago.
SELECT (extract(epoch FROM least(clock_timestamp() - interval '200 milliseconds',
                                 greatest(min(xact_start) FILTER (WHERE backend_xid IS NOT NULL
                                                                     OR xact_start > clock_timestamp() - interval '3 seconds'),
                                          clock_timestamp() - interval '1 minute'),
                                 CASE WHEN bool_or(query = '<insufficient privilege>')
                                      THEN clock_timestamp() - interval '3 seconds' END)) * 1000000)::bigint
  FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid();

-- name: follow_page
-- In their order, behind ($1 microseconds, $2, $3, $4). The index is by ranges of blocks, so $1 should be of late.
SELECT a.job_id, a.generation, a.attempt, a.outcome, a.error_code, a.error, a.worker, a.started_at, a.finished_at, j.queue, j.task,
       (extract(epoch FROM a.finished_at) * 1000000)::bigint
  FROM job_attempts a JOIN jobs j ON j.id = a.job_id
 WHERE a.finished_at >= 'epoch'::timestamptz + $1::bigint * interval '1 microsecond'
   AND (a.finished_at, a.job_id, a.generation, a.attempt)
       > ('epoch'::timestamptz + $1::bigint * interval '1 microsecond', $2::uuid, $3::integer, $4::integer)
   AND ($5::text IS NULL OR j.queue = $5) AND ($6::text IS NULL OR j.task = $6)
 ORDER BY a.finished_at, a.job_id, a.generation, a.attempt LIMIT $7::integer;
