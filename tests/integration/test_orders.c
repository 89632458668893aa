/* test_orders.c - accepting orders in batches, reading them back, sweeping: what is called, and
 * what stands in the tables afterwards. */
#include "base/clock.h"
#include "base/text.h"
#include "domain/orders/order_create.h"
#include "domain/orders/order_sweep.h"
#include "shop.h"
#include <string.h>

static struct stores stores;

#define SIDE(...)     pg_one(stores.database_url, __VA_ARGS__)
#define SIDE_INT(...) pg_one_int(stores.database_url, __VA_ARGS__)
#define NOBODY        "01900000-0000-7000-8000-0000000000ff"

static void tables_empty(void)
{
    SIDE("TRUNCATE product_orders, order_placements, order_events, jobs CASCADE");
    SIDE("UPDATE packages SET enabled = true");
    SIDE("UPDATE integrations SET enabled = true");
}

static rc with_db(rc (*fn)(struct cx *cx, struct pg *db), struct cx *cx)
{
    struct pg *db;

    try(pg_new(cx, stores.database_url, 2, &db));
    rc r = fn(cx, db);
    pg_free(db);
    return r;
}

#define DB_TEST(name)                                                                              \
    static rc name##_body(struct cx *cx, struct pg *db);                                           \
    static rc name##_fiber(struct cx *cx, void *arg)                                               \
    {                                                                                              \
        (void)arg;                                                                                 \
        return with_db(name##_body, cx);                                                           \
    }                                                                                              \
    START_TEST(name)                                                                               \
    {                                                                                              \
        tables_empty();                                                                            \
        ck_ok(on_fiber(name##_fiber, NULL));                                                       \
    }                                                                                              \
    END_TEST                                                                                       \
    static rc name##_body(struct cx *cx, struct pg *db)

/* ---------------------------------------------------------------- accepting */

#define HASH_A "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
#define HASH_B "bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb"

static struct order_new plain(void)
{
    return (struct order_new){
        .tenant_id = TENANT, .package_id = PACKAGE, .user_identifier = "123456", .quantity = 1};
}

static struct order_new keyed(const char *key, const char *hash)
{
    struct order_new o = plain();

    o.idempotency_key = key;
    snprintf(o.body_hash, sizeof o.body_hash, "%s", hash);
    return o;
}

static struct order_new referred(const char *reference, const char *user)
{
    struct order_new o = plain();

    o.reference = reference;
    o.user_identifier = user;
    return o;
}

static rc insert(struct cx *cx, struct pg *db, struct order_new *o, size_t n)
{
    struct order_new *rows[64];

    for (size_t i = 0; i < n; i++)
        rows[i] = &o[i];
    return orders_insert(cx, db, rows, n, NULL);
}

#define ck_made(o, want)                                                                           \
    ck_assert_msg((o).made == (want), "made %d, not %d: %s", (o).made, (want), (o).err.text)
#define ck_refused(o, want)                                                                        \
    ck_assert_msg((o).made == ORDER_REFUSED && (o).err.code == (want), "made %d, %s", (o).made,    \
                  (o).err.text)

DB_TEST(a_mixed_batch)
{
    struct order_new o[] = {
        plain(),
        plain(),
        plain(),
        plain(),
        plain(),
        keyed("k", HASH_A),
        keyed("k", HASH_A),
        keyed("k", HASH_B),
        referred("r", "1"),
        referred("r", "1"),
        referred("r", "2"),
        plain(),
    };
    o[1].package_id = NOBODY;
    o[2].package_id = UNROUTED;
    o[3].tenant_id = TENANT2;
    o[4].product_id = NOBODY;
    o[11].product_id = PRODUCT;
    o[11].extra_field = "";

    ck_ok(insert(cx, db, o, COUNT(o)));
    ck_made(o[0], ORDER_CREATED);
    ck_refused(o[1], E_UNKNOWN_PACKAGE);
    ck_refused(o[2], E_UNROUTED_PACKAGE);
    ck_refused(o[3], E_UNKNOWN_PACKAGE);
    ck_refused(o[4], E_INVALID_FIELD);
    ck_assert_str_eq(o[4].err.pointer, "/product_id");
    /* which of two twins of one batch is the first is the statement's choice */
    ck_assert_int_eq((o[5].made == ORDER_CREATED) + (o[6].made == ORDER_CREATED), 1);
    ck_assert_int_eq((o[5].made == ORDER_REPLAYED) + (o[6].made == ORDER_REPLAYED), 1);
    ck_assert_str_eq(o[5].order.id, o[6].order.id);
    ck_refused(o[7], E_IDEMPOTENCY_MISMATCH);
    ck_made(o[8], ORDER_CREATED);
    ck_made(o[9], ORDER_REPLAYED);
    ck_refused(o[10], E_ALREADY_EXISTS);
    ck_assert_str_eq(o[10].err.pointer, "/reference");
    ck_made(o[11], ORDER_CREATED);
    ck_assert_ptr_null(o[11].order.extra_field);

    ck_assert_str_eq(o[0].order.product_id, PRODUCT);
    ck_assert_int_eq((int)o[0].order.status, ORDER_PENDING);
    ck_assert(o[0].order.created_ms > clock_ms() - 60000);
    ck_assert_int_eq(SIDE_INT("SELECT count(*) FROM product_orders"), 4);
    ck_assert_int_eq(
        SIDE_INT("SELECT count(*) FROM jobs j JOIN product_orders o ON o.id::text = j.subject"
                 " WHERE task = 'order.dispatch' AND queue = 'orders' AND live AND j.tenant_id = "
                 "o.tenant_id"
                 " AND args->>'order_id' = o.id::text AND unique_key = 'order.dispatch:' || o.id"),
        4);
    ck_assert_str_eq(SIDE("SELECT id FROM jobs WHERE subject = '%s'", o[0].id), o[0].job_id);
    ck_assert_int_eq(SIDE_INT("SELECT count(*) FROM product_orders WHERE extra_field IS NULL"), 4);
    return OK;
}

/* The first answer again, whatever has become of the order since; not after another body. */
DB_TEST(the_first_answer_again)
{
    struct order_new o = keyed("k", HASH_A), again = keyed("k", HASH_A), other = keyed("k", HASH_B);
    struct order_new elsewhere = keyed("k", HASH_A);

    ck_ok(insert(cx, db, &o, 1));
    ck_made(o, ORDER_CREATED);
    SIDE("UPDATE product_orders SET status = 'cancelled', completed_at = now(), version = 2");
    SIDE("UPDATE packages SET enabled = false");
    ck_ok(insert(cx, db, &again, 1));
    ck_made(again, ORDER_REPLAYED);
    ck_assert_str_eq(again.order.id, o.order.id);
    ck_assert_int_eq((int)again.order.status, ORDER_PENDING);
    ck_assert(again.order.created_ms == o.order.created_ms);
    ck_ok(insert(cx, db, &other, 1));
    ck_refused(other, E_IDEMPOTENCY_MISMATCH);
    elsewhere.tenant_id = TENANT2;
    ck_ok(insert(cx, db, &elsewhere, 1));
    ck_refused(elsewhere, E_UNKNOWN_PACKAGE);
    ck_assert_int_eq(SIDE_INT("SELECT count(*) FROM product_orders"), 1);
    ck_assert_int_eq(SIDE_INT("SELECT count(*) FROM jobs"), 1);
    return OK;
}

/* A commit in doubt is sent again: the same ids are the same order. */
DB_TEST(the_same_ids_again)
{
    struct order_new o[] = {plain(), keyed("k", HASH_A)};

    ck_ok(insert(cx, db, o, 2));
    ck_ok(insert(cx, db, o, 2));
    ck_made(o[0], ORDER_CREATED);
    ck_made(o[1], ORDER_CREATED);
    ck_assert_str_eq(o[0].order.id, o[0].id);
    ck_assert_int_eq(SIDE_INT("SELECT count(*) FROM product_orders"), 2);
    ck_assert_int_eq(SIDE_INT("SELECT count(*) FROM jobs"), 2);
    return OK;
}

/* The backend dies under the statement, twice; nobody but PostgreSQL's log hears of it. */
DB_TEST(a_lost_connection_is_nobodys_business)
{
    struct order_new o[] = {plain(), keyed("k", HASH_A)};

    SIDE("CREATE SEQUENCE deaths");
    SIDE("CREATE FUNCTION die() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN IF nextval('deaths') "
         "<= 2 THEN"
         " PERFORM pg_terminate_backend(pg_backend_pid()); END IF; RETURN NULL; END $$");
    SIDE("CREATE TRIGGER dies AFTER INSERT ON jobs FOR EACH STATEMENT EXECUTE FUNCTION die()");
    rc r = insert(cx, db, o, 2);
    SIDE("DROP TRIGGER dies ON jobs");
    ck_ok(r);
    ck_made(o[0], ORDER_CREATED);
    ck_made(o[1], ORDER_CREATED);
    ck_assert_int_eq(SIDE_INT("SELECT last_value FROM deaths"), 3);
    ck_assert_int_eq(SIDE_INT("SELECT count(*) FROM product_orders"), 2);
    ck_assert_int_eq(SIDE_INT("SELECT count(*) FROM jobs"), 2);
    return OK;
}

/* Only the row that the database refuses hears of it. Such a row never passes order_new_check; a
 * bug could let it. */
DB_TEST(a_bad_row_fails_alone)
{
    struct order_new o[] = {plain(), plain(), plain(), keyed("k", "short")};

    o[1].quantity = 5000;
    ck_ok(insert(cx, db, o, COUNT(o)));
    ck_made(o[0], ORDER_CREATED);
    ck_refused(o[1], E_PG_CONSTRAINT);
    ck_made(o[2], ORDER_CREATED);
    ck_refused(o[3], E_PG_CONSTRAINT);
    ck_assert_int_eq(SIDE_INT("SELECT count(*) FROM product_orders"), 2);
    ck_assert_int_eq(SIDE_INT("SELECT count(*) FROM jobs"), 2);
    return OK;
}

DB_TEST(routes_decide)
{
    struct order_new primary_off = plain(), both_off = plain(), package_off = plain(),
                     product_off = plain();

    SIDE("UPDATE integrations SET enabled = false WHERE id = '" ALPHA "'");
    ck_ok(insert(cx, db, &primary_off, 1));
    ck_made(primary_off, ORDER_CREATED);
    SIDE("UPDATE integrations SET enabled = false");
    ck_ok(insert(cx, db, &both_off, 1));
    ck_refused(both_off, E_UNROUTED_PACKAGE);
    SIDE("UPDATE integrations SET enabled = true");
    SIDE("UPDATE packages SET enabled = false");
    ck_ok(insert(cx, db, &package_off, 1));
    ck_refused(package_off, E_UNKNOWN_PACKAGE);
    SIDE("UPDATE packages SET enabled = true");
    SIDE("UPDATE products SET enabled = false");
    ck_ok(insert(cx, db, &product_off, 1));
    ck_refused(product_off, E_UNKNOWN_PACKAGE);
    SIDE("UPDATE products SET enabled = true");
    return OK;
}

/* Many fibers, the same keys in another order each: one order per key, and nobody deadlocks for
 * good. */
enum { RIVALS = 8, KEYS = 20 };
static int rivals_created;

static rc rival_fiber(struct cx *cx, void *arg)
{
    struct pg *db = arg;
    struct order_new o[KEYS];
    char keys[KEYS][8], refs[KEYS][8];
    size_t turn = (size_t)random_below(KEYS);

    for (size_t i = 0; i < KEYS; i++) {
        size_t k = (i * 7 + turn) % KEYS;
        snprintf(keys[i], sizeof keys[i], "k%zu", k);
        snprintf(refs[i], sizeof refs[i], "r%zu", KEYS - k);
        o[i] = keyed(keys[i], HASH_A);
        o[i].reference = refs[i];
    }
    try(insert(cx, db, o, KEYS));
    for (size_t i = 0; i < KEYS; i++) {
        ck_assert_msg(o[i].made != ORDER_REFUSED, "%s", o[i].err.text);
        rivals_created += o[i].made == ORDER_CREATED;
    }
    return OK;
}

DB_TEST(rivals_agree)
{
    struct fiber *f[RIVALS];
    rc r;

    for (int i = 0; i < RIVALS; i++)
        f[i] = fiber_spawn(&(struct fiber_opts){.name = "rival", .inherit = cx}, rival_fiber, db);
    for (int i = 0; i < RIVALS; i++) {
        ck_ok(fiber_join(cx, f[i], &r));
        ck_ok(r);
    }
    ck_assert_int_eq(rivals_created, KEYS);
    ck_assert_int_eq(SIDE_INT("SELECT count(*) FROM product_orders"), KEYS);
    ck_assert_int_eq(SIDE_INT("SELECT count(*) FROM jobs"), KEYS);
    return OK;
}

/* ---------------------------------------------------------------- reading */

DB_TEST(an_order_reads_as_promised)
{
    struct order_new n = plain();
    struct order o;
    char want[1024], at[CLOCK_TEXT_LEN + 1];
    _cleanup_(buf_release) struct buf b = BUF(KiB(16));

    n.extra_field = "سيرفر \"3\"";
    n.reference = "A-1";
    ck_ok(insert(cx, db, &n, 1));
    ck_ok(order_load(cx, db, TENANT, n.order.id, &o));
    snprintf(want, sizeof want,
             "{\"id\":\"%s\",\"tenant_id\":\"" TENANT "\",\"product_id\":\"" PRODUCT
             "\",\"package_id\":\"" PACKAGE
             "\",\"user_identifier\":\"123456\",\"extra_field\":\"سيرفر "
             "\\\"3\\\"\",\"quantity\":1,\"status\":\"pending\","
             "\"provider\":null,\"provider_referans\":null,\"pin_code\":null,\"note\":null,"
             "\"cost\":null,\"attempts\":0,"
             "\"created_at\":\"%s\",\"sent_at\":null,\"completed_at\":null}",
             n.id, clock_format(o.created_ms, at));
    ck_ok(order_json(cx, NULL, &o, &b));
    ck_assert_str_eq(buf_str(&b), want);
    buf_reset(&b);
    ck_ok(order_json(cx, NULL, &n.order, &b)); /* what the POST answers is the same */
    ck_assert_str_eq(buf_str(&b), want);

    _cleanup_(buf_release) struct buf small = BUF(64);
    ck_rc(order_json(cx, NULL, &o, &small), E_BUFFER_FULL);
    ck_rc(order_load(cx, db, TENANT2, n.order.id, &o), E_NOT_FOUND);
    ck_rc(order_load(cx, db, NULL, NOBODY, &o), E_NOT_FOUND);
    ck_rc(order_load(cx, db, NULL, "42", &o), E_NOT_FOUND);
    ck_ok(order_find(cx, db, TENANT, "A-1", &o));
    ck_assert_str_eq(o.id, n.id);
    ck_rc(order_find(cx, db, TENANT2, "A-1", &o), E_NOT_FOUND);

    struct order_event *e;
    size_t ne;
    ck_ok(order_events(cx, db, n.id, -1, 100, &e, &ne));
    ck_assert_uint_eq(ne, 1);
    ck_assert_str_eq(e[0].kind, "created");
    ck_assert_str_eq(e[0].status, "pending");
    ck_assert(e[0].id == 0 && e[0].at_ms == o.created_ms);
    ck_ok(order_events(cx, db, n.id, 0, 100, &e, &ne));
    ck_assert_uint_eq(ne, 0);
    return OK;
}

DB_TEST(lists_are_paged)
{
    struct order_new o[7];
    struct order *page;
    size_t n, seen = 0;
    char next[ID_LEN + 1] = "";
    struct order_filter f = {.tenant_id = TENANT, .limit = 3};

    for (size_t i = 0; i < COUNT(o); i++)
        o[i] = plain();
    ck_ok(insert(cx, db, o, COUNT(o)));
    do {
        f.after = next[0] ? arena_strdup(&cx->arena, next) : NULL;
        ck_ok(order_list(cx, db, &f, &page, &n, next));
        for (size_t i = 0; i < n; i++)
            ck_assert_str_eq(page[i].id, o[COUNT(o) - 1 - seen++].id);
        ck_assert_uint_le(n, 3);
    } while (next[0]);
    ck_assert_uint_eq(seen, COUNT(o));

    SIDE("UPDATE product_orders SET status = 'cancelled', completed_at = now(), version = 2 WHERE "
         "id = '%s'",
         o[2].id);
    f = (struct order_filter){.tenant_id = TENANT,
                              .status = "cancelled",
                              .package_id = PACKAGE,
                              .since_ms = clock_ms() - 60000};
    ck_ok(order_list(cx, db, &f, &page, &n, next));
    ck_assert_uint_eq(n, 1);
    ck_assert_str_eq(page[0].id, o[2].id);
    f = (struct order_filter){.tenant_id = TENANT, .since_ms = clock_ms() + 60000};
    ck_ok(order_list(cx, db, &f, &page, &n, next));
    ck_assert_uint_eq(n, 0);
    f = (struct order_filter){.tenant_id = TENANT2};
    ck_ok(order_list(cx, db, &f, &page, &n, next));
    ck_assert_uint_eq(n, 0);
    f = (struct order_filter){0};
    ck_ok(order_list(cx, db, &f, &page, &n, next));
    ck_assert_uint_eq(n, COUNT(o));
    return OK;
}

static const struct {
    struct order_filter f;
    const char *pointer;
} bad_filters[] = {
    {{.status = "done"}, "/status"}, {{.package_id = "7"}, "/package_id"},
    {{.after = "x"}, "/after"},      {{.limit = 501}, "/limit"},
    {{.limit = -1}, "/limit"},
};

DB_TEST(bad_filters_are_named)
{
    struct order *page;
    size_t n;
    char next[ID_LEN + 1];

    for (size_t i = 0; i < COUNT(bad_filters); i++) {
        ck_rc(order_list(cx, db, &bad_filters[i].f, &page, &n, next), E_INVALID_FIELD);
        ck_assert_str_eq(cx->err.pointer, bad_filters[i].pointer);
    }
    return OK;
}

/* ---------------------------------------------------------------- the sweep's eyes */

#define SWEPT(id, status, more_cols, more)                                                         \
    SIDE("INSERT INTO product_orders (id, tenant_id, product_id, package_id, user_identifier, "    \
         "status, created_at" more_cols ") VALUES ('01900000-0000-7000-8000-0000000001" id         \
         "', '" TENANT "', '" PRODUCT "', '" PACKAGE "', '1', '" status                            \
         "', now() - interval '1 hour'" more ")")

DB_TEST(the_sweep_sees_who_is_alone)
{
    struct order_unchecked *u;
    char after[ID_LEN + 1] = "";
    size_t n;

    SWEPT("01", "pending", "", "");
    SWEPT("02", "sending", ", integration_id, provider_referans, sent_at",
          ", '" ALPHA "', '1', now()");
    SWEPT("03", "sent", ", integration_id, provider_referans, sent_at",
          ", '" ALPHA "', '2', now()");
    SWEPT("04", "unconfirmed", ", integration_id, provider_referans, sent_at",
          ", '" ALPHA "', '3', now()");
    SWEPT("05", "review", "", "");
    SWEPT("06", "cancelled", ", completed_at", ", now()");
    SWEPT("07", "sent", ", integration_id, provider_referans, sent_at",
          ", '" ALPHA "', '4', now()"); /* has a live check */
    SIDE("INSERT INTO jobs (id, queue, task, unique_key) VALUES (gen_random_uuid(), 'orders', "
         "'order.check',"
         " 'order.check:01900000-0000-7000-8000-000000000107')");
    SWEPT("08", "sent", ", integration_id, provider_referans, sent_at",
          ", '" ALPHA "', '5', now()"); /* its check died */
    SIDE("INSERT INTO jobs (id, queue, task, unique_key, state, finished_at) VALUES "
         "(gen_random_uuid(), 'orders', 'order.check',"
         " 'order.check:01900000-0000-7000-8000-000000000108', 'dead', now())");
    SWEPT("10", "sent", ", integration_id, provider_referans, sent_at",
          ", '" ALPHA "', '6', now()"); /* a dispatch does not stand for its check */
    SIDE("INSERT INTO jobs (id, queue, task, unique_key) VALUES (gen_random_uuid(), 'orders', "
         "'order.dispatch', 'order.dispatch:01900000-0000-7000-8000-000000000110')");
    SWEPT("12", "pending", "", ""); /* has a live dispatch */
    SIDE("INSERT INTO jobs (id, queue, task, unique_key) VALUES (gen_random_uuid(), 'orders', "
         "'order.dispatch', 'order.dispatch:01900000-0000-7000-8000-000000000112')");
    SWEPT("11", "pending", "", ""); /* but a check for its dispatch */
    SIDE("INSERT INTO jobs (id, queue, task, unique_key) VALUES (gen_random_uuid(), 'orders', "
         "'order.check', 'order.check:01900000-0000-7000-8000-000000000111')");
    SIDE(
        "INSERT INTO product_orders (id, tenant_id, product_id, package_id, user_identifier) VALUES"
        " ('01900000-0000-7000-8000-000000000109', '" TENANT "', '" PRODUCT "', '" PACKAGE
        "', '1')"); /* too young */

    ck_ok(orders_unchecked(cx, db, clock_ms() - 60000, after, &u, &n));
    ck_assert_str_eq(after, ""); /* that was all */
    static const struct {
        const char *id, *task;
    } want[] = {{"01", "order.dispatch"}, {"02", "order.dispatch"}, {"03", "order.check"},
                {"04", "order.check"},    {"08", "order.check"},    {"10", "order.check"}};
    ck_assert_uint_eq(n, COUNT(want));
    for (size_t i = 0; i < n; i++) {
        ck_assert_str_eq(u[i].id + 34, want[i].id);
        ck_assert_str_eq(u[i].task, want[i].task);
        ck_assert_str_eq(u[i].tenant_id, TENANT);
    }
    strcpy(after, u[2].id);
    ck_ok(orders_unchecked(cx, db, clock_ms() - 60000, after, &u, &n));
    ck_assert_uint_eq(n, 3);
    return OK;
}

DB_TEST(the_sweep_walks_in_batches)
{
    struct order_unchecked *u;
    char after[ID_LEN + 1] = "";
    size_t n;

    SIDE("INSERT INTO product_orders (id, tenant_id, product_id, package_id, user_identifier, "
         "created_at)"
         " SELECT gen_random_uuid(), '" TENANT "', '" PRODUCT "', '" PACKAGE
         "', '1', now() - interval '2 days'"
         " FROM generate_series(1, %d)",
         ORDER_SWEEP_PAGE + 7);
    /* All of the first page are looked after: the next one is looked at all the same. */
    SIDE("INSERT INTO jobs (id, queue, task, unique_key) SELECT gen_random_uuid(), 'orders', "
         "'order.check', 'order.check:' || id FROM (SELECT id FROM product_orders ORDER BY id "
         "LIMIT %d) o",
         ORDER_SWEEP_PAGE);
    ck_ok(orders_unchecked(cx, db, clock_ms(), after, &u, &n));
    ck_assert_uint_eq(n, 0);
    ck_assert_uint_eq(strlen(after), ID_LEN);
    ck_ok(orders_unchecked(cx, db, clock_ms(), after, &u, &n));
    ck_assert_uint_eq(n, 7);
    ck_assert_str_eq(after, "");
    return OK;
}

/* ---------------------------------------------------------------- with the engine */

static struct engine *engine;

static rc with_engine(struct cx *cx, struct pg *db, rc (*fn)(struct cx *cx, struct pg *db))
{
    struct redis *redis;

    redis_one(stores.redis_url, "FLUSHALL");
    try(redis_new(cx, stores.redis_url, &redis));
    engine = engine_new(redis, db);
    rc r = fn(cx, db);
    engine = engine_free(engine);
    redis_free(redis);
    return r;
}

static rc push_and_claim(struct cx *cx, struct pg *db)
{
    struct order_new o[] = {plain(), plain()}, *rows[] = {&o[0], &o[1]};
    struct claim_result c;
    size_t refused;
    int64_t none;

    o[1].package_id = NOBODY;
    ck_ok(engine_claim(cx, engine, "orders", 10, 30000, NULL, 0, &c, &refused));
    ck_assert(c.lost);
    claim_result_release(&c);
    ck_ok(engine_recover(cx, engine, &none)); /* as a worker does */
    ck_ok(orders_insert(cx, db, rows, 2, NULL));
    ck_ok(orders_push(cx, engine, rows, 2));
    ck_ok(orders_push(cx, engine, rows, 2)); /* known already */
    ck_ok(engine_claim(cx, engine, "orders", 10, 30000, NULL, 0, &c, &refused));
    ck_assert_uint_eq(c.n, 1);
    ck_assert_str_eq(c.jobs[0].lease.id, o[0].job_id);
    ck_assert_str_eq(c.jobs[0].task, "order.dispatch");
    ck_assert_str_eq(c.jobs[0].subject, o[0].id);
    ck_assert_str_eq(c.jobs[0].tenant_id, TENANT);
    ck_assert_ptr_nonnull(strstr(c.jobs[0].args, o[0].id));
    claim_result_release(&c);
    return OK;
}

DB_TEST(accepted_orders_reach_the_workers)
{
    return with_engine(cx, db, push_and_claim);
}

static rc sweep_twice(struct cx *cx, struct pg *db)
{
    int64_t made;

    SIDE("INSERT INTO product_orders (id, tenant_id, product_id, package_id, user_identifier, "
         "created_at)"
         " SELECT gen_random_uuid(), '" TENANT "', '" PRODUCT "', '" PACKAGE
         "', '1', now() - interval '2 days'"
         " FROM generate_series(1, %d)",
         2 * ORDER_SWEEP_PAGE + 3);
    ck_ok(orders_sweep(cx, db, engine, 60000, &made));
    ck_assert_int_eq(made, 2 * ORDER_SWEEP_PAGE + 3);
    ck_ok(orders_sweep(cx, db, engine, 60000, &made));
    ck_assert_int_eq(made, 0);
    ck_assert_int_eq(
        SIDE_INT("SELECT count(DISTINCT subject) FROM jobs WHERE task = 'order.dispatch' AND live"),
        2 * ORDER_SWEEP_PAGE + 3);
    return OK;
}

DB_TEST(the_sweep_gives_each_one_job)
{
    return with_engine(cx, db, sweep_twice);
}

static Suite *suite(void)
{
    Suite *s = suite_create("orders");
    TCase *tc = tcase_create("all");

    tcase_set_timeout(tc, 30);
    tcase_add_test(tc, a_mixed_batch);
    tcase_add_test(tc, the_first_answer_again);
    tcase_add_test(tc, the_same_ids_again);
    tcase_add_test(tc, a_lost_connection_is_nobodys_business);
    tcase_add_test(tc, a_bad_row_fails_alone);
    tcase_add_test(tc, routes_decide);
    tcase_add_test(tc, rivals_agree);
    tcase_add_test(tc, an_order_reads_as_promised);
    tcase_add_test(tc, lists_are_paged);
    tcase_add_test(tc, bad_filters_are_named);
    tcase_add_test(tc, the_sweep_sees_who_is_alone);
    tcase_add_test(tc, the_sweep_walks_in_batches);
    tcase_add_test(tc, accepted_orders_reach_the_workers);
    tcase_add_test(tc, the_sweep_gives_each_one_job);
    suite_add_tcase(s, tc);
    return s;
}

int main(void)
{
    return stores_main(&stores, NULL, shop_make, suite);
}
