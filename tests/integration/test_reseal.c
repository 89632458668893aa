/* test_reseal.c - rotation of keys: more values than fit a batch, arrays with holes, values that
 * nobody can open, a rotation that is run again. */
#include "base/text.h"
#include "domain/orders/orders.h"
#include "domain/reseal.h"
#include "domain/reseal.sql.h"
#include "pg/pg_array.h"
#include "shop.h"
#include <string.h>

static struct stores stores;

#define SIDE(...) pg_one(stores.database_url, __VA_ARGS__)
#define ORDERS    (2 * RESEAL_BATCH + 3)
#define K1        "k1:000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f"
#define K2        "k2:ffeeddccbbaa99887766554433221100ffeeddccbbaa99887766554433221100"
#define ID(n)     arena_printf(&cx->arena, "01900000-0000-7000-8000-%012x", (unsigned)(n))

static struct keys {
    struct pg *db;
    struct seal_keys *old, *both, *new;
} k;

static const struct sql put_pins = {
    .name = "test_put_pins",
    .nparams = 3,
    .text =
        "UPDATE product_orders o SET pin_code = n.a, pin_codes = CASE WHEN n.b IS NOT NULL THEN "
        "ARRAY[n.a, NULL, n.b] END FROM unnest($1::uuid[], $2::text[], $3::text[]) AS n (id, a, "
        "b) WHERE o.id = n.id",
};
static const struct sql get_pins = {
    .name = "test_get_pins",
    .nparams = 0,
    .text = "SELECT id, pin_code, pin_codes[1], pin_codes[2], pin_codes[3] FROM product_orders",
    .reads = true,
};

static const char *sealed(struct cx *cx, const char *id, int unit)
{
    const char *out;

    ck_ok(seal_text(cx, k.old, order_pin_context(cx, id, unit),
                    arena_printf(&cx->arena, "PIN-%s-%d", id, unit), &out));
    return out;
}

/* Every tenth order has three units, the second without a PIN. */
static void fill(struct cx *cx)
{
    _cleanup_(pg_array_release) struct pg_array ids = PG_ARRAY(MiB(1)), a = PG_ARRAY(MiB(1)),
                                                b = PG_ARRAY(MiB(1));

    for (int i = 1; i <= ORDERS; i++) {
        const char *id = ID(0x1000 + i);
        pg_array_s(&ids, id);
        pg_array_s(&a, sealed(cx, id, 1));
        pg_array_s(&b, i % 10 == 0 ? sealed(cx, id, 3) : NULL);
    }
    ck_ok(pg_query(cx, k.db, &put_pins, NULL, PG_ARGS(pg_a(&ids), pg_a(&a), pg_a(&b))));
}

static void opens(struct cx *cx, const char *id, int unit, const char *value)
{
    const char *clear = "";

    ck_ok(open_text(cx, k.new, order_pin_context(cx, id, unit), value, &clear));
    ck_assert_str_eq(clear, arena_printf(&cx->arena, "PIN-%s-%d", id, unit));
}

static void all_open(struct cx *cx)
{
    _cleanup_(pg_result_freep) struct pg_result *res = NULL;

    ck_ok(pg_query(cx, k.db, &get_pins, &res, PG_NO_ARGS));
    ck_assert_int_eq(pg_rows(res), ORDERS);
    for (int i = 0; i < ORDERS; i++) {
        const char *id = pg_text(res, i, 0);
        opens(cx, id, 1, pg_text(res, i, 1));
        if (!pg_text(res, i, 2))
            continue;
        opens(cx, id, 1, pg_text(res, i, 2));
        ck_assert_ptr_null(pg_text(res, i, 3));
        opens(cx, id, 3, pg_text(res, i, 4));
    }
}

