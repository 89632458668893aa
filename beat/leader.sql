-- The office of a leader (schema/0007_beat.sql). Times by the server's clock of this moment, not of the transaction's begin: a statement
-- may have waited for the row.

-- name: leader_take
-- A row back: we lead. $3: milliseconds of office.
INSERT INTO leaders AS l (role, holder, term, since, until)
VALUES ($1, $2, 1, clock_timestamp(), clock_timestamp() + $3::bigint * interval '1 ms')
    ON CONFLICT (role) DO UPDATE
   SET holder = excluded.holder, term = l.term + 1, since = clock_timestamp(),
       until = clock_timestamp() + $3::bigint * interval '1 ms'
 WHERE l.until <= clock_timestamp()
RETURNING term;

-- name: leader_look
-- Who leads, and for how many milliseconds at least.
SELECT holder, term, greatest(0, ceil(extract(epoch FROM until - clock_timestamp()) * 1000))::bigint AS left_ms
  FROM leaders WHERE role = $1;

-- name: leader_keep
-- No row: the office is another's.
UPDATE leaders SET until = clock_timestamp() + $4::bigint * interval '1 ms'
 WHERE role = $1 AND holder = $2 AND term = $3::bigint
RETURNING term;

-- name: leader_resign
-- And tell those who wait.
WITH gone AS (UPDATE leaders SET until = clock_timestamp() WHERE role = $1 AND holder = $2 AND term = $3::bigint RETURNING role)
SELECT pg_notify('mihwar_leader', role) FROM gone;
