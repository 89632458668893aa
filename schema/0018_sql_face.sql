-- Jobs out of plain SQL: an application in any language enqueues inside its own transaction, ends a job with its own writes, and
-- needs nothing of this platform but EXECUTE on these functions.
--
--   mw_enqueue --> jobs, job_outbox --commit, NOTIFY--> beat pushes it to Redis, and takes it out of the outbox

-- What must be told to Redis and may not have been: jobs of mw_enqueue, cancels of mw_cancel, pushes that Redis did not take. Beat
-- empties it when it is told, and looks by itself; should it never be looked at, the sweep finds the same jobs.
CREATE TABLE job_outbox (
    job_id uuid PRIMARY KEY,
    at     timestamptz NOT NULL DEFAULT now()
);

-- Refuses with the field's name in the error's COLUMN.
CREATE FUNCTION mw_refuse(field text, words text) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION '%', words USING ERRCODE = 'invalid_parameter_value', COLUMN = field, DETAIL = 'parameter: ' || field;
END $$;

CREATE FUNCTION mw_check_text(field text, value text, max_bytes integer) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    IF value IS NOT NULL AND (octet_length(value) NOT BETWEEN 1 AND max_bytes OR value ~ '[\x01-\x1F\x7F]') THEN
        PERFORM mw_refuse(field, format('%s has 1 to %s bytes without control characters', field, max_bytes));
    END IF;
END $$;

CREATE FUNCTION mw_check_number(field text, value bigint, low bigint, high bigint) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    IF value NOT BETWEEN low AND high THEN
        PERFORM mw_refuse(field, format('%s is %s to %s, not %s', field, low, high, value));
    END IF;
END $$;

-- The id of the job: the new one's, or the first's where id or unique_key was taken. The limits are those of queue/push.c and
-- queue/options.c.
CREATE FUNCTION mw_enqueue(
    task            text,
    args            json        DEFAULT '{}',
    queue           text        DEFAULT 'default',
    run_at          timestamptz DEFAULT NULL,           -- NULL: now
    priority        integer     DEFAULT 5,              -- 0 to 9, higher first
    max_attempts    integer     DEFAULT NULL,           -- NULL: the task's
    timeout_ms      bigint      DEFAULT NULL,           -- of an attempt; NULL: the task's
    unique_key      text        DEFAULT NULL,
    unique_until    text        DEFAULT NULL,           -- 'finish' (default) or 'start'
    unique_for_ms   bigint      DEFAULT NULL,           -- instead: for so long, however the job ends
    expires_at      timestamptz DEFAULT NULL,
    soft_timeout_ms bigint      DEFAULT NULL,
    result_ttl_ms   bigint      DEFAULT NULL,
    limit_key       text        DEFAULT NULL,
    subject         text        DEFAULT NULL,
    tenant_id       uuid        DEFAULT NULL,
    id              uuid        DEFAULT NULL,           -- the caller's own: enqueued once, however often it is said
    trace           text        DEFAULT NULL)
RETURNS uuid LANGUAGE plpgsql VOLATILE SECURITY DEFINER AS $$
#variable_conflict use_column
DECLARE
    year_ms CONSTANT bigint := 31536000000;
    week_ms CONSTANT bigint := 604800000;
    job     uuid := coalesce(mw_enqueue.id, uuid_v7());
    held_by uuid;
    opt     json;
