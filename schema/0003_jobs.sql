-- The job engine's durable half. Redis can be rebuilt from these rows; nothing here is written when a job is claimed.
--
--     ready <----> scheduled           live: the engine owes this job an attempt (or one is under way)
--       |              |
--       +------+-------+
--              v
--     completed | dead | cancelled     ended: left only by a replay, which writes generation + 1
--
-- attempt     claim number of the last attempt that ended: an end is taken only while attempt < its claim
-- generation  written before the job is pushed to Redis again: holders of an older one are stale
-- snoozes     how many of those claims ended in a snooze (attempts used = attempt - snoozes)

CREATE TABLE jobs (
    id               uuid PRIMARY KEY,
    queue            text NOT NULL CHECK (length(queue) BETWEEN 1 AND 64),
    task             text NOT NULL CHECK (length(task) BETWEEN 1 AND 128),
    args             json NOT NULL DEFAULT '{}',
    state            text NOT NULL DEFAULT 'ready'
                     CHECK (state IN ('ready', 'scheduled', 'completed', 'dead', 'cancelled')),
    live             boolean GENERATED ALWAYS AS (state IN ('ready', 'scheduled')) STORED,
    generation       integer NOT NULL DEFAULT 1 CHECK (generation >= 1),
    attempt          integer NOT NULL DEFAULT 0 CHECK (attempt >= 0),
    snoozes          integer NOT NULL DEFAULT 0 CHECK (snoozes >= 0 AND snoozes <= attempt),
    max_attempts     integer NOT NULL DEFAULT 0 CHECK (max_attempts >= 0),     -- 0: the task's
    priority         smallint NOT NULL DEFAULT 5 CHECK (priority BETWEEN 0 AND 9),
    run_at           timestamptz NOT NULL DEFAULT now(),
    timeout_ms       bigint NOT NULL DEFAULT 0 CHECK (timeout_ms >= 0),        -- 0: the task's
    unique_key       text CHECK (length(unique_key) BETWEEN 1 AND 255),
    subject          text CHECK (length(subject) <= 128),                      -- id of what the job is about
    tenant_id        uuid,                                                     -- no foreign key: jobs knows no shops
    trace            text CHECK (length(trace) <= 128),
    cancel_requested boolean NOT NULL DEFAULT false,
    progress         json,
    result           json,
    last_error_code  text,
    last_error       text,
    created_at       timestamptz NOT NULL DEFAULT now(),
    updated_at       timestamptz NOT NULL DEFAULT now(),
    finished_at      timestamptz,
    CONSTRAINT jobs_ended_has_time CHECK ((state IN ('completed', 'dead', 'cancelled')) = (finished_at IS NOT NULL))
);
-- One live job per key; the loser of a race reads the winner's id.
CREATE UNIQUE INDEX jobs_unique_key ON jobs (unique_key) WHERE live AND unique_key IS NOT NULL;
-- "Has this order a live check?"
CREATE INDEX jobs_subject ON jobs (subject, task) WHERE live AND subject IS NOT NULL;
-- The sweep and the rebuild walk the live jobs by id; ended ones leave the index.
CREATE INDEX jobs_live ON jobs (id) WHERE live;
-- Retention.
CREATE INDEX jobs_finished ON jobs (finished_at) WHERE finished_at IS NOT NULL;

CREATE FUNCTION jobs_refuse() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'job % has ended (%) and may only be replayed under a new generation', OLD.id, OLD.state
        USING ERRCODE = 'check_violation', CONSTRAINT = 'jobs_ended_stays', TABLE = 'jobs';
END $$;
-- The condition is looked at without entering the function, so that the allowed path stays cheap.
CREATE TRIGGER jobs_ended_stays BEFORE UPDATE ON jobs FOR EACH ROW
    WHEN (OLD.finished_at IS NOT NULL AND OLD.state <> NEW.state
          AND NOT (OLD.state IN ('dead', 'cancelled') AND NEW.finished_at IS NULL AND NEW.generation > OLD.generation))
    EXECUTE FUNCTION jobs_refuse();
