-- Workflows: chains, groups, and groups followed by a callback (chords), nested as one likes. A job of a workflow is a durable
-- job like any other; its options say which workflow and which step it is. What follows from its end is written here, by a
-- trigger, in the transaction of the end, whoever ends it: worker, cancel, purge, replay, or a statement by hand.
--
--     chain 1                        a tree, laid flat depth first: step 1 is the whole, a step's descendants are step+1 .. last
--       |- job 2
--       |- group 3                     waiting --reached--> running --> done
--       |    |- job 4                     ^                    |------> failed      (a job that died; what could not go on)
--       |    `- chain 5 (jobs 6, 7)       |                    `------> cancelled   (a job that was; all that is left, with the whole)
--       `- job 8  (gets [result of 4,     `-----retry, replay--------------'
--                        result of 7])
--
-- Reaching a step begins all jobs that wait for nothing else: `opens_with` names that step, so one statement begins a group of
-- thousands.
--
-- Locks. An end takes, in this order: its job, the workflow's advisory lock (shared), its step, its bucket, then upwards. A
-- group's members count down `buckets` rows instead of one, neighbours different ones, so that ends wait for each other only
-- where their buckets meet. Cancel and retry take the advisory lock alone and touch no live job under it.

CREATE TABLE workflows (
    id          uuid PRIMARY KEY,
    tenant_id   uuid,                                                          -- no foreign key: as in jobs
    name        text CHECK (length(name) BETWEEN 1 AND 128),
    state       text NOT NULL DEFAULT 'running' CHECK (state IN ('running', 'completed', 'failed', 'cancelled')),
    jobs        integer NOT NULL CHECK (jobs BETWEEN 1 AND 10000),
    trace       text CHECK (length(trace) <= 128),
    created_at  timestamptz NOT NULL DEFAULT now(),
    finished_at timestamptz,
    CONSTRAINT workflows_ended_has_time CHECK ((state = 'running') = (finished_at IS NULL))
);
CREATE INDEX workflows_listed ON workflows (tenant_id, created_at DESC, id DESC);
-- Retention.
CREATE INDEX workflows_finished ON workflows (finished_at) WHERE finished_at IS NOT NULL;

-- No foreign key to workflows: ten thousand rows are written at once, and deleted with it (retention).
CREATE TABLE workflow_steps (
    workflow_id  uuid NOT NULL,
    step         integer NOT NULL CHECK (step >= 1),
    kind         text NOT NULL CHECK (kind IN ('job', 'chain', 'group')),
    state        text NOT NULL DEFAULT 'waiting' CHECK (state IN ('waiting', 'running', 'done', 'failed', 'cancelled')),
    -- The tree; written once.
    parent       integer CHECK (parent < step),                                -- NULL: the whole
    last         integer NOT NULL CHECK (last >= step),
    previous     integer,                                                      -- whose result it gets; NULL: nothing stands before it
    opens_with   integer NOT NULL CHECK (opens_with <= step),
    before       integer,                                                      -- in a chain: the one before
    next         integer,                                                      -- in a chain: the one behind
    bucket       integer,                                                      -- in a group: which one it counts down
    -- A group.
    continues    boolean NOT NULL DEFAULT false,                               -- a member that died is a result like others
    open         integer NOT NULL DEFAULT 0,                                   -- buckets that are not empty
    -- A job, as it is enqueued when it is reached.
    queue        text,
    task         text,
    args         json,
    priority     smallint,
    max_attempts integer,
    timeout_ms   bigint,
    delay_ms     bigint,
    run_at       timestamptz,
    subject      text,
    options      json,
    -- What became of it.
    job_id       uuid,                                                         -- NULL: not reached yet
    result       json,                                                         -- kept here: a job's own may have a time to live
    error_code   text,
    error        text,
    started_at   timestamptz,
    finished_at  timestamptz,
    PRIMARY KEY (workflow_id, step),
    CONSTRAINT workflow_step_in_one CHECK ((before IS NULL AND next IS NULL) OR (parent IS NOT NULL AND bucket IS NULL)),
    CONSTRAINT workflow_step_kind CHECK ((kind = 'job') = (task IS NOT NULL))
) WITH (fillfactor = 75);

CREATE TABLE workflow_buckets (
    workflow_id uuid NOT NULL,
    step        integer NOT NULL,                                              -- the group
    bucket      integer NOT NULL,
    open        integer NOT NULL,                                              -- its members that have not ended
    PRIMARY KEY (workflow_id, step, bucket)
) WITH (fillfactor = 50);

CREATE FUNCTION workflow_lock(w uuid) RETURNS bigint LANGUAGE sql IMMUTABLE AS $$
    SELECT hashtextextended(w::text, 4018)
$$;

