-- name: migrate_lock
-- One runner at a time, however many programs start at once; given back at the end of the transaction. The number is ours
-- alone: "mihwar" in ASCII.
SELECT pg_advisory_xact_lock(120299491647858);

-- name: migrate_limits
-- A step may rewrite a large table: no statement_timeout; it must not queue for a lock in front of the shop for long.
SELECT set_config('statement_timeout', '0', true), set_config('lock_timeout', '15s', true);

-- name: migrate_begun
SELECT to_regclass('schema_steps') IS NOT NULL;

-- name: migrate_begin
CREATE TABLE IF NOT EXISTS schema_steps (
    number     integer     PRIMARY KEY,
    name       text        NOT NULL,
    sha256     text        NOT NULL,
    applied_at timestamptz NOT NULL DEFAULT now(),
    took_ms    bigint      NOT NULL
);

-- name: migrate_recorded
SELECT number, name, sha256, applied_at FROM schema_steps ORDER BY number;

-- name: migrate_text
-- A step is many statements, which one prepared statement cannot be: its text is laid down here ...
SELECT set_config('mihwar.step', $1, true);

-- name: migrate_apply
-- ... and carried out by the server, each statement analysed when the ones before it have run.
DO $step$ BEGIN EXECUTE current_setting('mihwar.step'); END $step$;

-- name: migrate_record
INSERT INTO schema_steps (number, name, sha256, took_ms) VALUES ($1, $2, $3, $4);