BEGIN
    IF mw_enqueue.task IS NULL OR mw_enqueue.task !~ '^[A-Za-z0-9_.-]{1,128}$' THEN
        PERFORM mw_refuse('task', 'a task''s name has 1 to 128 characters of A-Z a-z 0-9 _ . -');
    END IF;
    IF coalesce(mw_enqueue.queue, 'default') !~ '^[a-z0-9_.-]{1,64}$' THEN
        PERFORM mw_refuse('queue', 'a queue''s name has 1 to 64 characters of a-z 0-9 _ . -');
    END IF;
    IF octet_length(mw_enqueue.args::text) > 262144 THEN
        PERFORM mw_refuse('args', 'arguments have at most 262144 bytes');
    END IF;
    PERFORM mw_check_number('priority', mw_enqueue.priority, 0, 9);
    PERFORM mw_check_number('max_attempts', mw_enqueue.max_attempts, 1, 1000);
    PERFORM mw_check_number('timeout_ms', mw_enqueue.timeout_ms, 1, week_ms);
    PERFORM mw_check_number('soft_timeout_ms', mw_enqueue.soft_timeout_ms, 1, week_ms);
    PERFORM mw_check_number('result_ttl_ms', mw_enqueue.result_ttl_ms, 1, year_ms);
    PERFORM mw_check_number('unique_for_ms', mw_enqueue.unique_for_ms, 1, year_ms);
    PERFORM mw_check_text('unique_key', mw_enqueue.unique_key, 255);
    PERFORM mw_check_text('subject', mw_enqueue.subject, 128);
    PERFORM mw_check_text('trace', mw_enqueue.trace, 128);
    IF mw_enqueue.limit_key !~ '^[A-Za-z0-9_.:@-]{1,64}$' THEN
        PERFORM mw_refuse('limit_key', 'a limit''s key has 1 to 64 characters of A-Z a-z 0-9 _ . : @ -');
    END IF;
    IF mw_enqueue.run_at < to_timestamp(0) OR NOT isfinite(mw_enqueue.run_at) THEN
        PERFORM mw_refuse('run_at', 'a job cannot run before 1970, or never');
    END IF;
    IF mw_enqueue.expires_at < to_timestamp(0) OR NOT isfinite(mw_enqueue.expires_at) THEN
        PERFORM mw_refuse('expires_at', 'a job cannot expire before 1970, or never');
    END IF;
    IF mw_enqueue.unique_until NOT IN ('start', 'finish') THEN
        PERFORM mw_refuse('unique_until', 'say start or finish');
    END IF;
    IF mw_enqueue.unique_until IS NOT NULL AND mw_enqueue.unique_for_ms IS NOT NULL THEN
        PERFORM mw_refuse('unique_for_ms', 'say unique_until or unique_for_ms, not both');
    END IF;
    IF mw_enqueue.unique_key IS NULL AND (mw_enqueue.unique_until IS NOT NULL OR mw_enqueue.unique_for_ms IS NOT NULL) THEN
        PERFORM mw_refuse('unique_key', 'it is missing: what shall be unique?');
    END IF;

    opt := nullif(json_strip_nulls(json_build_object(
        'expires_at_ms', (extract(epoch FROM mw_enqueue.expires_at) * 1000)::bigint,
        'soft_ms', mw_enqueue.soft_timeout_ms, 'result_ttl_ms', mw_enqueue.result_ttl_ms,
        'unique', CASE WHEN mw_enqueue.unique_for_ms IS NOT NULL THEN 'window'
                       WHEN mw_enqueue.unique_until = 'start' THEN 'start' END,
        'unique_ms', mw_enqueue.unique_for_ms, 'limit_key', mw_enqueue.limit_key))::text, '{}')::json;

    -- Who has the key may end, or roll back, while we look: then it is ours to take.
    FOR round IN 1 .. 5 LOOP
        IF mw_enqueue.unique_for_ms IS NOT NULL THEN
            INSERT INTO job_windows AS w (unique_key, job_id, until)
            VALUES (mw_enqueue.unique_key, job, clock_timestamp() + mw_enqueue.unique_for_ms * interval '1 millisecond')
            ON CONFLICT (unique_key) DO UPDATE SET job_id = excluded.job_id, until = excluded.until
              WHERE w.until <= clock_timestamp();
            IF NOT FOUND THEN
                SELECT w.job_id INTO held_by FROM job_windows w WHERE w.unique_key = mw_enqueue.unique_key;
                CONTINUE WHEN NOT FOUND;
                RETURN held_by;
            END IF;
        END IF;
        INSERT INTO jobs (id, queue, task, args, state, run_at, priority, max_attempts, timeout_ms, unique_key, key_free, subject,
                          tenant_id, trace, options)
        VALUES (job, coalesce(mw_enqueue.queue, 'default'), mw_enqueue.task, coalesce(mw_enqueue.args, '{}'),
                CASE WHEN mw_enqueue.run_at > clock_timestamp() THEN 'scheduled' ELSE 'ready' END,
                coalesce(mw_enqueue.run_at, now()), coalesce(mw_enqueue.priority, 5), coalesce(mw_enqueue.max_attempts, 0),
                coalesce(mw_enqueue.timeout_ms, 0), mw_enqueue.unique_key, mw_enqueue.unique_for_ms IS NOT NULL,
                mw_enqueue.subject, mw_enqueue.tenant_id, mw_enqueue.trace, opt)
        ON CONFLICT DO NOTHING;
        IF FOUND THEN
            INSERT INTO job_outbox (job_id) VALUES (job);
            PERFORM pg_notify('mihwar_outbox', '');     -- at the commit, once for all of a transaction
            RETURN job;
        END IF;
        SELECT j.id INTO held_by FROM jobs j
         WHERE j.id = job OR (j.live AND NOT j.key_free AND j.unique_key = mw_enqueue.unique_key)
         ORDER BY j.id = job DESC LIMIT 1;
        IF FOUND THEN
            RETURN held_by;
        END IF;
    END LOOP;
    RAISE EXCEPTION 'the unique key % changes hands faster than it can be read', mw_enqueue.unique_key
        USING ERRCODE = 'serialization_failure';
