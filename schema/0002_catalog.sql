-- What is sold, and through whom: products and packages of a tenant, its accounts at providers (integrations), what those
-- offer (catalogue_items), which package is which of their goods (package_mappings), and who is asked first (package_routing).
--
-- Every reference carries the tenant, so that no row can point into another shop.

CREATE TABLE products (
    id          uuid PRIMARY KEY,
    tenant_id   uuid NOT NULL REFERENCES tenants (id),
    name        text NOT NULL CHECK (name <> '' AND length(name) <= 255),
    enabled     boolean NOT NULL DEFAULT true,
    created_at  timestamptz NOT NULL DEFAULT now(),
    UNIQUE (tenant_id, name),
    UNIQUE (tenant_id, id)
);

CREATE TABLE packages (
    id          uuid PRIMARY KEY,
    tenant_id   uuid NOT NULL,
    product_id  uuid NOT NULL,
    name        text NOT NULL CHECK (name <> '' AND length(name) <= 255),
    enabled     boolean NOT NULL DEFAULT true,
    created_at  timestamptz NOT NULL DEFAULT now(),
    UNIQUE (product_id, name),
    UNIQUE (tenant_id, id),
    FOREIGN KEY (tenant_id, product_id) REFERENCES products (tenant_id, id)
);

CREATE TABLE integrations (
    id                 uuid PRIMARY KEY,
    tenant_id          uuid NOT NULL REFERENCES tenants (id),
    name               text NOT NULL CHECK (name ~ '^[A-Za-z0-9_.-]{1,64}$'),
    kind               text NOT NULL CHECK (kind IN ('znet', 'json')),
    base_url           text NOT NULL CHECK (base_url ~ '^https?://' AND base_url !~ '/$' AND length(base_url) <= 1024),
    credentials        text NOT NULL,                 -- sealed JSON object
    settings           jsonb NOT NULL DEFAULT '{}' CHECK (jsonb_typeof(settings) = 'object'),
    enabled            boolean NOT NULL DEFAULT true,
    paused_until       timestamptz,                   -- 'infinity': until somebody resumes it
    breaker            text NOT NULL DEFAULT 'closed' CHECK (breaker IN ('closed', 'open', 'half_open')),
    breaker_failures   integer NOT NULL DEFAULT 0 CHECK (breaker_failures >= 0),
    breaker_until      timestamptz,
    balance            numeric(18, 4),
    balance_debt       numeric(18, 4),
    balance_updated_at timestamptz,
    created_at         timestamptz NOT NULL DEFAULT now(),
    UNIQUE (tenant_id, name),
    UNIQUE (tenant_id, id),
    CHECK ((breaker = 'open') <= (breaker_until IS NOT NULL)),
    CHECK ((balance IS NULL) = (balance_updated_at IS NULL))
);

-- One row per good that a provider offered at its last import; a good not seen again keeps its old seen_at. (product, kupur)
-- need not be unique at a provider: its own row id is.
CREATE TABLE catalogue_items (
    integration_id uuid NOT NULL REFERENCES integrations (id) ON DELETE CASCADE,
    external_id    text NOT NULL CHECK (external_id <> '' AND length(external_id) <= 120),
    product        text NOT NULL CHECK (length(product) <= 120),     -- what the provider wants to be told (znet: oyun_bilgi_id)
    kupur          text NOT NULL DEFAULT '' CHECK (length(kupur) <= 120),
    name           text NOT NULL,
    game           text NOT NULL DEFAULT '',
    price          numeric(18, 4),
    raw            jsonb NOT NULL,
    seen_at        timestamptz NOT NULL,
    PRIMARY KEY (integration_id, external_id)
);
CREATE INDEX catalogue_items_pair ON catalogue_items (integration_id, product, kupur);

CREATE TABLE package_mappings (
    tenant_id        uuid NOT NULL,
    package_id       uuid NOT NULL,
    integration_id   uuid NOT NULL,
    external_product text NOT NULL CHECK (external_product <> '' AND length(external_product) <= 120),
    external_kupur   text NOT NULL DEFAULT '' CHECK (length(external_kupur) <= 120),
    created_at       timestamptz NOT NULL DEFAULT now(),
    updated_at       timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (package_id, integration_id),
    FOREIGN KEY (tenant_id, package_id) REFERENCES packages (tenant_id, id) ON DELETE CASCADE,
    FOREIGN KEY (tenant_id, integration_id) REFERENCES integrations (tenant_id, id)
);
CREATE INDEX package_mappings_of_integration ON package_mappings (integration_id);

-- A route may only name providers for which a mapping exists.
CREATE TABLE package_routing (
    tenant_id      uuid NOT NULL,
    package_id     uuid PRIMARY KEY,
    primary_id     uuid NOT NULL,
    fallback_id    uuid CHECK (fallback_id <> primary_id),
    updated_at     timestamptz NOT NULL DEFAULT now(),
    FOREIGN KEY (tenant_id, package_id) REFERENCES packages (tenant_id, id) ON DELETE CASCADE,
    FOREIGN KEY (package_id, primary_id) REFERENCES package_mappings (package_id, integration_id),
    FOREIGN KEY (package_id, fallback_id) REFERENCES package_mappings (package_id, integration_id)
);
