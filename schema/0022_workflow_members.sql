-- Members of a workflow that end at the same time, written by one statement (job_end_many): what follows is found once for all
-- of them, instead of member by member.
--
--     [ends of many members] --jobs_workflow keeps still--> workflow_members_ended(ids): steps, then each bucket once, then upwards
--
-- Whoever ends many says so first (mihwar.ends_gathered, for its transaction), and calls the function behind the statement.
-- Such transactions of one workflow go one after the other (a lock of its own, behind the shared one of all ends): each of them
-- meets every bucket, and two would meet them in different orders.

-- The step s has ended, with n - 1 others of its bucket.
CREATE FUNCTION workflow_climbs(w uuid, s workflow_steps, good boolean, n integer) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    still integer;
BEGIN
    WHILE s.step IS NOT NULL AND s.parent IS NOT NULL LOOP
        IF s.bucket IS NOT NULL THEN
            UPDATE workflow_buckets SET open = open - n WHERE workflow_id = w AND step = s.parent AND bucket = s.bucket
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
        n := 1;
        UPDATE workflow_steps SET state = CASE WHEN good THEN 'done' ELSE 'failed' END, finished_at = now()
         WHERE workflow_id = w AND step = s.parent AND state = 'running' RETURNING * INTO s;
    END LOOP;
    IF s.step = 1 THEN
        UPDATE workflows SET state = CASE WHEN good THEN 'completed' ELSE 'failed' END, finished_at = now()
         WHERE id = w AND state = 'running';
    END IF;
END $$;

-- As it was (0016), one job at a time.
CREATE OR REPLACE FUNCTION workflow_goes_on(w uuid, n integer, j jobs, dropped boolean) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    s workflow_steps;
    good boolean := j.state = 'completed';
BEGIN
    UPDATE workflow_steps
       SET state = CASE j.state WHEN 'completed' THEN 'done' WHEN 'dead' THEN 'failed' ELSE 'cancelled' END, finished_at = now(),
           result = CASE WHEN good THEN j.result END, error_code = CASE WHEN NOT good THEN j.last_error_code END,
           error = CASE WHEN NOT good THEN j.last_error END
     WHERE workflow_id = w AND step = n AND job_id = j.id AND state = 'running' RETURNING * INTO s;
    IF FOUND AND NOT dropped THEN
        PERFORM workflow_climbs(w, s, good, 1);
    END IF;
END $$;

CREATE FUNCTION workflow_members_ended(ids uuid[]) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    w uuid;
    dropped boolean;
    r record;
    s workflow_steps;
BEGIN
    FOR w IN SELECT DISTINCT (options ->> 'workflow')::uuid AS f FROM jobs
              WHERE id = ANY (ids) AND finished_at IS NOT NULL AND options ->> 'workflow' IS NOT NULL ORDER BY f LOOP
        PERFORM pg_advisory_xact_lock_shared(workflow_lock(w));
        PERFORM pg_advisory_xact_lock(hashtextextended(w::text, 4018022));
        SELECT state = 'cancelled' INTO dropped FROM workflows WHERE id = w;
        -- Once for each bucket; a member of a chain stands alone.
        FOR r IN
            WITH ended AS (
                UPDATE workflow_steps m
                   SET state = CASE j.state WHEN 'completed' THEN 'done' WHEN 'dead' THEN 'failed' ELSE 'cancelled' END,
                       finished_at = now(), result = CASE WHEN j.state = 'completed' THEN j.result END,
                       error_code = CASE WHEN j.state <> 'completed' THEN j.last_error_code END,
                       error = CASE WHEN j.state <> 'completed' THEN j.last_error END
                  FROM jobs j
                 WHERE j.id = ANY (ids) AND j.finished_at IS NOT NULL AND j.options ->> 'workflow' = w::text
                   AND m.workflow_id = w AND m.step = (j.options ->> 'step')::integer AND m.job_id = j.id AND m.state = 'running'
                RETURNING m.step, m.parent, m.bucket, m.state = 'done' AS good)
            SELECT min(step) AS step, bool_and(good) AS good, count(*)::integer AS n FROM ended
             GROUP BY parent, bucket, CASE WHEN bucket IS NULL THEN step END ORDER BY parent, bucket LOOP
            CONTINUE WHEN dropped;
            SELECT * INTO s FROM workflow_steps WHERE workflow_id = w AND step = r.step;
            PERFORM workflow_climbs(w, s, r.good, r.n);
        END LOOP;
    END LOOP;
END $$;

CREATE OR REPLACE FUNCTION workflow_hears() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    w uuid := NEW.options ->> 'workflow';
    n integer := NEW.options ->> 'step';
    dropped boolean;
BEGIN
    IF NEW.finished_at IS NOT NULL AND current_setting('mihwar.ends_gathered', true) = 'on' THEN
        RETURN NULL;
    END IF;
    PERFORM pg_advisory_xact_lock_shared(workflow_lock(w));
    SELECT state = 'cancelled' INTO dropped FROM workflows WHERE id = w;
    IF NEW.finished_at IS NOT NULL THEN
        PERFORM workflow_goes_on(w, n, NEW, dropped);
    ELSE
        PERFORM workflow_comes_back(w, n, NEW.id, dropped);
    END IF;
    RETURN NULL;
END $$;