static rc body(struct cx *cx, void *arg)
{
    struct reseal_result done;
    struct sealed_count *c;
    size_t n;

    (void)arg;
    try(pg_new(cx, stores.database_url, 2, &k.db));
    try(seal_keys_load(cx, K1, &k.old));
    try(seal_keys_load(cx, K2 "," K1, &k.both));
    try(seal_keys_load(cx, K2, &k.new));
    fill(cx);
    ck_assert_str_eq(seal_key_id(k.both), "k2");

    ck_ok(reseal(cx, k.db, k.both, "cli:test", &done));
    ck_assert_int_eq(done.resealed, ORDERS + 2 * (ORDERS / 10));
    ck_assert_int_eq(done.unreadable, 0);
    all_open(cx);
    ck_ok(sealed_count(cx, k.db, &c, &n));
    for (size_t i = 0; i < n; i++)
        ck_assert_msg(strcmp(c[i].place, "integrations.credentials") == 0 ||
                          strcmp(c[i].key, "k2") == 0,
                      "%s: %s", c[i].place, c[i].key);
    ck_assert_str_eq(SIDE("SELECT string_agg(actor || ' ' || action || ' ' || object_id || ' ' || "
                          "detail, ', ' ORDER BY id) FROM audit_log"),
                     "cli:test seal.rotate k2 {\"state\": \"begun\"}, cli:test seal.rotate k2 "
                     "{\"state\": \"ended\", \"resealed\": 1203, \"unreadable\": 0}");

    /* Nothing is left to do; a value that is nobody's stays as it is and is counted each time. */
    SIDE("UPDATE tenants SET webhook_secret = 'v1.k9.AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA' "
         "WHERE id = '" TENANT "' RETURNING 1");
    ck_ok(reseal(cx, k.db, k.both, "cli:test", &done));
    ck_assert_int_eq(done.resealed, 0);
    ck_assert_int_eq(done.unreadable, 1);
    ck_assert_int_eq(pg_one_int(stores.database_url, "SELECT count(*) FROM tenants WHERE "
                                                     "webhook_secret LIKE 'v1.k9.A%%'"),
                     1);
    seal_keys_free(k.old);
    seal_keys_free(k.both);
    seal_keys_free(k.new);
    pg_free(k.db);
    return OK;
}

START_TEST(everything_goes_under_the_new_key)
{
    ck_ok(on_fiber(body, NULL));
}
END_TEST

/* What somebody else wrote between reading and writing is not overwritten. */
static rc stale(struct cx *cx, void *arg)
{
    static const struct sql *const writes[] = {&SQL_RESEAL_WRITE_ORDERS, &SQL_RESEAL_WRITE_UNITS,
                                               &SQL_RESEAL_WRITE_INTEGRATIONS,
                                               &SQL_RESEAL_WRITE_TENANTS};
    struct pg *db;

    (void)arg;
    try(pg_new(cx, stores.database_url, 2, &db));
    for (size_t i = 0; i < COUNT(writes); i++) {
        static const char *const ids[] = {"01900000-0000-7000-8000-00000000100a", TENANT, ALPHA};
        _cleanup_(pg_array_release) struct pg_array id = PG_ARRAY(KiB(1)), unit = PG_ARRAY(KiB(1)),
                                                    old = PG_ARRAY(KiB(1)), new = PG_ARRAY(KiB(1));
        for (size_t r = 0; r < COUNT(ids); r++) {
            pg_array_s(&id, ids[r]);
            pg_array_i(&unit, 1);
            pg_array_s(&old, "what it was");
            pg_array_s(&new, "overwritten");
        }
        ck_ok(pg_query(cx, db, writes[i], NULL,
                       PG_ARGS(pg_a(&id), pg_a(&unit), pg_a(&old), pg_a(&new))));
    }
    pg_free(db);
    return OK;
}

START_TEST(a_value_that_moved_stays)
{
    ck_ok(on_fiber(stale, NULL));
    ck_assert_int_eq(
        pg_one_int(stores.database_url,
                   "SELECT (SELECT count(*) FROM product_orders WHERE pin_code = 'overwritten' OR "
                   "'overwritten' = ANY (pin_codes)) + (SELECT count(*) FROM tenants WHERE "
                   "webhook_secret = 'overwritten') + (SELECT count(*) FROM integrations WHERE "
                   "credentials = 'overwritten')"),
        0);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("reseal");
    TCase *tc = tcase_create("reseal");

    stores_start(&stores, &(struct stores_opts){.no_redis = true});
    shop_make(&stores);
    SIDE("DELETE FROM package_routing RETURNING 1");
    SIDE("DELETE FROM package_mappings RETURNING 1");
    SIDE("UPDATE integrations SET credentials = 'v1.k2.xxxx' RETURNING 1"); /* as if done already */
    SIDE("INSERT INTO product_orders (id, tenant_id, product_id, package_id, user_identifier, "
         "quantity, status, completed_at) SELECT ('01900000-0000-7000-8000-' || "
         "lpad(to_hex(4096 + g), 12, '0'))::uuid, '" TENANT "', '" PRODUCT "', '" PACKAGE
         "', '123', CASE WHEN g %% 10 = 0 THEN 3 ELSE 1 END, 'completed', now() FROM "
         "generate_series(1, %d) g RETURNING 1",
         ORDERS);
    tcase_add_test(tc, everything_goes_under_the_new_key);
    tcase_add_test(tc, a_value_that_moved_stays);
    suite_add_tcase(s, tc);
    int failed = suite_run(s);
    stores_stop(&stores);
    return support_end(failed);
}
