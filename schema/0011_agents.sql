-- Agents, what they are asked to do, and the black box that keeps what came of it.
--
--   request   pending --> assigned --> sent --> completed | failed | timeout
--                |  ^------'  |                                     sent is stored before a frame is written: from then on
--                |            |                                     the request stays with its agent, whatever happens
--                `------------+--> cancelled | failed | timeout
--
--   agent     pending_activation --> active <--> cooldown           cooldown: connected, but it keeps failing; one probe at a
--                    ^                 |  ^         |               time, when its rest is over
--              inactive <--------------+--+---------'               connected = active or cooldown = has a session
--
-- command_history is a chain: each row holds the hash of the one before. A row that is changed, or taken away, is found
-- (lib/domain/agents/README.md).

-- ------------------------------------------------------------------ agents

CREATE TABLE agents (
    agent_id        varchar(255) PRIMARY KEY CHECK (agent_id ~ '^[A-Za-z0-9][A-Za-z0-9._:-]{0,254}$'),
    tenant_id       uuid NOT NULL REFERENCES tenants (id),
    status          text NOT NULL DEFAULT 'inactive' CHECK (status IN ('inactive', 'pending_activation', 'active', 'cooldown')),
    agent_type      text NOT NULL CHECK (agent_type ~ '^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$'),
    agent_version   text CHECK (length(agent_version) <= 64),
    last_ip_address inet,
    hub_instance_id text,                                             -- the hub process that holds its session
    session_id      uuid,
    token_id        uuid,                                             -- the token that the session began with
    first_seen_at   timestamptz,
    last_seen_at    timestamptz,
    registered_at   timestamptz,                                      -- when this session began
    provisioned     jsonb NOT NULL DEFAULT '{}' CHECK (jsonb_typeof(provisioned) = 'object'), -- what an operator says of it
    metadata        jsonb NOT NULL DEFAULT '{}' CHECK (jsonb_typeof(metadata) = 'object'),    -- what it says itself, under that
    enabled         boolean NOT NULL DEFAULT true,
    load            integer NOT NULL DEFAULT 0 CHECK (load >= 0),     -- requests assigned or sent to it, not ended
    assigned_at     timestamptz,                                      -- last time it was given one
    failures        integer NOT NULL DEFAULT 0 CHECK (failures >= 0), -- in a row
    cooldown_ms     bigint NOT NULL DEFAULT 0 CHECK (cooldown_ms >= 0), -- length of the rest; 0: it is trusted
    cooldown_until  timestamptz,
    probing         boolean NOT NULL DEFAULT false,                   -- the one request of a rest that is over is under way
    created_at      timestamptz NOT NULL DEFAULT now(),
    updated_at      timestamptz NOT NULL DEFAULT now(),

    UNIQUE (tenant_id, agent_id),
    CONSTRAINT agent_live_has_session CHECK ((status IN ('active', 'cooldown')) = (session_id IS NOT NULL)),
    CONSTRAINT agent_session_has_hub CHECK ((session_id IS NULL) = (hub_instance_id IS NULL)
                                            AND (session_id IS NULL) = (registered_at IS NULL)
                                            AND (session_id IS NOT NULL OR token_id IS NULL)),
    CONSTRAINT agent_disabled_has_none CHECK (enabled OR session_id IS NULL),
    CONSTRAINT agent_pending_unseen CHECK (status <> 'pending_activation' OR first_seen_at IS NULL),
    CONSTRAINT agent_cooldown_has_end CHECK ((cooldown_ms > 0) = (cooldown_until IS NOT NULL)
                                             AND (status <> 'cooldown' OR cooldown_ms > 0)
                                             AND (status <> 'active' OR cooldown_ms = 0)
                                             AND (cooldown_ms > 0 OR NOT probing))
) WITH (fillfactor = 70);
-- Who is chosen: the least loaded, among equals the one that waited longest. Either the head of one of the two lists has somebody
-- whose metadata fits, or few fit, and those are found by what they have.
CREATE INDEX agents_free_of_type ON agents (tenant_id, agent_type, load, assigned_at NULLS FIRST)
    WHERE status IN ('active', 'cooldown') AND enabled;
CREATE INDEX agents_free ON agents (tenant_id, load, assigned_at NULLS FIRST)
    WHERE status IN ('active', 'cooldown') AND enabled;
CREATE INDEX agents_metadata ON agents USING gin (metadata jsonb_path_ops);
CREATE INDEX agents_of_hub ON agents (hub_instance_id) WHERE hub_instance_id IS NOT NULL;

-- Shown once, kept as an Argon2id hash of the whole. Several of one agent may be alive: that is how one is replaced.
CREATE TABLE agent_auth_tokens (
    token_id     uuid PRIMARY KEY,
    agent_id     varchar(255) NOT NULL REFERENCES agents (agent_id),
    prefix       text NOT NULL UNIQUE CHECK (prefix ~ '^[a-z0-9]{12}$'),
    token_hash   text NOT NULL CHECK (token_hash LIKE '$argon2id$%'),
    status       text NOT NULL DEFAULT 'active' CHECK (status IN ('active', 'revoked')),
    created_at   timestamptz NOT NULL DEFAULT now(),
    expires_at   timestamptz,
    last_used_at timestamptz,
    revoked_at   timestamptz,
    CONSTRAINT agent_token_revoked_has_time CHECK ((status = 'revoked') = (revoked_at IS NOT NULL))
);
CREATE INDEX agent_auth_tokens_of_agent ON agent_auth_tokens (agent_id, token_id);

CREATE FUNCTION agent_token_refuse() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'token % is revoked for ever, and keeps its hash', OLD.token_id
        USING ERRCODE = 'check_violation', CONSTRAINT = 'agent_token_stays_revoked', TABLE = 'agent_auth_tokens';
END $$;
CREATE TRIGGER agent_token_stays_revoked BEFORE UPDATE ON agent_auth_tokens FOR EACH ROW
    WHEN (OLD.status = 'revoked' AND NEW.status <> 'revoked' OR OLD.token_hash <> NEW.token_hash OR OLD.agent_id <> NEW.agent_id)
    EXECUTE FUNCTION agent_token_refuse();

-- Hubs remember who they verified; they forget at once when an answer changed (0010).
CREATE TRIGGER agent_auth_tokens_access AFTER DELETE OR UPDATE OF status, expires_at ON agent_auth_tokens
    FOR EACH STATEMENT EXECUTE FUNCTION access_changed();
CREATE TRIGGER agents_access AFTER DELETE OR UPDATE OF enabled ON agents FOR EACH STATEMENT EXECUTE FUNCTION access_changed();

-- Each hub process says every few seconds that it lives; agents of one that does not any more are inactive.
CREATE TABLE hub_instances (
    id         text PRIMARY KEY CHECK (length(id) BETWEEN 1 AND 64),
    host       text NOT NULL CHECK (length(host) <= 255),
    pid        integer NOT NULL,
    started_at timestamptz NOT NULL DEFAULT now(),
    seen_at    timestamptz NOT NULL DEFAULT now()
);

-- ------------------------------------------------------------------ requests

CREATE FUNCTION request_may_move(a text, b text) RETURNS boolean IMMUTABLE LANGUAGE sql AS $$
    SELECT CASE a
        WHEN 'pending'  THEN b IN ('assigned', 'failed', 'timeout', 'cancelled')
        WHEN 'assigned' THEN b IN ('pending', 'sent', 'failed', 'timeout', 'cancelled')
        WHEN 'sent'     THEN b IN ('completed', 'failed', 'timeout')
        ELSE false
    END
$$;

CREATE TABLE requests (
    request_id        uuid PRIMARY KEY,
    tenant_id         uuid NOT NULL REFERENCES tenants (id),
    job_id            uuid NOT NULL UNIQUE,                           -- of request.run; the command's id in frames and history
    requested_by      uuid,                                           -- an API key's or a certificate's identity
    requested_by_name text NOT NULL CHECK (length(requested_by_name) BETWEEN 1 AND 300),
    command           text NOT NULL CHECK (command ~ '^[A-Za-z0-9_.:-]{1,128}$'),
    command_payload   jsonb NOT NULL DEFAULT '{}',                    -- secrets are taken out of it when the request has ended
    masked_payload    jsonb,                                          -- what it becomes then; NULL: there is nothing to mask
    agent_id          text,                                           -- wanted: this one; or by type and match
    agent_type        text,
    match             jsonb CHECK (jsonb_typeof(match) = 'object'),
    status            text NOT NULL DEFAULT 'pending' CHECK (status IN ('pending', 'assigned', 'sent', 'completed', 'failed',
                                                                        'timeout', 'cancelled')),
    assigned_agent_id text,
    probe             boolean NOT NULL DEFAULT false,                 -- its end decides about an agent in cooldown
    timeout_ms        bigint NOT NULL CHECK (timeout_ms > 0),
    deadline          timestamptz NOT NULL,
    sends             integer NOT NULL DEFAULT 0 CHECK (sends >= 0),
    result            jsonb,
    error_code        text CHECK (length(error_code) BETWEEN 1 AND 64),
    error             text CHECK (length(error) <= 1000),
    idempotency_key   text CHECK (length(idempotency_key) BETWEEN 1 AND 255),
    body_hash         text CHECK (length(body_hash) = 64),
    trace             text CHECK (length(trace) <= 128),
    version           integer NOT NULL DEFAULT 1,
    admitted_at       timestamptz NOT NULL,                           -- the security check let it in
    created_at        timestamptz NOT NULL DEFAULT now(),
    assigned_at       timestamptz,
    sent_at           timestamptz,                                    -- first time
    delivered_at      timestamptz,                                    -- the agent said so
    completed_at      timestamptz,
    updated_at        timestamptz NOT NULL DEFAULT now(),

    FOREIGN KEY (tenant_id, assigned_agent_id) REFERENCES agents (tenant_id, agent_id),
    CONSTRAINT request_names_somebody CHECK (agent_id IS NOT NULL OR agent_type IS NOT NULL OR match IS NOT NULL),
    CONSTRAINT request_final_has_time CHECK ((status IN ('completed', 'failed', 'timeout', 'cancelled')) = (completed_at IS NOT NULL)),
    CONSTRAINT request_assigned_has_agent CHECK (status NOT IN ('assigned', 'sent', 'completed')
                                                 OR (assigned_agent_id IS NOT NULL AND assigned_at IS NOT NULL)),
    CONSTRAINT request_pending_has_none CHECK (status <> 'pending' OR (assigned_agent_id IS NULL AND NOT probe)),
    CONSTRAINT request_sent_has_time CHECK (status NOT IN ('sent', 'completed') OR (sent_at IS NOT NULL AND sends > 0)),
    CONSTRAINT request_cancelled_unsent CHECK (status NOT IN ('pending', 'assigned', 'cancelled') OR sends = 0),
    CONSTRAINT request_key_has_hash CHECK ((idempotency_key IS NULL) = (body_hash IS NULL))
);
CREATE UNIQUE INDEX request_idempotency_key ON requests (tenant_id, idempotency_key) WHERE idempotency_key IS NOT NULL;
CREATE INDEX request_of_tenant ON requests (tenant_id, request_id DESC);
-- What an agent has in hand, and what an agent that connects could take.
CREATE INDEX request_in_hand ON requests (assigned_agent_id, request_id) WHERE status IN ('assigned', 'sent');
CREATE INDEX request_waiting ON requests (tenant_id, request_id) WHERE status = 'pending' AND agent_id IS NULL;
CREATE INDEX request_waiting_for ON requests (agent_id, request_id) WHERE status = 'pending' AND agent_id IS NOT NULL;
-- Retention.
CREATE INDEX request_ended ON requests (completed_at) WHERE completed_at IS NOT NULL;

CREATE FUNCTION request_refuse() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'request % may not go from % (agent %, sends %, version %) to % (agent %, sends %, version %)', OLD.request_id,
                    OLD.status, OLD.assigned_agent_id, OLD.sends, OLD.version,
                    NEW.status, NEW.assigned_agent_id, NEW.sends, NEW.version
        USING ERRCODE = 'check_violation', CONSTRAINT = 'request_moves', TABLE = 'requests';
END $$;
-- Once it was sent, its agent is its agent. What has ended stays as it ended.
CREATE TRIGGER request_moves BEFORE UPDATE ON requests FOR EACH ROW
    WHEN (NEW.version < OLD.version OR NEW.sends < OLD.sends OR NEW.job_id <> OLD.job_id OR NEW.tenant_id <> OLD.tenant_id
          OR (OLD.status <> NEW.status AND (NEW.version = OLD.version OR NOT request_may_move(OLD.status, NEW.status)))
          OR (OLD.assigned_agent_id IS DISTINCT FROM NEW.assigned_agent_id
              AND (OLD.sends > 0 OR OLD.status NOT IN ('pending', 'assigned')))
          OR (OLD.completed_at IS NOT NULL AND (OLD.completed_at <> NEW.completed_at OR OLD.sends <> NEW.sends
                                                OR OLD.result IS DISTINCT FROM NEW.result)))
    EXECUTE FUNCTION request_refuse();

-- The timeline beside the times of the request itself: only what does not happen to every request is written here.
CREATE TABLE request_events (
    id         bigint GENERATED ALWAYS AS IDENTITY,
    request_id uuid NOT NULL REFERENCES requests (request_id) ON DELETE CASCADE,
    at         timestamptz NOT NULL DEFAULT clock_timestamp(),
    step       text NOT NULL CHECK (step ~ '^[a-z_]{1,40}$'),
    agent_id   text,
    actor      text NOT NULL CHECK (length(actor) <= 300),
    detail     text CHECK (length(detail) <= 1000),
    PRIMARY KEY (request_id, id)
);

-- ------------------------------------------------------------------ the black box

-- One row a command that ended, whatever its end. Masked before it comes here. Kept for ever: nothing in this program deletes
-- from it. Rows are of the month in which they were written.
CREATE TABLE command_history (
    seq                  bigint NOT NULL,
    job_id               uuid NOT NULL,
    request_id           uuid NOT NULL,
    tenant_id            uuid NOT NULL,
    agent_id             text,                                        -- NULL: nobody was found
    requested_by_user_id uuid,
    requested_by         text NOT NULL,
    command_name         text NOT NULL,
    request_payload      jsonb NOT NULL,
    status               text NOT NULL CHECK (status IN ('pending', 'sent', 'completed', 'failed', 'timeout')),
    response_payload     jsonb,
    created_at           timestamptz NOT NULL,
    completed_at         timestamptz NOT NULL,
    archived_at          timestamptz NOT NULL DEFAULT clock_timestamp(),
    prev_hash            bytea NOT NULL CHECK (length(prev_hash) = 32),
    hash                 bytea NOT NULL CHECK (length(hash) = 32),
    PRIMARY KEY (job_id, archived_at)
) PARTITION BY RANGE (archived_at);
CREATE INDEX command_history_seq ON command_history (seq);
CREATE INDEX command_history_of_tenant ON command_history (tenant_id, seq);
CREATE INDEX command_history_of_agent ON command_history (agent_id, seq);

-- The last link. Whoever adds to the chain holds this row until its commit: that is what makes the chain one.
CREATE TABLE command_history_head (
    singleton boolean PRIMARY KEY DEFAULT true CHECK (singleton),
    seq       bigint NOT NULL,
    prev_hash bytea NOT NULL,
    hash      bytea NOT NULL
);
INSERT INTO command_history_head (seq, prev_hash, hash) VALUES (0, '', decode(repeat('00', 32), 'hex'));

CREATE FUNCTION command_history_chain() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    UPDATE command_history_head h
       SET seq = h.seq + 1, prev_hash = h.hash,
           hash = sha256(h.hash || convert_to(jsonb_build_array(h.seq + 1, NEW.job_id, NEW.request_id, NEW.tenant_id, NEW.agent_id,
                      NEW.requested_by_user_id, NEW.requested_by, NEW.command_name, NEW.request_payload, NEW.status,
                      NEW.response_payload,
                      to_char(NEW.created_at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"'),
                      to_char(NEW.completed_at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"'),
                      to_char(NEW.archived_at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"'))::text, 'UTF8'))
    RETURNING h.seq, h.prev_hash, h.hash INTO STRICT NEW.seq, NEW.prev_hash, NEW.hash;
    RETURN NEW;
END $$;
CREATE TRIGGER command_history_chain BEFORE INSERT ON command_history FOR EACH ROW EXECUTE FUNCTION command_history_chain();

-- Append-only by rights (the owner's too) and by triggers, which hold whoever asks.
CREATE FUNCTION command_history_refuse() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'the command history is append-only'
        USING ERRCODE = 'check_violation', CONSTRAINT = 'command_history_append_only', TABLE = 'command_history';
END $$;
CREATE TRIGGER command_history_append_only BEFORE UPDATE OR DELETE ON command_history
    FOR EACH ROW EXECUTE FUNCTION command_history_refuse();
CREATE TRIGGER command_history_no_truncate BEFORE TRUNCATE ON command_history
    FOR EACH STATEMENT EXECUTE FUNCTION command_history_refuse();
REVOKE ALL ON command_history, command_history_head FROM PUBLIC;
REVOKE UPDATE, DELETE, TRUNCATE ON command_history FROM CURRENT_USER;
REVOKE DELETE, TRUNCATE ON command_history_head FROM CURRENT_USER;

-- The head moves one link at a time, and only by the hand of the chain itself.
CREATE FUNCTION command_history_head_refuse() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP = 'UPDATE' AND pg_trigger_depth() > 1 THEN
        IF NEW.seq = OLD.seq + 1 AND NEW.prev_hash = OLD.hash THEN
            RETURN NEW;
        END IF;
    END IF;
    RAISE EXCEPTION 'the head of the command history moves with the history'
        USING ERRCODE = 'check_violation', CONSTRAINT = 'command_history_head_moves', TABLE = 'command_history_head';
END $$;
CREATE TRIGGER command_history_head_moves BEFORE UPDATE OR DELETE ON command_history_head
    FOR EACH ROW EXECUTE FUNCTION command_history_head_refuse();
CREATE TRIGGER command_history_head_no_truncate BEFORE TRUNCATE ON command_history_head
    FOR EACH STATEMENT EXECUTE FUNCTION command_history_head_refuse();

-- Row triggers come to a partition from its parent; rights and TRUNCATE do not.
CREATE FUNCTION command_history_guard(part regclass) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    EXECUTE format('CREATE TRIGGER command_history_no_truncate BEFORE TRUNCATE ON %s
                    FOR EACH STATEMENT EXECUTE FUNCTION command_history_refuse()', part);
    EXECUTE format('REVOKE ALL ON %s FROM PUBLIC', part);
    EXECUTE format('REVOKE UPDATE, DELETE, TRUNCATE ON %s FROM CURRENT_USER', part);
END $$;

-- The partition of a month (of UTC). False: it stands already, or rows of that month came first (they lie in the default one,
-- where nothing is lost).
CREATE FUNCTION command_history_partition(month date) RETURNS boolean LANGUAGE plpgsql AS $$
DECLARE
    first date := date_trunc('month', month)::date;
    lo    timestamptz := first::timestamp AT TIME ZONE 'UTC';
    hi    timestamptz := (first + interval '1 month')::timestamp AT TIME ZONE 'UTC';
    part  text := 'command_history_' || to_char(first, 'YYYYMM');
BEGIN
    PERFORM pg_advisory_xact_lock(hashtext('command_history_partition'));
    IF to_regclass(part) IS NOT NULL OR EXISTS (SELECT FROM command_history_default WHERE archived_at >= lo AND archived_at < hi) THEN
        RETURN false;
    END IF;
    EXECUTE format('CREATE TABLE %I PARTITION OF command_history FOR VALUES FROM (%L) TO (%L)', part, lo, hi);
    PERFORM command_history_guard(part::regclass);
    RETURN true;
END $$;

CREATE TABLE command_history_default PARTITION OF command_history DEFAULT;
SELECT command_history_guard('command_history_default');
SELECT command_history_partition(((now() AT TIME ZONE 'UTC') + n * interval '1 month')::date) FROM generate_series(0, 2) AS n;