CREATE TRIGGER jobs_generation_grows BEFORE UPDATE ON jobs FOR EACH ROW
    WHEN (NEW.generation < OLD.generation OR (NEW.generation = OLD.generation AND NEW.attempt < OLD.attempt))
    EXECUTE FUNCTION jobs_refuse();

-- Every try of a durable job (of a broker job when asked for: so there is no foreign key).
CREATE TABLE job_attempts (
    job_id      uuid NOT NULL,
    generation  integer NOT NULL,
    attempt     integer NOT NULL CHECK (attempt >= 1),                         -- the claim number
    outcome     text NOT NULL CHECK (outcome IN ('completed', 'retry', 'snoozed', 'dead', 'cancelled')),
    error_code  text,
    error       text,
    worker      text NOT NULL DEFAULT '',
    started_at  timestamptz NOT NULL,
    finished_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (job_id, generation, attempt)
);

-- Jobs that nobody will try again by himself. args is text: a malformed job must fit too. Grouped by what went wrong,
-- digits and ids taken out of the words.
CREATE TABLE dead_letters (
    id           uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    job_id       uuid NOT NULL,
    generation   integer NOT NULL DEFAULT 1,
    durable      boolean NOT NULL DEFAULT true,
    queue        text NOT NULL,
    task         text NOT NULL,
    args         text NOT NULL,
    priority     smallint NOT NULL DEFAULT 5,
    max_attempts integer NOT NULL DEFAULT 0,
    timeout_ms   bigint NOT NULL DEFAULT 0,
    unique_key   text,
    subject      text,
    tenant_id    uuid,
    trace        text,
    attempts     integer NOT NULL DEFAULT 0,
    error_code   text NOT NULL DEFAULT 'internal',
    error        text NOT NULL DEFAULT '',
    errors       json NOT NULL DEFAULT '[]',                                   -- [{attempt, at, worker, code, error}]
    worker       text NOT NULL DEFAULT '',
    fingerprint  text GENERATED ALWAYS AS (left(md5(task || '|' || error_code || '|' ||
                 regexp_replace(lower(error), '[0-9a-f]{8}-[0-9a-f-]{27}|[0-9]+', '#', 'g')), 16)) STORED,
    died_at      timestamptz NOT NULL DEFAULT now(),
    replayed_at  timestamptz,
    CONSTRAINT dead_letters_once UNIQUE (job_id, generation)
);
CREATE INDEX dead_letters_group ON dead_letters (fingerprint, died_at DESC);
CREATE INDEX dead_letters_queue ON dead_letters (queue, task, died_at DESC);
CREATE INDEX dead_letters_died ON dead_letters (died_at DESC, id);

-- What outlives Redis about a queue.
CREATE TABLE queue_states (
    queue      text PRIMARY KEY CHECK (length(queue) BETWEEN 1 AND 64),
    paused     boolean NOT NULL DEFAULT false,
    updated_at timestamptz NOT NULL DEFAULT now()
);

-- Advanced in both stores, here first: a Redis that is more than one step behind is not trusted. One row.
CREATE TABLE engine_epoch (
    singleton   boolean PRIMARY KEY DEFAULT true CHECK (singleton),
    epoch       bigint NOT NULL CHECK (epoch >= 1),
    advanced_at timestamptz NOT NULL DEFAULT now()
);
INSERT INTO engine_epoch (epoch) VALUES (1);
CREATE FUNCTION engine_epoch_refuse() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'the epoch never goes back'
        USING ERRCODE = 'check_violation', CONSTRAINT = 'engine_epoch_grows', TABLE = 'engine_epoch';
END $$;
CREATE TRIGGER engine_epoch_grows BEFORE UPDATE ON engine_epoch FOR EACH ROW
    WHEN (NEW.epoch < OLD.epoch) EXECUTE FUNCTION engine_epoch_refuse();
