-- Orders, what was placed for them at providers, and what happened to them.
--
--   pending ----> sending ----> sent ----> completed      pending      accepted here, certainly not at a provider
--    |   ^  <------'  | `----.   |  `----> failed         sending      reference stored, call under way
--    |   `------------+------+---'                        sent         the provider accepted
--    v     (refused or cancelled there: the fallback)     unconfirmed  may or may not have arrived; being asked
--   cancelled         v      v                            review       a person must decide
--                 unconfirmed --> (any of the above, never cancelled)
--                     `--> review --> completed | failed | sent
--
-- completed, failed and cancelled are final: a trigger refuses to leave them. cancelled is reached from pending alone.
-- An order of quantity n has n units; each is placed under references of its own. The order's status is made of its units'
-- placements (lib/domain/README.md); the constraints below hold whoever writes.

CREATE FUNCTION order_may_move(a text, b text) RETURNS boolean IMMUTABLE LANGUAGE sql AS $$
    SELECT CASE a
        WHEN 'pending'     THEN b IN ('sending', 'failed', 'cancelled', 'review', 'completed')
        WHEN 'sending'     THEN b IN ('pending', 'sent', 'unconfirmed', 'completed', 'failed', 'review')
        WHEN 'sent'        THEN b IN ('pending', 'sending', 'unconfirmed', 'completed', 'failed', 'review')
        WHEN 'unconfirmed' THEN b IN ('pending', 'sending', 'sent', 'completed', 'failed', 'review')
        WHEN 'review'      THEN b IN ('pending', 'sent', 'unconfirmed', 'completed', 'failed')
        ELSE false
    END
$$;

CREATE TABLE product_orders (
    id                uuid PRIMARY KEY,
    tenant_id         uuid NOT NULL,
    product_id        uuid NOT NULL,
    package_id        uuid NOT NULL,
    user_identifier   text NOT NULL CHECK (length(user_identifier) BETWEEN 1 AND 255),
    extra_field       text CHECK (length(extra_field) <= 255),
    quantity          integer NOT NULL DEFAULT 1 CHECK (quantity BETWEEN 1 AND 100),
    status            text NOT NULL DEFAULT 'pending' CHECK (status IN ('pending', 'sending', 'sent', 'unconfirmed',
                                                             'completed', 'failed', 'cancelled', 'review')),
    integration_id    uuid REFERENCES integrations (id),         -- of the placement last touched
    provider          text,                                      -- its name when it was chosen
    provider_referans text,                                      -- of unit 1's latest placement
    external_status   text CHECK (length(external_status) <= 64),-- the provider's last word
    sent_at           timestamptz,                               -- first time a provider accepted, or may have
    completed_at      timestamptz,
    pin_code          text,                                      -- sealed; unit 1
    pin_codes         text[],                                    -- sealed; one per unit when quantity > 1, NULL: without a PIN
    note              text CHECK (length(note) <= 1000),
    cost_amount       numeric(18, 4),
    cost_currency     text CHECK (cost_currency ~ '^[A-Z]{3}$'),
    attempts          integer NOT NULL DEFAULT 0 CHECK (attempts >= 0),
    callback_url      text CHECK (length(callback_url) <= 2048),
    reference         text CHECK (length(reference) BETWEEN 1 AND 128),        -- the client's own
    idempotency_key   text CHECK (length(idempotency_key) BETWEEN 1 AND 255),
    body_hash         text CHECK (length(body_hash) = 64),                     -- SHA-256 of the body, in hex
    version           integer NOT NULL DEFAULT 1,
    created_at        timestamptz NOT NULL DEFAULT now(),
    updated_at        timestamptz NOT NULL DEFAULT now(),

    FOREIGN KEY (tenant_id, package_id) REFERENCES packages (tenant_id, id),
    CONSTRAINT order_final_has_time CHECK ((status IN ('completed', 'failed', 'cancelled')) = (completed_at IS NOT NULL)),
    CONSTRAINT order_placed_has_reference CHECK (status NOT IN ('sending', 'sent', 'unconfirmed')
                                                 OR (integration_id IS NOT NULL AND provider_referans IS NOT NULL)),
    CONSTRAINT order_sent_has_time CHECK (status NOT IN ('sent', 'unconfirmed') OR sent_at IS NOT NULL),
    CONSTRAINT order_pin_when_completed CHECK (status = 'completed' OR (pin_code IS NULL AND pin_codes IS NULL)),
    CONSTRAINT order_cost_has_currency CHECK ((cost_amount IS NULL) = (cost_currency IS NULL)),
    CONSTRAINT order_key_has_hash CHECK ((idempotency_key IS NULL) = (body_hash IS NULL))
);
-- An Idempotency-Key and a client's reference lead to one order, for ever.
CREATE UNIQUE INDEX order_idempotency_key ON product_orders (tenant_id, idempotency_key) WHERE idempotency_key IS NOT NULL;
CREATE UNIQUE INDEX order_reference ON product_orders (tenant_id, reference) WHERE reference IS NOT NULL;
CREATE INDEX order_referans ON product_orders (provider_referans) WHERE provider_referans IS NOT NULL;
-- Lists are paged by id (UUIDv7: by time of birth); the sweep walks the open ones.
CREATE INDEX order_of_tenant ON product_orders (tenant_id, id DESC);
CREATE INDEX order_open ON product_orders (id) WHERE status IN ('pending', 'sending', 'sent', 'unconfirmed', 'review');

CREATE FUNCTION order_refuse() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'order % may not go from % (version %) to % (version %)', OLD.id, OLD.status, OLD.version, NEW.status,
                    NEW.version
        USING ERRCODE = 'check_violation', CONSTRAINT = 'order_moves', TABLE = 'product_orders';
