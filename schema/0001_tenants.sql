-- Who asks: tenants (shops) and the keys of their front ends.
--
-- A key is shown once. What is kept is its prefix (to find the row) and an Argon2id hash of the whole (to check it). Several
-- keys of one tenant may be alive together: that is how one is replaced without a gap.

CREATE TABLE tenants (
    id             uuid PRIMARY KEY,
    name           text NOT NULL UNIQUE CHECK (name <> '' AND length(name) <= 120),
    enabled        boolean NOT NULL DEFAULT true,
    -- sealed; signs the callbacks sent to this tenant
    webhook_secret text CHECK (length(webhook_secret) <= 1024),
    created_at     timestamptz NOT NULL DEFAULT now()
);

CREATE TABLE api_keys (
    id           uuid PRIMARY KEY,
    tenant_id    uuid NOT NULL REFERENCES tenants (id),
    name         text NOT NULL CHECK (name <> '' AND length(name) <= 120),
    prefix       text NOT NULL UNIQUE CHECK (prefix ~ '^[a-z0-9]{12}$'),
    hash         text NOT NULL CHECK (hash LIKE '$argon2id$%'),
    permissions  text[] NOT NULL DEFAULT '{}' CHECK (array_position(permissions, NULL) IS NULL),
    created_at   timestamptz NOT NULL DEFAULT now(),
    expires_at   timestamptz,
    revoked_at   timestamptz,
    last_used_at timestamptz
);
CREATE INDEX api_keys_of_tenant ON api_keys (tenant_id, id);
