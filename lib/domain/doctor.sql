-- What the doctor asks of PostgreSQL. Statistics are those of the server; nothing here locks or writes.

-- name: doctor_dead_tuples
-- The tables with the most rows that nobody needs any more.
SELECT relname, n_dead_tup, n_live_tup, coalesce(last_autovacuum::text, 'never')
  FROM pg_stat_user_tables WHERE n_dead_tup > 10000 ORDER BY n_dead_tup DESC LIMIT 5;

-- name: doctor_transactions
-- The oldest transaction that holds back cleaning, and how many connections there are.
SELECT coalesce(max(extract(epoch FROM now() - xact_start)) FILTER (WHERE backend_type = 'client backend'), 0)::bigint,
       coalesce((array_agg(pid || ' (' || coalesce(nullif(application_name, ''), 'no name') || ', ' || coalesce(state, '?') || ')'
                 ORDER BY xact_start) FILTER (WHERE xact_start IS NOT NULL AND backend_type = 'client backend'))[1], ''),
       count(*) FILTER (WHERE backend_type = 'client backend'), current_setting('max_connections')::integer
  FROM pg_stat_activity;

-- name: doctor_settings
SELECT current_setting('autovacuum'), current_setting('fsync'), current_setting('full_page_writes'),
       (SELECT age(datfrozenxid) FROM pg_database WHERE datname = current_database()),
       (extract(epoch FROM clock_timestamp()) * 1000)::bigint;

-- name: doctor_partitions
-- Months of the command history that have a partition, from this one on; and rows that found none.
SELECT (SELECT count(*) FROM generate_series(0, 2) AS n
         WHERE to_regclass('command_history_' ||
               to_char((now() AT TIME ZONE 'UTC') + n * interval '1 month', 'YYYYMM')) IS NOT NULL),
       EXISTS (SELECT 1 FROM command_history_default);

-- name: doctor_epoch
SELECT (extract(epoch FROM clock_timestamp() - advanced_at) * 1000)::bigint FROM engine_epoch;

-- name: doctor_waiting
-- Durable jobs that nobody touched for a minute and that are not under way: Redis must know them.
SELECT id, queue FROM jobs WHERE live AND updated_at <= now() - interval '1 minute' ORDER BY id LIMIT 200;
