-- What beat starts by the clock, and what it started: one firing per due time however many beats run.

CREATE TABLE schedules (
    id          uuid PRIMARY KEY,
    tenant_id   uuid REFERENCES tenants (id),                         -- NULL: the house's own
    name        text NOT NULL UNIQUE CHECK (name ~ '^[A-Za-z0-9_.:-]{1,120}$'),
    task        text NOT NULL CHECK (length(task) BETWEEN 1 AND 128),
    args        json NOT NULL DEFAULT '{}',
    queue       text CHECK (length(queue) BETWEEN 1 AND 64),          -- NULL: the task's
    priority    smallint NOT NULL DEFAULT 5 CHECK (priority BETWEEN 0 AND 9),
    cron        text CHECK (length(cron) <= 255),
    every_ms    bigint CHECK (every_ms >= 100),
    timezone    text NOT NULL DEFAULT 'UTC' CHECK (length(timezone) <= 64),
    enabled     boolean NOT NULL DEFAULT true,
    jitter_ms   bigint NOT NULL DEFAULT 0 CHECK (jitter_ms >= 0),
    misfire     text NOT NULL DEFAULT 'once' CHECK (misfire IN ('skip', 'once', 'all')),
    next_due_at timestamptz,                                          -- NULL: beat works it out
    version     integer NOT NULL DEFAULT 1,
    created_at  timestamptz NOT NULL DEFAULT now(),
    updated_at  timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT schedules_one_rule CHECK ((cron IS NULL) <> (every_ms IS NULL))
);
CREATE INDEX schedules_due ON schedules (next_due_at) WHERE enabled;

CREATE TABLE schedule_firings (
    schedule_id uuid NOT NULL REFERENCES schedules (id) ON DELETE CASCADE,
    due_at      timestamptz NOT NULL,
    fired_at    timestamptz NOT NULL DEFAULT now(),
    job_id      uuid,                                                 -- NULL: skipped as a misfire
    PRIMARY KEY (schedule_id, due_at)
);
CREATE INDEX schedule_firings_fired ON schedule_firings (fired_at);
