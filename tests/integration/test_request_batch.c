/* test_request_batch.c - many requests in one statement: each row has its own outcome, whatever its neighbours are, and a batch
 * that is sent again finds itself. */
#include "agents_world.h"
#include "domain/agents/request_batch.h"

#define HASH_A "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
#define HASH_B "bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb"

static struct request_row row_for(const char *type)
{
    return (struct request_row){.new = {.tenant_id = TENANT,
                                        .requested_by_name = "front",
                                        .command = "get_status",
                                        .agent_type = type,
                                        .timeout_ms = 60000}};
}

static struct request_row keyed(const char *key, const char *hash)
{
    struct request_row r = row_for("CPE");

    r.new.idempotency_key = key;
    snprintf(r.new.body_hash, sizeof r.new.body_hash, "%s", hash);
    return r;
}

/* What became of each: "created replayed unknown_agent". */
static char *outcomes(const struct request_row *rows, size_t n)
{
    struct buf b = BUF(KiB(4));

    for (size_t i = 0; i < n; i++)
        buf_printf(&b, "%s%s", i ? " " : "",
                   rows[i].made == REQUEST_CREATED    ? "created"
                   : rows[i].made == REQUEST_REPLAYED ? "replayed"
                                                      : error_info(rows[i].err.code)->code);
    return buf_take(&b);
}

static void insert(struct cx *cx, struct request_row *rows, size_t n, const char *want)
{
    struct request_row *list[16];

    for (size_t i = 0; i < n; i++)
        list[i] = &rows[i];
    ck_ok(requests_insert(cx, db, list, n, NULL));
    _cleanup_(freep) char *got = outcomes(rows, n);
    ck_assert_str_eq(got, want);
}

/* Every request has its job, and nothing else is there. */
static void there_are(int64_t n)
{
    ck_assert_int_eq(SIDE_INT("SELECT count(*) FROM requests"), n);
    ck_assert_int_eq(
        SIDE_INT("SELECT count(*) FROM requests r JOIN jobs j ON j.id = r.job_id WHERE j.task = "
                 "'request.run' AND j.queue = 'requests' AND j.live AND j.subject = "
                 "r.request_id::text AND j.args ->> 'request_id' = r.request_id::text"),
        n);
    ck_assert_int_eq(SIDE_INT("SELECT count(*) FROM jobs"), n);
}

WORLD_TEST(each_row_has_its_own_outcome)
{
    struct request_row rows[6] = {row_for("CPE"),      keyed("k1", HASH_A), keyed("k1", HASH_A),
                                  keyed("k1", HASH_B), row_for(NULL),       row_for(NULL)};

    agent_put("a1", "CPE", "{}");
    rows[4].new.agent_id = "a1";
    rows[5].new.agent_id = "nobody";
    insert(cx, rows, COUNT(rows),
           "created created replayed idempotency_mismatch created unknown_agent");
    ck_assert_str_eq(rows[2].new.request_id, rows[1].new.request_id);
    ck_assert_str_eq(rows[5].err.pointer, "/agent_id");
    there_are(3);
    ck_assert_int_eq(
        SIDE_INT("SELECT count(*) FROM requests WHERE deadline - created_at = interval '60 s' "
                 "AND status = 'pending' AND admitted_at IS NOT NULL"),
        3);
    return OK;
}

/* A commit in doubt: the same rows again are their own. */
WORLD_TEST(a_batch_finds_itself)
{
    struct request_row rows[3] = {row_for("CPE"), keyed("k1", HASH_A), row_for("switch")}, again[3];

    insert(cx, rows, COUNT(rows), "created created created");
    memcpy(again, rows, sizeof again);
    for (size_t i = 0; i < COUNT(again); i++)
        again[i].made = REQUEST_REFUSED;
    insert(cx, again, COUNT(again), "created created created");
    there_are(3);
    return OK;
}

/* What the database refuses of one is that one's alone. */
WORLD_TEST(only_the_bad_one_hears_of_it)
{
    struct request_row rows[4] = {row_for("CPE"), row_for("CPE"), row_for("CPE"),
                                  keyed("k1", HASH_A)};

    rows[1].new.requested_by = "nobody's id";
    insert(cx, rows, COUNT(rows), "created pg created created");
    there_are(3);
    return OK;
}