-- What an end or a replay has begun, for the same transaction to read and push: "workflow/step" a line.
CREATE FUNCTION workflow_note(w uuid, n integer) RETURNS void LANGUAGE sql AS $$
    SELECT set_config('mihwar.workflow_reached', coalesce(current_setting('mihwar.workflow_reached', true), '') || w || '/' || n || E'\n',
                      true)
$$;
CREATE FUNCTION workflow_reached() RETURNS TABLE (workflow_id uuid, step integer) LANGUAGE sql ROWS 1 AS $$
    SELECT split_part(l, '/', 1)::uuid, split_part(l, '/', 2)::integer
      FROM regexp_split_to_table(current_setting('mihwar.workflow_reached', true), E'\n') AS r (l) WHERE l <> ''
$$;

-- Step n is reached: everything begins that waits for nothing else.
CREATE FUNCTION workflow_open(w uuid, n integer) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    until integer;
BEGIN
    SELECT last INTO until FROM workflow_steps WHERE workflow_id = w AND step = n;
    WITH opened AS (
        UPDATE workflow_steps SET state = 'running', started_at = now(), job_id = CASE WHEN kind = 'job' THEN uuid_v7() END
         WHERE workflow_id = w AND step BETWEEN n AND until AND opens_with = n AND state = 'waiting' RETURNING *)
    INSERT INTO jobs (id, queue, task, args, state, run_at, priority, max_attempts, timeout_ms, subject, tenant_id, trace, options)
    SELECT o.job_id, o.queue, o.task, o.args, CASE WHEN d.at > now() THEN 'scheduled' ELSE 'ready' END, d.at,
           o.priority, o.max_attempts, o.timeout_ms, o.subject, f.tenant_id, f.trace, o.options
      FROM opened o JOIN workflows f ON f.id = w,
           LATERAL (SELECT greatest(now(), o.run_at) + o.delay_ms * interval '1 millisecond') AS d (at)
     WHERE o.kind = 'job';
    PERFORM workflow_note(w, n);
END $$;

-- A job of the workflow has ended. In one that was cancelled (`dropped`) nothing is counted: a retry counts anew.
CREATE FUNCTION workflow_goes_on(w uuid, n integer, j jobs, dropped boolean) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    s workflow_steps;
    good boolean := j.state = 'completed';
    still integer;
BEGIN
    UPDATE workflow_steps
       SET state = CASE j.state WHEN 'completed' THEN 'done' WHEN 'dead' THEN 'failed' ELSE 'cancelled' END, finished_at = now(),
           result = CASE WHEN good THEN j.result END, error_code = CASE WHEN NOT good THEN j.last_error_code END,
           error = CASE WHEN NOT good THEN j.last_error END
     WHERE workflow_id = w AND step = n AND job_id = j.id AND state = 'running' RETURNING * INTO s;
    WHILE FOUND AND s.parent IS NOT NULL AND NOT dropped LOOP
        IF s.bucket IS NOT NULL THEN
            UPDATE workflow_buckets SET open = open - 1 WHERE workflow_id = w AND step = s.parent AND bucket = s.bucket
            RETURNING open INTO still;
            IF still > 0 THEN
                RETURN;
            END IF;
            UPDATE workflow_steps SET open = open - 1 WHERE workflow_id = w AND step = s.parent RETURNING open INTO still;
            IF still > 0 THEN
                RETURN;
            END IF;
            -- All others have committed before they emptied their buckets: a new statement sees what became of them.
            SELECT g.continues OR NOT EXISTS (SELECT 1 FROM workflow_steps m WHERE m.workflow_id = w
                       AND m.step BETWEEN g.step + 1 AND g.last AND m.parent = g.step AND m.state <> 'done')
              INTO good FROM workflow_steps g WHERE g.workflow_id = w AND g.step = s.parent;
        ELSIF good AND s.next IS NOT NULL THEN
            PERFORM workflow_open(w, s.next);
            RETURN;
        END IF;
        UPDATE workflow_steps SET state = CASE WHEN good THEN 'done' ELSE 'failed' END, finished_at = now()
         WHERE workflow_id = w AND step = s.parent AND state = 'running' RETURNING * INTO s;
    END LOOP;
    IF s.step = 1 AND NOT dropped THEN
        UPDATE workflows SET state = CASE WHEN good THEN 'completed' ELSE 'failed' END, finished_at = now()
         WHERE id = w AND state = 'running';
    END IF;
END $$;

-- A job of the workflow that died or was cancelled lives again: what had failed over it runs again. A group that went on
-- without it stays as it is; its count goes up and down all the same. A workflow that was cancelled stays so.
CREATE FUNCTION workflow_comes_back(w uuid, n integer, job uuid, dropped boolean) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    s workflow_steps;
    still integer;
