-- Who leads among the beats, and how beats hear that the clock's rules have changed.
--
-- A leader holds its office until `until` and renews it well before. Another takes it only after that, under the next term: so a
-- leader that was thought dead finds its term gone. All times are this server's.

CREATE TABLE leaders (
    role   text PRIMARY KEY CHECK (length(role) BETWEEN 1 AND 64),
    holder text NOT NULL CHECK (length(holder) BETWEEN 1 AND 255),
    term   bigint NOT NULL CHECK (term >= 1),
    since  timestamptz NOT NULL,
    until  timestamptz NOT NULL
);
CREATE FUNCTION leaders_refuse() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'term % of % is over', NEW.term, OLD.role
        USING ERRCODE = 'check_violation', CONSTRAINT = 'leaders_term_grows', TABLE = 'leaders';
END $$;
CREATE TRIGGER leaders_term_grows BEFORE UPDATE ON leaders FOR EACH ROW
    WHEN (NEW.term < OLD.term OR (NEW.term = OLD.term AND NEW.holder <> OLD.holder))
    EXECUTE FUNCTION leaders_refuse();

-- Sent to whoever listens: something may be due earlier than beat believes. Beat's own writes (a due time moved on) say nothing.
CREATE FUNCTION schedules_tell() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM pg_notify('mihwar_schedules', '');
    RETURN NULL;
END $$;
CREATE TRIGGER schedules_new AFTER INSERT ON schedules FOR EACH ROW EXECUTE FUNCTION schedules_tell();
CREATE TRIGGER schedules_changed AFTER UPDATE ON schedules FOR EACH ROW
    WHEN (NEW.enabled AND (NEW.version <> OLD.version OR NOT OLD.enabled OR NEW.next_due_at IS NULL
                           OR NEW.next_due_at < OLD.next_due_at))
    EXECUTE FUNCTION schedules_tell();
