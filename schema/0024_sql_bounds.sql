-- A queue that an operator has bounded or drains refuses jobs out of SQL, too (SQLSTATE MW429). A transaction cannot ask Redis, which
-- alone can count what waits; beat writes down every few seconds which queues have no room. Who enqueues in the meantime may overshoot a
-- bound, as several producers at once may. A word of beat holds for twenty seconds: without a beat nothing is refused but what is drained.
ALTER TABLE queue_states
    ADD COLUMN full_of    text CHECK (full_of IN ('length', 'bytes')),
    ADD COLUMN full_bound bigint,
    ADD COLUMN full_until timestamptz;

-- The id of the job: the new one's, or the first's where id or unique_key was taken. The limits are those of queue/push.c and
-- queue/options.c.
CREATE OR REPLACE FUNCTION mw_enqueue(
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
    q       record;
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

    SELECT s.draining, s.full_of, s.full_bound INTO q FROM queue_states s
     WHERE s.queue = coalesce(mw_enqueue.queue, 'default') AND (s.draining OR (s.full_of IS NOT NULL AND s.full_until > clock_timestamp()));
    -- What it has already, it tells again: a caller who missed the answer hears it now.
    IF FOUND AND NOT EXISTS (SELECT FROM jobs j
                              WHERE j.id = job OR (j.live AND NOT j.key_free AND j.unique_key = mw_enqueue.unique_key))
       AND NOT EXISTS (SELECT FROM job_windows w
                        WHERE mw_enqueue.unique_for_ms IS NOT NULL AND w.unique_key = mw_enqueue.unique_key
                          AND w.until > clock_timestamp()) THEN
        RAISE EXCEPTION 'queue % %', coalesce(mw_enqueue.queue, 'default'),
            CASE WHEN q.draining THEN 'is being drained and takes no jobs until it is resumed'
                 WHEN q.full_of = 'bytes' THEN format('is full: it takes %s bytes of jobs', q.full_bound)
                 ELSE format('is full: it takes %s jobs', q.full_bound) END
            USING ERRCODE = 'MW429', COLUMN = 'queue', DETAIL = 'queue_full',
                  HINT = 'roll back and try again when some have ended; ''mihwar queue ls'' shows the bounds';
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

DO $$ BEGIN
    EXECUTE format('ALTER FUNCTION mw_enqueue SET search_path = pg_catalog, %I, pg_temp', current_schema());
END $$;