BEGIN
    UPDATE workflow_steps SET state = 'running', finished_at = NULL, error_code = NULL, error = NULL
     WHERE workflow_id = w AND step = n AND job_id = job AND state IN ('failed', 'cancelled') RETURNING * INTO s;
    WHILE FOUND AND s.parent IS NOT NULL AND NOT dropped LOOP
        IF s.bucket IS NOT NULL THEN
            UPDATE workflow_buckets SET open = open + 1 WHERE workflow_id = w AND step = s.parent AND bucket = s.bucket
            RETURNING open INTO still;
            IF still > 1 THEN
                RETURN;
            END IF;
            UPDATE workflow_steps SET open = open + 1 WHERE workflow_id = w AND step = s.parent;
        END IF;
        UPDATE workflow_steps SET state = 'running', finished_at = NULL
         WHERE workflow_id = w AND step = s.parent AND state = 'failed' RETURNING * INTO s;
    END LOOP;
    IF s.step = 1 AND NOT dropped THEN
        UPDATE workflows SET state = 'running', finished_at = NULL WHERE id = w AND state = 'failed';
    END IF;
END $$;

CREATE FUNCTION workflow_hears() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    w uuid := NEW.options ->> 'workflow';
    n integer := NEW.options ->> 'step';
    dropped boolean;
BEGIN
    PERFORM pg_advisory_xact_lock_shared(workflow_lock(w));
    SELECT state = 'cancelled' INTO dropped FROM workflows WHERE id = w;
    IF NEW.finished_at IS NOT NULL THEN
        PERFORM workflow_goes_on(w, n, NEW, dropped);
    ELSE
        PERFORM workflow_comes_back(w, n, NEW.id, dropped);
    END IF;
    RETURN NULL;
END $$;
-- A plain job is let by on its first condition, without entering a function.
CREATE TRIGGER jobs_workflow AFTER UPDATE OF state ON jobs FOR EACH ROW
    WHEN (NEW.options IS NOT NULL AND (OLD.finished_at IS NULL) <> (NEW.finished_at IS NULL) AND NEW.options ->> 'workflow' IS NOT NULL)
    EXECUTE FUNCTION workflow_hears();

-- The whole is taken back: what has not begun never will. Its live jobs are the caller's to take out, afterwards: a crash in
-- between is mended by asking again.
CREATE FUNCTION workflow_cancel(w uuid) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    PERFORM pg_advisory_xact_lock(workflow_lock(w));
    UPDATE workflows SET state = 'cancelled', finished_at = now() WHERE id = w AND state = 'running';
    IF FOUND THEN
        UPDATE workflow_steps SET state = 'cancelled', finished_at = now()
         WHERE workflow_id = w AND (state = 'waiting' OR (state = 'running' AND kind <> 'job'));
    END IF;
END $$;

-- Has the step before n ended well (n stands behind another one in a chain, or is the whole)?
CREATE FUNCTION workflow_is_reached(w uuid, n integer) RETURNS boolean LANGUAGE sql STABLE AS $$
    SELECT s.before IS NULL OR (SELECT b.state = 'done' FROM workflow_steps b WHERE b.workflow_id = w AND b.step = s.before)
      FROM workflow_steps s WHERE s.workflow_id = w AND s.step = n
$$;

-- What died or was cancelled is run again; what is done keeps its result, and a group that went on without some of its
-- members stays done. Answers with the jobs that live now because of it.
CREATE FUNCTION workflow_retry(w uuid) RETURNS SETOF jobs LANGUAGE plpgsql AS $$
DECLARE
    c workflow_steps;
    again uuid[];
