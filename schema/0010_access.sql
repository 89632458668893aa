-- Who may do what, on both doors: roles, the names of certificates, and every refusal.
--
--      certificate's name --> identities --< identity_roles >-- roles      permissions, and which commands may be sent
--      API key            --> api_keys  --< api_key_roles  >-- roles      besides the permissions of its own
--
-- Hubs remember what they looked up. Whatever changes an answer says so on channel mw_access at its commit, and every hub forgets
-- all that it knew; a hub whose LISTEN was lost forgets too.

CREATE FUNCTION access_changed() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM pg_notify('mw_access', '');
    RETURN NULL;
END $$;

-- Ids made here are UUIDv7 too, so that lists stay in the order of their making.
CREATE FUNCTION uuid_v7() RETURNS uuid LANGUAGE sql VOLATILE AS $$
    SELECT encode(set_bit(set_bit(overlay(uuid_send(gen_random_uuid())
             PLACING substring(int8send((extract(epoch FROM clock_timestamp()) * 1000)::bigint) FROM 3) FROM 1 FOR 6), 52, 1), 53, 1), 'hex')::uuid
$$;

-- permissions: words of permission.def, or globs over them ("*", "orders:*", "*:read"). commands: globs with '*' over the names of
-- commands; they matter only where the role gives requests:write.
CREATE TABLE roles (
    id          uuid PRIMARY KEY,
    tenant_id   uuid NOT NULL REFERENCES tenants (id),
    name        text NOT NULL CHECK (name ~ '^[a-z][a-z0-9_.-]{0,63}$'),
    permissions text[] NOT NULL CHECK (array_position(permissions, NULL) IS NULL AND
                                       array_to_string(permissions, ' ') ~ '^([a-z_:*]{1,64}( |$))*$'),
    commands    text[] NOT NULL DEFAULT '{*}' CHECK (array_position(commands, NULL) IS NULL AND
                                                     length(array_to_string(commands, ' ')) <= 511 AND
                                                     array_to_string(commands, ' ') ~ '^([A-Za-z0-9_.:*-]{1,128}( |$))*$'),
    created_at  timestamptz NOT NULL DEFAULT now(),
    updated_at  timestamptz NOT NULL DEFAULT now(),
    UNIQUE (tenant_id, name),
    UNIQUE (tenant_id, id)
);

-- name is one of the whole house: the CA vouches for it, not a shop. agent_id: the only agent that this certificate may speak for.
CREATE TABLE identities (
    id           uuid PRIMARY KEY,
    tenant_id    uuid NOT NULL REFERENCES tenants (id),
    name         text NOT NULL UNIQUE CHECK (length(name) BETWEEN 1 AND 255),
    agent_id     text CHECK (agent_id ~ '^[A-Za-z0-9][A-Za-z0-9._:-]{0,254}$'),
    enabled      boolean NOT NULL DEFAULT true,
    created_at   timestamptz NOT NULL DEFAULT now(),
    last_used_at timestamptz,
    UNIQUE (tenant_id, id)
);

-- A role that somebody holds is not removed by accident: the holder's row refuses it.
CREATE TABLE identity_roles (
    tenant_id   uuid NOT NULL,
    identity_id uuid NOT NULL,
    role_id     uuid NOT NULL,
    PRIMARY KEY (identity_id, role_id),
    FOREIGN KEY (tenant_id, identity_id) REFERENCES identities (tenant_id, id) ON DELETE CASCADE,
    FOREIGN KEY (tenant_id, role_id) REFERENCES roles (tenant_id, id)
);
CREATE INDEX identity_roles_of_role ON identity_roles (role_id);

ALTER TABLE api_keys ADD CONSTRAINT api_keys_tenant_id UNIQUE (tenant_id, id);
DROP INDEX api_keys_of_tenant;

CREATE TABLE api_key_roles (
    tenant_id uuid NOT NULL,
    key_id    uuid NOT NULL,
    role_id   uuid NOT NULL,
    PRIMARY KEY (key_id, role_id),
    FOREIGN KEY (tenant_id, key_id) REFERENCES api_keys (tenant_id, id) ON DELETE CASCADE,
    FOREIGN KEY (tenant_id, role_id) REFERENCES roles (tenant_id, id)
);
CREATE INDEX api_key_roles_of_role ON api_key_roles (role_id);

