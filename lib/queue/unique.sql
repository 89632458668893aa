-- Keys that are unique until the start, or for a window. Those that are unique until the finish are an index's business.

-- name: window_take
-- A key that nobody has, or whose window is over, is the job's now. Answers with the places of those that got theirs.
WITH n AS (
    SELECT * FROM unnest($1::uuid[], $2::text[], $3::bigint[]) WITH ORDINALITY AS u (id, unique_key, ms, ord)),
taken AS (
    INSERT INTO job_windows AS w (unique_key, job_id, until)
    SELECT DISTINCT ON (unique_key) unique_key, id, clock_timestamp() + ms * interval '1 millisecond' FROM n
     ORDER BY unique_key, ord
    ON CONFLICT (unique_key) DO UPDATE SET job_id = excluded.job_id, until = excluded.until WHERE w.until <= clock_timestamp()
    RETURNING unique_key, job_id)
SELECT n.ord FROM n JOIN taken t ON t.unique_key = n.unique_key AND t.job_id = n.id;

-- name: window_holders
-- A new snapshot: the winner of a race is seen here.
SELECT n.ord, w.job_id
  FROM unnest($1::text[]) WITH ORDINALITY AS n (unique_key, ord) JOIN job_windows w ON w.unique_key = n.unique_key;

-- name: key_free
UPDATE jobs SET key_free = true WHERE id = $1::uuid AND generation = $2::integer AND attempt < $3::integer AND live AND NOT key_free;

-- name: windows_forget
DELETE FROM job_windows WHERE unique_key IN (SELECT unique_key FROM job_windows WHERE until < now() ORDER BY until LIMIT 1000);

-- name: results_forget
UPDATE jobs SET result = NULL, result_until = NULL
 WHERE id IN (SELECT id FROM jobs WHERE result_until < now() ORDER BY result_until LIMIT 1000 FOR UPDATE SKIP LOCKED);
