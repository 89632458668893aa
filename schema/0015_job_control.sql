-- Control of running work. A job that asks for none of it pays for none of it: new columns are constants or NULL, indexes
-- partial, tables entered only by those who ask.

-- What a job told while it ran. Log lines are a ring of 199 slots for each attempt, the newest ones stay; slot 0 is the latest
-- progress. Written in batches, some time after it was said (worker/timeline.c); a batch may be lost. seq counts what the
-- attempt said, so a gap shows what was overwritten or lost. Broker jobs are here, too: there is no foreign key.
CREATE TABLE job_events (
    job_id     uuid NOT NULL,
    generation integer NOT NULL,
    attempt    integer NOT NULL CHECK (attempt >= 1),                          -- the claim number, as in job_attempts
    slot       smallint NOT NULL CHECK (slot BETWEEN 0 AND 199),
    seq        bigint NOT NULL CHECK (seq >= 1),
    at         timestamptz NOT NULL,
    kind       text NOT NULL CHECK (kind IN ('progress', 'log')),
    level      text CHECK (level IN ('debug', 'info', 'warn', 'error')),       -- log only
    body       text NOT NULL CHECK (octet_length(body) <= 4096),               -- progress: JSON
    PRIMARY KEY (job_id, generation, attempt, slot),
    CHECK ((slot = 0) = (kind = 'progress') AND (level IS NULL) = (kind = 'progress'))
);
-- Retention.
CREATE INDEX job_events_at ON job_events (at);
ALTER TABLE jobs DROP COLUMN progress;                                         -- never written; it is in job_events now

-- A key that is unique until the job starts is free once key_free is set; one that is unique for a window never holds the index.
ALTER TABLE jobs ADD COLUMN key_free boolean NOT NULL DEFAULT false;
DROP INDEX jobs_unique_key;
CREATE UNIQUE INDEX jobs_unique_key ON jobs (unique_key) WHERE live AND unique_key IS NOT NULL AND NOT key_free;

-- Keys that are taken for a time, however their job ends.
CREATE TABLE job_windows (
    unique_key text PRIMARY KEY CHECK (length(unique_key) BETWEEN 1 AND 255),
    job_id     uuid NOT NULL,
    until      timestamptz NOT NULL
);
CREATE INDEX job_windows_until ON job_windows (until);

-- Somebody waits for the end: whoever writes it tells, in the same commit.
ALTER TABLE jobs ADD COLUMN awaited boolean NOT NULL DEFAULT false;
CREATE FUNCTION jobs_tell_end() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM pg_notify('mihwar_ended', NEW.id::text);
    RETURN NULL;
END $$;
CREATE TRIGGER jobs_awaited AFTER UPDATE ON jobs FOR EACH ROW
    WHEN (NEW.awaited AND OLD.finished_at IS NULL AND NEW.finished_at IS NOT NULL) EXECUTE FUNCTION jobs_tell_end();

-- A result with a time to live is not shown, and soon not there, after this.
ALTER TABLE jobs ADD COLUMN result_until timestamptz;
CREATE INDEX jobs_result_until ON jobs (result_until) WHERE result_until IS NOT NULL;

-- Cancels that Redis may not have heard of.
CREATE INDEX jobs_cancel_requested ON jobs (id) WHERE live AND cancel_requested;