END $$;
CREATE TRIGGER order_moves BEFORE UPDATE ON product_orders FOR EACH ROW
    WHEN (NEW.version < OLD.version
          OR (OLD.status <> NEW.status AND (NEW.version = OLD.version OR NOT order_may_move(OLD.status, NEW.status)))
          OR (OLD.status IN ('completed', 'failed', 'cancelled') AND OLD.completed_at IS DISTINCT FROM NEW.completed_at))
    EXECUTE FUNCTION order_refuse();

-- One row per unit and try at a provider. A reference is stored here, as 'sending', before the call is made.
--
--   unsent <--> sending --> sent ------> completed | failed | review        unsent  certainly never left us: the same
--                  |  `--> unconfirmed ->  (the same, or sent, or sending           reference may be used again
--                  `-----> completed | failed      again where the provider merges duplicates)
CREATE SEQUENCE order_referans_seq;

CREATE FUNCTION placement_may_move(a text, b text) RETURNS boolean IMMUTABLE LANGUAGE sql AS $$
    SELECT CASE a
        WHEN 'unsent'      THEN b IN ('sending', 'failed', 'completed')
        WHEN 'sending'     THEN b IN ('unsent', 'sent', 'unconfirmed', 'completed', 'failed', 'review')
        WHEN 'sent'        THEN b IN ('unconfirmed', 'completed', 'failed', 'review')
        WHEN 'unconfirmed' THEN b IN ('sending', 'sent', 'completed', 'failed', 'review')
        WHEN 'review'      THEN b IN ('sent', 'unconfirmed', 'completed', 'failed')
        ELSE false
    END
$$;

CREATE TABLE order_placements (
    id              bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    order_id        uuid NOT NULL REFERENCES product_orders (id),
    unit            integer NOT NULL DEFAULT 1 CHECK (unit BETWEEN 1 AND 100),
    integration_id  uuid NOT NULL REFERENCES integrations (id),
    referans        text NOT NULL CHECK (referans ~ '^[0-9]{18}$|^[0-9a-f]{8}-[0-9a-f-]{27}$'),
    status          text NOT NULL DEFAULT 'sending' CHECK (status IN ('unsent', 'sending', 'sent', 'unconfirmed', 'completed',
                                                          'failed', 'review')),
    calls           integer NOT NULL DEFAULT 1 CHECK (calls >= 1),    -- times the order was sent under this reference
    asked           integer NOT NULL DEFAULT 0 CHECK (asked >= 0),    -- times the provider was asked about it
    asked_at        timestamptz,
    external_id     text CHECK (length(external_id) <= 128),          -- the provider's own number for it, if it gave one
    external_status text CHECK (length(external_status) <= 64),
    note            text CHECK (length(note) <= 1000),
    gave_up         boolean NOT NULL DEFAULT false,                   -- failed, and nobody else is tried for the unit
    cost_amount     numeric(18, 4),
    cost_currency   text CHECK (cost_currency ~ '^[A-Z]{3}$'),
    pin             text,                                             -- sealed
    created_at      timestamptz NOT NULL DEFAULT now(),
    sent_at         timestamptz,
    updated_at      timestamptz NOT NULL DEFAULT now(),
    ended_at        timestamptz,
    CONSTRAINT placement_reference_once UNIQUE (integration_id, referans),
    CONSTRAINT placement_final_has_time CHECK ((status IN ('completed', 'failed')) = (ended_at IS NOT NULL)),
    CONSTRAINT placement_sent_has_time CHECK (status NOT IN ('sent', 'unconfirmed') OR sent_at IS NOT NULL),
    CONSTRAINT placement_pin_when_completed CHECK (status = 'completed' OR pin IS NULL),
    CONSTRAINT placement_cost_has_currency CHECK ((cost_amount IS NULL) = (cost_currency IS NULL)),
    CONSTRAINT placement_gave_up_failed CHECK (status = 'failed' OR NOT gave_up)
);
-- The rule against buying twice: a unit has at most one placement that is not certainly failed.
CREATE UNIQUE INDEX placement_one_live ON order_placements (order_id, unit) WHERE status <> 'failed';
CREATE INDEX placement_of_order ON order_placements (order_id, unit, id);

CREATE FUNCTION placement_refuse() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'placement % of order % may not go from % to %', OLD.referans, OLD.order_id, OLD.status, NEW.status
        USING ERRCODE = 'check_violation', CONSTRAINT = 'placement_moves', TABLE = 'order_placements';
END $$;
CREATE TRIGGER placement_moves BEFORE UPDATE ON order_placements FOR EACH ROW
    WHEN (OLD.referans <> NEW.referans OR OLD.integration_id <> NEW.integration_id OR OLD.order_id <> NEW.order_id
          OR OLD.unit <> NEW.unit OR (OLD.status <> NEW.status AND NOT placement_may_move(OLD.status, NEW.status)))
    EXECUTE FUNCTION placement_refuse();

-- The timeline. That an order was created is read from the order itself, so accepting one writes no row here.
CREATE TABLE order_events (
    id       bigint GENERATED ALWAYS AS IDENTITY,
    order_id uuid NOT NULL REFERENCES product_orders (id),
    at       timestamptz NOT NULL DEFAULT clock_timestamp(),
    kind     text NOT NULL CHECK (kind ~ '^[a-z_]{1,40}$'),
    status   text NOT NULL,                                           -- the order's, after it
    unit     integer,
    provider text,
    referans text,
    actor    text NOT NULL CHECK (length(actor) <= 160),
    detail   text CHECK (length(detail) <= 1000),
    PRIMARY KEY (order_id, id)
);