BEGIN
    PERFORM pg_advisory_xact_lock(workflow_lock(w));
    UPDATE workflow_steps s SET state = 'waiting', result = NULL, error_code = NULL, error = NULL, finished_at = NULL
     WHERE s.workflow_id = w AND s.state IN ('failed', 'cancelled')
       AND NOT EXISTS (SELECT 1 FROM workflow_steps g WHERE g.workflow_id = w AND g.continues AND g.state = 'done'
                          AND g.step < s.step AND s.step <= g.last);
    -- Children first: what had everything done when it was cancelled is done.
    FOR c IN SELECT * FROM workflow_steps WHERE workflow_id = w AND kind <> 'job' AND state IN ('waiting', 'running')
              ORDER BY step DESC LOOP
        UPDATE workflow_steps SET state = 'done', finished_at = now() WHERE workflow_id = w AND step = c.step
           AND NOT EXISTS (SELECT 1 FROM workflow_steps m WHERE m.workflow_id = w AND m.step BETWEEN c.step + 1 AND c.last
                              AND m.parent = c.step AND m.state <> 'done');
    END LOOP;
    -- Reached is what begins with the whole, or with a step behind one that is done.
    UPDATE workflow_steps s SET state = 'running' WHERE s.workflow_id = w AND s.kind <> 'job' AND s.state = 'waiting'
       AND workflow_is_reached(w, s.opens_with);
    UPDATE workflow_buckets b SET open = (SELECT count(*) FROM workflow_steps m WHERE m.workflow_id = w
               AND m.step BETWEEN g.step + 1 AND g.last AND m.parent = g.step AND m.bucket = b.bucket AND m.state <> 'done')
      FROM workflow_steps g WHERE b.workflow_id = w AND g.workflow_id = w AND g.step = b.step AND g.state IN ('waiting', 'running');
    UPDATE workflow_steps g SET open = (SELECT count(*) FROM workflow_buckets b WHERE b.workflow_id = w AND b.step = g.step AND b.open > 0)
     WHERE g.workflow_id = w AND g.kind = 'group' AND g.state IN ('waiting', 'running');
    UPDATE workflows f SET state = CASE s.state WHEN 'done' THEN 'completed' ELSE 'running' END,
           finished_at = CASE s.state WHEN 'done' THEN now() END
      FROM workflow_steps s WHERE f.id = w AND s.workflow_id = w AND s.step = 1;
    -- The steps first: the trigger of the jobs below finds nothing to do then.
    WITH begun AS (
        UPDATE workflow_steps s SET state = 'running', started_at = now(),
               job_id = coalesce((SELECT j.id FROM jobs j WHERE j.id = s.job_id), uuid_v7())
         WHERE s.workflow_id = w AND s.kind = 'job' AND s.state = 'waiting' AND workflow_is_reached(w, s.opens_with)
        RETURNING *),
    made AS ( -- never begun, or swept away by retention since
        INSERT INTO jobs (id, queue, task, args, state, run_at, priority, max_attempts, timeout_ms, subject, tenant_id, trace, options)
        SELECT b.job_id, b.queue, b.task, b.args, CASE WHEN d.at > now() THEN 'scheduled' ELSE 'ready' END, d.at,
               b.priority, b.max_attempts, b.timeout_ms, b.subject, f.tenant_id, f.trace, b.options
          FROM begun b JOIN workflows f ON f.id = w,
               LATERAL (SELECT greatest(now(), b.run_at) + b.delay_ms * interval '1 millisecond') AS d (at)
         WHERE NOT EXISTS (SELECT 1 FROM jobs j WHERE j.id = b.job_id))
    SELECT array_agg(job_id) INTO again FROM begun;
    UPDATE jobs SET state = 'ready', run_at = now(), generation = generation + 1, attempt = 0, snoozes = 0, finished_at = NULL,
           cancel_requested = false, updated_at = now()
     WHERE id = ANY (again) AND state IN ('dead', 'cancelled');
    UPDATE dead_letters SET replayed_at = now() WHERE job_id = ANY (again) AND replayed_at IS NULL;
    RETURN QUERY SELECT * FROM jobs WHERE id = ANY (again) AND live;
END $$;

CREATE FUNCTION workflow_error(job uuid, state text, code text, words text) RETURNS json LANGUAGE sql IMMUTABLE AS $$
    SELECT json_build_object('error', json_build_object('code', coalesce(code, state), 'message', words, 'job_id', job))
$$;

-- What came of a step: a job's result; of a chain, its last one's; of a group, an array in the order of its members.
-- What did not end well is {"error":{"code","message","job_id"}} of the job that it died of.
CREATE FUNCTION workflow_result(w uuid, n integer) RETURNS json LANGUAGE plpgsql STABLE AS $$
DECLARE
    s workflow_steps;
    worst workflow_steps;
BEGIN
    SELECT * INTO s FROM workflow_steps WHERE workflow_id = w AND step = n;
    IF s.state <> 'done' THEN
        SELECT * INTO worst FROM workflow_steps m WHERE m.workflow_id = w AND m.step BETWEEN s.step AND s.last AND m.kind = 'job'
           AND m.state IN ('failed', 'cancelled') ORDER BY m.state <> 'failed', m.step LIMIT 1;
        RETURN workflow_error(worst.job_id, worst.state, worst.error_code, worst.error);
    ELSIF s.kind = 'job' THEN
        RETURN coalesce(s.result, 'null');
    ELSIF s.kind = 'chain' THEN
        RETURN workflow_result(w, (SELECT m.step FROM workflow_steps m WHERE m.workflow_id = w AND m.step BETWEEN s.step + 1 AND s.last
                                      AND m.parent = s.step AND m.next IS NULL));
    END IF;
    RETURN (SELECT json_agg(CASE WHEN m.kind <> 'job' THEN workflow_result(w, m.step) WHEN m.state = 'done' THEN coalesce(m.result, 'null')
                                 ELSE workflow_error(m.job_id, m.state, m.error_code, m.error) END ORDER BY m.step)
              FROM workflow_steps m WHERE m.workflow_id = w AND m.step BETWEEN s.step + 1 AND s.last AND m.parent = s.step);
END $$;