/* Secrets are known to be such from the beginning: what the row becomes when it ends is stored with it. */
WORLD_TEST(what_will_be_masked)
{
    struct request_row rows[2] = {row_for("CPE"), row_for("CPE")};
    struct mask *mask;

    ck_ok(mask_new(cx, "/psk", &mask));
    rows[0].new.payload = "{\"psk\":\"secret\",\"port\":12345678901234567890}";
    rows[1].new.payload = "{\"port\":1}";
    rows[0].new.mask = rows[1].new.mask = mask;
    insert(cx, rows, COUNT(rows), "created created");
    mask_free(mask);
    ck_assert_str_eq(SIDE("SELECT concat_ws(' ', command_payload, masked_payload) FROM requests "
                          "WHERE request_id = '%s'",
                          rows[0].new.request_id),
                     "{\"psk\": \"secret\", \"port\": 12345678901234567890} "
                     "{\"psk\": \"***\", \"port\": 12345678901234567890}");
    ck_assert_int_eq(SIDE_INT("SELECT count(*) FROM requests WHERE masked_payload IS NULL"), 1);
    return OK;
}

/* Another shop's key is another key, and its agents are none. */
WORLD_TEST(two_shops)
{
    struct request_row rows[3] = {keyed("k1", HASH_A), keyed("k1", HASH_B), row_for(NULL)};

    agent_put("a1", "CPE", "{}");
    rows[1].new.tenant_id = rows[2].new.tenant_id = TENANT2;
    rows[2].new.agent_id = "a1";
    insert(cx, rows, COUNT(rows), "created created unknown_agent");
    there_are(2);
    return OK;
}

/* Two batches with the same keys in opposite orders wait for each other and do not deadlock. */
struct racer {
    struct request_row rows[8];
    rc result;
};

static rc race(struct cx *cx, void *arg)
{
    struct racer *r = arg;
    struct request_row *list[COUNT(r->rows)];

    for (size_t i = 0; i < COUNT(list); i++)
        list[i] = &r->rows[i];
    r->result = requests_insert(cx, db, list, COUNT(list), NULL);
    return OK;
}

WORLD_TEST(the_same_keys_at_once)
{
    static const char *const keys[] = {"a", "b", "c", "d", "e", "f", "g", "h"};
    struct racer *r = arena_alloc(&cx->arena, 4 * sizeof *r);
    struct fiber *fibers[4];
    size_t created = 0, replayed = 0;

    for (size_t k = 0; k < COUNT(fibers); k++) {
        for (size_t i = 0; i < COUNT(keys); i++)
            r[k].rows[i] = keyed(keys[k % 2 ? i : COUNT(keys) - 1 - i], HASH_A);
        fibers[k] = fiber_spawn(&(struct fiber_opts){.name = "race"}, race, &r[k]);
    }
    for (size_t k = 0; k < COUNT(fibers); k++) {
        rc ended;
        ck_ok(fiber_join(cx, fibers[k], &ended));
        ck_ok(r[k].result);
        for (size_t i = 0; i < COUNT(keys); i++) {
            created += r[k].rows[i].made == REQUEST_CREATED;
            replayed += r[k].rows[i].made == REQUEST_REPLAYED;
        }
    }
    ck_assert_uint_eq(created, 8);
    ck_assert_uint_eq(replayed, 24);
    there_are(8);
    return OK;
}

static Suite *make(void)
{
    Suite *s = suite_create("request_batch");
    TCase *tc = tcase_create("request_batch");

    tcase_add_test(tc, each_row_has_its_own_outcome);
    tcase_add_test(tc, a_batch_finds_itself);
    tcase_add_test(tc, only_the_bad_one_hears_of_it);
    tcase_add_test(tc, what_will_be_masked);
    tcase_add_test(tc, two_shops);
    tcase_add_test(tc, the_same_keys_at_once);
    suite_add_tcase(s, tc);
    return s;
}

int main(void)
{
    return stores_main(&stores, &(struct stores_opts){.no_redis = true}, world_make, make);
}