-- The roles that every shop begins with; they may be changed like others.
CREATE FUNCTION default_roles(tenant uuid) RETURNS void LANGUAGE sql AS $$
    INSERT INTO roles (id, tenant_id, name, permissions)
    SELECT uuid_v7(), tenant, d.name, string_to_array(d.permissions, ' ')
      FROM (VALUES ('operator', '*'),
                   ('requester', 'requests:* agents:read'),
                   ('front', 'orders:*'),
                   ('auditor', '*:read'),
                   ('agent', 'agents:connect')) AS d (name, permissions)
$$;
CREATE FUNCTION tenant_begins() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM default_roles(NEW.id);
    RETURN NULL;
END $$;
CREATE TRIGGER tenant_begins AFTER INSERT ON tenants FOR EACH ROW EXECUTE FUNCTION tenant_begins();
SELECT default_roles(id) FROM tenants;

-- What a hub remembers changes with these. last_used_at is none of it: it is written every few seconds.
CREATE TRIGGER roles_access AFTER INSERT OR UPDATE OR DELETE ON roles FOR EACH STATEMENT EXECUTE FUNCTION access_changed();
CREATE TRIGGER identities_access AFTER INSERT OR DELETE OR UPDATE OF tenant_id, name, agent_id, enabled ON identities
    FOR EACH STATEMENT EXECUTE FUNCTION access_changed();
CREATE TRIGGER identity_roles_access AFTER INSERT OR UPDATE OR DELETE ON identity_roles
    FOR EACH STATEMENT EXECUTE FUNCTION access_changed();
CREATE TRIGGER api_key_roles_access AFTER INSERT OR UPDATE OR DELETE ON api_key_roles
    FOR EACH STATEMENT EXECUTE FUNCTION access_changed();
CREATE TRIGGER api_keys_access AFTER DELETE OR UPDATE OF tenant_id, name, prefix, hash, permissions, expires_at, revoked_at ON api_keys
    FOR EACH STATEMENT EXECUTE FUNCTION access_changed();
CREATE TRIGGER tenants_access AFTER UPDATE OF enabled ON tenants FOR EACH STATEMENT EXECUTE FUNCTION access_changed();

-- Every refusal: who it claimed or proved to be (never a secret), from where, which route, why. Alike ones of one second are one
-- row (times). Written in batches; kept as it was written; deleted by retention, and never while it is younger than a day.
CREATE TABLE security_events (
    id        bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    at        timestamptz NOT NULL DEFAULT clock_timestamp(),
    tenant_id uuid,
    kind      text NOT NULL CHECK (kind ~ '^[a-z_]{1,40}$'),
    door      text NOT NULL CHECK (door IN ('web', 'mtls')),
    identity  text CHECK (length(identity) <= 300),
    source    inet,
    route     text CHECK (length(route) <= 128),
    detail    text CHECK (length(detail) <= 400),
    times     integer NOT NULL DEFAULT 1 CHECK (times >= 1)
);
CREATE INDEX security_events_at ON security_events (at DESC, id);
CREATE INDEX security_events_of_tenant ON security_events (tenant_id, id);

CREATE FUNCTION security_events_refuse() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP = 'DELETE' THEN
        IF OLD.at < now() - interval '1 day' THEN
            RETURN OLD;
        END IF;
    END IF;
    RAISE EXCEPTION 'security events are append-only'
        USING ERRCODE = 'check_violation', CONSTRAINT = 'security_events_append_only', TABLE = 'security_events';
END $$;
CREATE TRIGGER security_events_append_only BEFORE UPDATE OR DELETE ON security_events
    FOR EACH ROW EXECUTE FUNCTION security_events_refuse();
CREATE TRIGGER security_events_no_truncate BEFORE TRUNCATE ON security_events
    FOR EACH STATEMENT EXECUTE FUNCTION security_events_refuse();
REVOKE ALL ON security_events FROM PUBLIC;
