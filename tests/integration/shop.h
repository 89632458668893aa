/* shop.h - a shop in a migrated database, by hand: one tenant, one product, a routed package, one
 * without a route, and two accounts at providers (alpha first, beta as the fallback). Ids are
 * fixed, so that tests can write them down. */
#pragma once
#include "tests/support/fibers.h"
#include "tests/support/stores.h"

#define TENANT   "01900000-0000-7000-8000-000000000001"
#define TENANT2  "01900000-0000-7000-8000-000000000002"
#define PRODUCT  "01900000-0000-7000-8000-000000000011"
#define PACKAGE  "01900000-0000-7000-8000-000000000021"
#define UNROUTED "01900000-0000-7000-8000-000000000022"
#define ALPHA    "01900000-0000-7000-8000-000000000031"
#define BETA     "01900000-0000-7000-8000-000000000032"

static inline void shop_make(const struct stores *s)
{
    const char *url = s->database_url;

    stores_migrate(url);
    pg_one(url, "INSERT INTO tenants (id, name) VALUES ('" TENANT "', 'shop'), ('" TENANT2
                "', 'other')");
    pg_one(url, "INSERT INTO products (id, tenant_id, name) VALUES ('" PRODUCT "', '" TENANT
                "', 'PUBG')");
    pg_one(url,
           "INSERT INTO packages (id, tenant_id, product_id, name) VALUES ('" PACKAGE "', '" TENANT
           "', '" PRODUCT "', '325 UC'), ('" UNROUTED "', '" TENANT "', '" PRODUCT "', '60 UC')");
    pg_one(url, "INSERT INTO integrations (id, tenant_id, name, kind, base_url, credentials) VALUES"
                " ('" ALPHA "', '" TENANT "', 'alpha', 'znet', 'http://127.0.0.1:1', 'v1.x'),"
                " ('" BETA "', '" TENANT "', 'beta', 'json', 'http://127.0.0.1:2', 'v1.x')");
    pg_one(url, "INSERT INTO package_mappings (tenant_id, package_id, integration_id, "
                "external_product, external_kupur)"
                " VALUES ('" TENANT "', '" PACKAGE "', '" ALPHA "', '1', '325'), ('" TENANT
                "', '" PACKAGE "', '" BETA "', '77', '')");
    pg_one(url, "INSERT INTO package_routing (tenant_id, package_id, primary_id, fallback_id) "
                "VALUES ('" TENANT "', '" PACKAGE "', '" ALPHA "', '" BETA "')");
}
