-- Who did what by hand, and which POSTs were already answered.

-- Append-only: a trigger refuses changes whoever asks, and nobody but the owner is given the right. Retention is a decision of
-- its own, not of this program.
CREATE TABLE audit_log (
    id          bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    at          timestamptz NOT NULL DEFAULT clock_timestamp(),
    tenant_id   uuid,
    actor       text NOT NULL CHECK (actor <> '' AND length(actor) <= 160),
    action      text NOT NULL CHECK (action ~ '^[a-z_.]{1,64}$'),
    object_type text NOT NULL CHECK (length(object_type) <= 40),
    object_id   text NOT NULL CHECK (length(object_id) <= 160),
    detail      jsonb NOT NULL DEFAULT '{}'
);
CREATE INDEX audit_log_object ON audit_log (object_type, object_id, id);

CREATE FUNCTION audit_log_refuse() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'the audit log is append-only'
        USING ERRCODE = 'check_violation', CONSTRAINT = 'audit_log_append_only', TABLE = 'audit_log';
END $$;
CREATE TRIGGER audit_log_append_only BEFORE UPDATE OR DELETE ON audit_log FOR EACH ROW EXECUTE FUNCTION audit_log_refuse();
CREATE TRIGGER audit_log_no_truncate BEFORE TRUNCATE ON audit_log FOR EACH STATEMENT EXECUTE FUNCTION audit_log_refuse();
REVOKE ALL ON audit_log FROM PUBLIC;

-- Idempotency-Keys of POSTs other than orders (an order carries its own key). The row is written in the transaction that
-- creates, so there is no answer without its object.
CREATE TABLE idempotency_keys (
    tenant_id       uuid NOT NULL REFERENCES tenants (id),
    route           text NOT NULL CHECK (length(route) <= 128),       -- "POST /v1/jobs"
    idempotency_key text NOT NULL CHECK (length(idempotency_key) BETWEEN 1 AND 255),
    body_hash       text NOT NULL CHECK (length(body_hash) = 64),
    http_status     integer NOT NULL CHECK (http_status BETWEEN 200 AND 299),
    body            text NOT NULL CHECK (length(body) <= 1048576),
    created_at      timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (tenant_id, route, idempotency_key)
);
CREATE INDEX idempotency_keys_created ON idempotency_keys (created_at);
