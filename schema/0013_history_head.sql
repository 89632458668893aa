-- The last link is found by an index, not by a walk. Each addition leaves a dead version of the head behind; while somebody's old
-- snapshot stands (a backup that takes an hour) none of them can be cleaned away, and walking them made each addition dearer than the one before:
-- a transaction that added 300 000 rows did not end. The newest version has the highest seq, so that a backward scan meets it first.
-- The lock that was the row's is an advisory one now: it is taken before the head is read.
-- (The key on `singleton` held all versions under one value, and looked at each. That there is one row is now a trigger's.)
ALTER TABLE command_history_head DROP CONSTRAINT command_history_head_pkey, ADD PRIMARY KEY (seq);
CREATE TRIGGER command_history_head_is_one BEFORE INSERT ON command_history_head
    FOR EACH ROW EXECUTE FUNCTION command_history_head_refuse();

CREATE OR REPLACE FUNCTION command_history_chain() RETURNS trigger LANGUAGE plpgsql
    SET enable_seqscan = off SET enable_bitmapscan = off SET enable_sort = off AS $$
BEGIN
    PERFORM pg_advisory_xact_lock(hashtext('command_history_head'));
    UPDATE command_history_head h
       SET seq = h.seq + 1, prev_hash = h.hash,
           hash = sha256(h.hash || convert_to(jsonb_build_array(h.seq + 1, NEW.job_id, NEW.request_id, NEW.tenant_id, NEW.agent_id,
                      NEW.requested_by_user_id, NEW.requested_by, NEW.command_name, NEW.request_payload, NEW.status,
                      NEW.response_payload,
                      to_char(NEW.created_at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"'),
                      to_char(NEW.completed_at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"'),
                      to_char(NEW.archived_at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"'))::text, 'UTF8'))
     WHERE h.seq = (SELECT l.seq FROM command_history_head l ORDER BY l.seq DESC LIMIT 1)
    RETURNING h.seq, h.prev_hash, h.hash INTO STRICT NEW.seq, NEW.prev_hash, NEW.hash;
    RETURN NEW;
END $$;