END $$;

-- Ends the attempt that holds this token (job_token(), mw_job_token(), MIHWAR_TOKEN), with the caller's own writes. True: it has
-- completed now; false: this very attempt had completed it before. Another attempt has the job, or it has ended otherwise: an
-- error, so that the caller's transaction rolls back (SQLSTATE MW409).
CREATE FUNCTION mw_complete(job uuid, token text, result json DEFAULT NULL)
RETURNS boolean LANGUAGE plpgsql VOLATILE SECURITY DEFINER AS $$
#variable_conflict use_column
DECLARE
    t text[] := regexp_match(mw_complete.token, '^([0-9a-f-]{36}):([0-9]{1,9})\.([0-9]{1,9})\.([0-9]{1,9})$');
    j jobs%ROWTYPE;
BEGIN
    IF t IS NULL OR mw_complete.job IS NULL OR t[1] <> mw_complete.job::text THEN
        PERFORM mw_refuse('token', format('this is not a token of job %s', mw_complete.job));
    END IF;
    IF t[2] = '0' THEN
        PERFORM mw_refuse('job', 'a broker job is not in PostgreSQL and cannot be ended here');
    END IF;
    UPDATE jobs SET state = 'completed', attempt = t[3]::integer, snoozes = t[4]::integer, finished_at = now(), updated_at = now(),
           result = coalesce(mw_complete.result, result),
           result_until = now() + (options ->> 'result_ttl_ms')::bigint * interval '1 millisecond'
     WHERE id = mw_complete.job AND generation = t[2]::integer AND attempt < t[3]::integer AND live
    RETURNING * INTO j;
    IF FOUND THEN
        INSERT INTO job_attempts (job_id, generation, attempt, outcome, worker, started_at)
        VALUES (j.id, j.generation, j.attempt, 'completed', 'sql', now());
        IF j.options ->> 'workflow' IS NOT NULL THEN    -- what follows from it was begun by this very statement
            INSERT INTO job_outbox (job_id)
            SELECT s.job_id FROM workflow_reached() r
              JOIN workflow_steps s ON s.workflow_id = r.workflow_id AND s.opens_with = r.step AND s.job_id IS NOT NULL
            ON CONFLICT DO NOTHING;
            PERFORM pg_notify('mihwar_outbox', '');
        END IF;
        RETURN true;
    END IF;
    PERFORM 1 FROM jobs WHERE id = mw_complete.job AND generation = t[2]::integer AND attempt = t[3]::integer
                          AND state = 'completed';
    IF FOUND THEN
        RETURN false;
    END IF;
    RAISE EXCEPTION 'job % has ended or belongs to another attempt than %.%', mw_complete.job, t[2], t[3]
        USING ERRCODE = 'MW409', HINT = 'roll back: another worker holds this job now';
END $$;

-- Queued: cancelled within moments of the commit. Running: its worker sees the wish with its next lease extension. False: there is
-- no such job, or it has ended.
CREATE FUNCTION mw_cancel(job uuid) RETURNS boolean LANGUAGE plpgsql VOLATILE SECURITY DEFINER AS $$
BEGIN
    UPDATE jobs SET cancel_requested = true, updated_at = now() WHERE id = mw_cancel.job AND live;
    IF NOT FOUND THEN
        RETURN false;
    END IF;
    INSERT INTO job_outbox (job_id) VALUES (mw_cancel.job) ON CONFLICT DO NOTHING;
    PERFORM pg_notify('mihwar_outbox', '');
    RETURN true;
END $$;

-- They act with the rights of who migrates; nobody's search_path or temporary table leads them astray, and nobody calls them unless
-- he was given EXECUTE.
DO $$
DECLARE f text;
BEGIN
    FOREACH f IN ARRAY ARRAY['mw_enqueue', 'mw_complete', 'mw_cancel', 'mw_refuse', 'mw_check_text', 'mw_check_number'] LOOP
        EXECUTE format('ALTER FUNCTION %I SET search_path = pg_catalog, %I, pg_temp', f, current_schema());
        EXECUTE format('REVOKE EXECUTE ON FUNCTION %I FROM PUBLIC', f);
    END LOOP;
END $$;
