/* test_schema.c - what PostgreSQL itself refuses, whoever writes: every move of orders, placements
 * and jobs, allowed and forbidden, and the single rules of the schema. */
#include "shop.h"
#include <string.h>

static struct stores stores;

#define SIDE(...) pg_one(stores.database_url, __VA_ARGS__)

/* NULL when the statement was taken, else the server's words. */
static const char *refused(const char *sql)
{
    const char *words = NULL;

    pg_try(stores.database_url, &words, "%s", sql);
    return words && words[0] ? words : NULL;
}

static void tables_empty(void)
{
    SIDE(
        "TRUNCATE product_orders, order_placements, order_events, jobs, job_attempts, dead_letters,"
        " schedules, schedule_firings, idempotency_keys CASCADE");
}

/* ---------------------------------------------------------------- moves: rows from, columns to */

struct moves {
    const char *table;
    const char *const *words;
    const char *const
        *allowed; /* per state: the states that it may go to; itself is always allowed */
    size_t n;
    void (*put)(const char *state);
    const char *(*move)(const char *from, const char *to); /* refused()'s words */
};

static const char *const order_words[] = {"pending",   "sending", "sent",      "unconfirmed",
                                          "completed", "failed",  "cancelled", "review"};
static const char *const order_allowed[] = {
    "sending sent failed cancelled review completed",
    "pending sent unconfirmed completed failed review",
    "pending sending unconfirmed completed failed review",
    "pending sending sent completed failed review",
    "",
    "",
    "",
    "pending sent unconfirmed completed failed",
};

#define ORDER_ID "01900000-0000-7000-8000-0000000000aa"

static bool is_final(const char *s)
{
    return strcmp(s, "completed") == 0 || strcmp(s, "failed") == 0 || strcmp(s, "cancelled") == 0;
}

static void order_put(const char *state)
{
    SIDE("INSERT INTO product_orders (id, tenant_id, product_id, package_id, user_identifier, "
         "status, integration_id,"
         " provider_referans, sent_at, completed_at) VALUES ('" ORDER_ID "', '" TENANT
         "', '" PRODUCT "', '" PACKAGE "', '1', '%s', '" ALPHA "', '1', now(), %s)",
         state, is_final(state) ? "now()" : "NULL");
}

static const char *order_move(const char *from, const char *to)
{
    char sql[400];

    snprintf(sql, sizeof sql,
             "UPDATE product_orders SET status = '%s', version = version + 1, completed_at = %s "
             "WHERE id = '" ORDER_ID "'",
             to,
             is_final(from) && strcmp(from, to) == 0 ? "completed_at"
             : is_final(to)                          ? "now()"
                                                     : "NULL");
    return refused(sql);
}

static const char *const placement_words[] = {"unsent",    "sending", "sent",  "unconfirmed",
                                              "completed", "failed",  "review"};
static const char *const placement_allowed[] = {
    "sending failed completed",
    "unsent sent unconfirmed completed failed review",
    "unconfirmed completed failed review",
    "sending sent completed failed review",
    "",
    "",
    "sent unconfirmed completed failed",
};

static bool placement_final(const char *s)
{
    return strcmp(s, "completed") == 0 || strcmp(s, "failed") == 0;
}

static void placement_put(const char *state)
{
    order_put("sending");
    SIDE("INSERT INTO order_placements (order_id, integration_id, referans, status, sent_at, "
         "ended_at) VALUES ('" ORDER_ID "', '" ALPHA "', '123456789012345678', '%s', now(), %s)",
         state, placement_final(state) ? "now()" : "NULL");
}

static const char *placement_move(const char *from, const char *to)
{
    char sql[300];

    (void)from;
    snprintf(sql, sizeof sql,
             "UPDATE order_placements SET status = '%s', ended_at = %s WHERE order_id = '" ORDER_ID
             "'",
             to, placement_final(to) ? "now()" : "NULL");
    return refused(sql);
}

static const char *const job_words[] = {"ready", "scheduled", "completed", "dead", "cancelled"};
static const char *const job_allowed[] = {"scheduled completed dead cancelled",
                                          "ready completed dead cancelled", "", "", ""};
/* The same under a new generation: what died or was cancelled may be replayed. */
static const char *const replay_allowed[] = {"scheduled completed dead cancelled",
                                             "ready completed dead cancelled", "",
                                             "ready scheduled", "ready scheduled"};

static bool job_ended(const char *s)
{
    return strcmp(s, "ready") != 0 && strcmp(s, "scheduled") != 0;
}

static void job_put(const char *state)
{
    SIDE("INSERT INTO jobs (id, queue, task, state, finished_at) VALUES ('" ORDER_ID
         "', 'q', 't', '%s', %s)",
         state, job_ended(state) ? "now()" : "NULL");
}

static const char *job_move_by(const char *to, int generation)
{
    char sql[300];

    snprintf(sql, sizeof sql,
             "UPDATE jobs SET state = '%s', finished_at = %s, generation = generation + %d", to,
             job_ended(to) ? "now()" : "NULL", generation);
    return refused(sql);
}

static const char *job_move(const char *from, const char *to)
{
    (void)from;
    return job_move_by(to, 0);
}

static const char *job_replay(const char *from, const char *to)
{
    (void)from;
    return job_move_by(to, 1);
}

static const struct moves moves[] = {
    {"product_orders", order_words, order_allowed, COUNT(order_words), order_put, order_move},
    {"order_placements", placement_words, placement_allowed, COUNT(placement_words), placement_put,
     placement_move},
    {"jobs", job_words, job_allowed, COUNT(job_words), job_put, job_move},
    {"jobs, replayed", job_words, replay_allowed, COUNT(job_words), job_put, job_replay},
};

/* Is the word in the list? */
static bool listed(const char *list, const char *word)
{
    size_t n = strlen(word);

    for (const char *p = list; (p = strstr(p, word)); p += n) {
        if ((p == list || p[-1] == ' ') && (p[n] == ' ' || p[n] == '\0'))
            return true;
    }
    return false;
}

START_TEST(it_moves_as_drawn)
{
    const struct moves *m = &moves[_i];

    for (size_t from = 0; from < m->n; from++) {
        for (size_t to = 0; to < m->n; to++) {
            bool want = from == to || listed(m->allowed[from], m->words[to]);
            tables_empty();
            m->put(m->words[from]);
            const char *words = m->move(m->words[from], m->words[to]);
            ck_assert_msg(!words == want, "%s: %s -> %s must be %s, but: %s", m->table,
                          m->words[from], m->words[to], want ? "allowed" : "refused",
                          words ? words : "taken");
        }
    }
}
END_TEST

/* ---------------------------------------------------------------- single rules */

#define ORDER(cols, values)                                                                        \
    "INSERT INTO product_orders (id, tenant_id, product_id, package_id, user_identifier" cols      \
    ") VALUES ('" ORDER_ID "', '" TENANT "', '" PRODUCT "', '" PACKAGE "', '1'" values ")"
#define ORDER2(cols, values)                                                                       \
    "INSERT INTO product_orders (id, tenant_id, product_id, package_id, user_identifier" cols      \
    ") VALUES (gen_random_uuid(), '" TENANT "', '" PRODUCT "', '" PACKAGE "', '1'" values ")"
#define PLACED(more, values)                                                                       \
    "INSERT INTO order_placements (order_id, integration_id, referans" more ") VALUES ('" ORDER_ID \
    "', '" ALPHA "', '" values ")"
#define REF(d) "00000000000000000" #d "'"

/* Texts of so many characters, two bytes each. */
#define LONG_ORDER(player, extra)                                                                  \
    "UPDATE product_orders SET user_identifier = repeat('م', " #player                             \
    "), extra_field = repeat('م', " #extra ")"
#define LONG_JOB(queue, task, key, subject, trace)                                                 \
    "INSERT INTO jobs (id, queue, task, unique_key, subject, trace) VALUES (gen_random_uuid(), "   \
    "repeat('م', " #queue "), repeat('م', " #task "), repeat('م', " #key                           \
    "), repeat('م', " #subject "), repeat('م', " #trace "))"

static const struct {
    const char *title, *before, *sql;
    const char *words; /* part of the refusal; NULL: allowed */
} rules[] = {
    {"an order's texts as long as may be", ORDER("", ""), LONG_ORDER(255, 255), NULL},
    {"a player too long", ORDER("", ""), LONG_ORDER(256, 255), "order_player"},
    {"an extra field too long", ORDER("", ""), LONG_ORDER(255, 256), "order_extra"},
    {"a job's texts as long as may be", NULL, LONG_JOB(64, 128, 255, 128, 128), NULL},
    {"a queue's name too long", NULL, LONG_JOB(65, 128, 255, 128, 128), "job_queue"},
    {"a task's name too long", NULL, LONG_JOB(64, 129, 255, 128, 128), "job_task"},
    {"a job's key too long", NULL, LONG_JOB(64, 128, 256, 128, 128), "job_key"},
    {"a job's subject too long", NULL, LONG_JOB(64, 128, 255, 129, 128), "job_subject"},
    {"a job's trace too long", NULL, LONG_JOB(64, 128, 255, 128, 129), "job_trace"},
    {"a job without a task's name", NULL,
     "INSERT INTO jobs (id, queue, task) VALUES (gen_random_uuid(), 'q', '')", "job_task"},
    {"a job with an empty key", NULL,
     "INSERT INTO jobs (id, queue, task, unique_key) VALUES (gen_random_uuid(), 'q', 't', '')",
     "job_key"},
    {"completed without a time", ORDER("", ""),
     "UPDATE product_orders SET status = 'completed', version = 2", "order_final_has_time"},
    {"a time without an end", ORDER("", ""), "UPDATE product_orders SET completed_at = now()",
     "order_final_has_time"},
    {"sending without a reference", ORDER("", ""),
     "UPDATE product_orders SET status = 'sending', version = 2", "order_placed_has_reference"},
    {"a status without a new version", ORDER("", ""), "UPDATE product_orders SET status = 'review'",
     "may not go"},
    {"a version that goes back", ORDER(", version", ", 3"), "UPDATE product_orders SET version = 2",
     "may not go"},
    {"a PIN before the end", ORDER("", ""), "UPDATE product_orders SET pin_code = 'v1'",
     "order_pin_when_completed"},
    {"an end that moves", ORDER(", status, completed_at", ", 'failed', now()"),
     "UPDATE product_orders SET completed_at = now() + interval '1 s', version = 2", "may not go"},
    {"a note after the end", ORDER(", status, completed_at", ", 'failed', now()"),
     "UPDATE product_orders SET note = 'seen'", NULL},
    {"cost without a currency", ORDER("", ""), "UPDATE product_orders SET cost_amount = 1",
     "order_cost_has_currency"},
    {"an unknown status", NULL, ORDER(", status", ", 'lost'"), "order_states"},
    {"quantity 0", NULL, ORDER(", quantity", ", 0"), "order_quantity"},
    {"an empty player", NULL,
     "INSERT INTO product_orders (id, tenant_id, product_id, package_id, user_identifier) VALUES "
     "(gen_random_uuid(), '" TENANT "', '" PRODUCT "', '" PACKAGE "', '')",
     "order_player"},
    {"a package of another shop", NULL,
     "INSERT INTO product_orders (id, tenant_id, product_id, package_id, user_identifier) VALUES "
     "(gen_random_uuid(), '" TENANT2 "', '" PRODUCT "', '" PACKAGE "', '1')",
     "which does not exist"},
    {"a package that nobody has", NULL,
     "INSERT INTO product_orders (id, tenant_id, product_id, package_id, user_identifier) SELECT "
     "gen_random_uuid(), '" TENANT "', '" PRODUCT "', p, '1' FROM unnest('{" PACKAGE "," ALPHA
     "}'::uuid[]) p",
     "which does not exist"},
    {"an order that goes over to another package", ORDER("", ""),
     "UPDATE product_orders SET package_id = '" ALPHA "', version = 2", "stays an order of"},
    {"an order that goes over to another shop", ORDER("", ""),
     "UPDATE product_orders SET tenant_id = '" TENANT2 "', version = 2", "stays an order of"},
    {"an order that names its package again", ORDER("", ""),
     "UPDATE product_orders SET package_id = package_id", NULL},
    {"a package with orders that is deleted", ORDER("", ""),
     "DELETE FROM package_routing; DELETE FROM package_mappings; DELETE FROM packages",
     "has orders"},
    {"packages without orders that are deleted", NULL,
     "BEGIN; DELETE FROM package_routing; DELETE FROM package_mappings; DELETE FROM "
     "packages; ROLLBACK",
     NULL},
    {"a package with orders that becomes another one", ORDER("", ""),
     "DELETE FROM package_routing; DELETE FROM package_mappings; UPDATE packages SET id = "
     "gen_random_uuid()",
     "has orders"},
    {"packages with orders that are emptied", ORDER("", ""),
     "TRUNCATE packages, package_routing, package_mappings", "packages have orders"},
    {"a job without a queue's name", NULL,
     "INSERT INTO jobs (id, queue, task) VALUES (gen_random_uuid(), '', 't')", "job_queue"},
    {"the same client's reference", ORDER(", reference", ", 'r'"), ORDER2(", reference", ", 'r'"),
     "order_reference"},
    {"the same Idempotency-Key", ORDER(", idempotency_key, body_hash", ", 'k', repeat('0', 64)"),
     ORDER2(", idempotency_key, body_hash", ", 'k', repeat('0', 64)"), "order_idempotency_key"},
    {"a key without its hash", NULL, ORDER(", idempotency_key", ", 'k'"), "order_key_has_hash"},

    {"a second live placement of a unit", ORDER("", ""),
     PLACED("", REF(1) "), ('" ORDER_ID "', '" BETA "', '" REF(2)), "placement_one_live"},
    {"another unit", ORDER(", quantity", ", 2"),
     PLACED(", unit", REF(1) ", 1), ('" ORDER_ID "', '" BETA "', '" REF(2) ", 2"), NULL},
    {"the same reference at one account", ORDER(", quantity", ", 2"),
     PLACED(", unit", REF(1) ", 1), ('" ORDER_ID "', '" ALPHA "', '" REF(1) ", 2"),
     "placement_reference_once"},
    {"the same reference at two accounts", ORDER(", quantity", ", 2"),
     PLACED(", unit", REF(1) ", 1), ('" ORDER_ID "', '" BETA "', '" REF(1) ", 2"), NULL},
    {"a reference that is neither digits nor a UUID", ORDER("", ""), PLACED("", "abc'"),
     "referans_check"},
    {"a PIN of what was not delivered", ORDER("", ""), PLACED(", pin", REF(1) ", 'v1'"),
     "placement_pin_when_completed"},
    {"given up but not failed", ORDER("", ""), PLACED(", gave_up", REF(1) ", true"),
     "placement_gave_up_failed"},
    {"sent without a time", ORDER("", ""), PLACED(", status", REF(1) ", 'sent'"),
     "placement_sent_has_time"},

    {"a second live job of a key",
     "INSERT INTO jobs (id, queue, task, unique_key) VALUES (gen_random_uuid(), 'q', 't', 'k')",
     "INSERT INTO jobs (id, queue, task, unique_key) VALUES (gen_random_uuid(), 'q', 't', 'k')",
     "jobs_unique_key"},
    {"a live job beside an ended one of its key",
     "INSERT INTO jobs (id, queue, task, unique_key, state, finished_at) VALUES "
     "(gen_random_uuid(), 'q', 't', 'k', 'dead', now())",
     "INSERT INTO jobs (id, queue, task, unique_key) VALUES (gen_random_uuid(), 'q', 't', 'k')",
     NULL},
    {"a generation that goes back",
     "INSERT INTO jobs (id, queue, task, generation) VALUES (gen_random_uuid(), 'q', 't', 2)",
     "UPDATE jobs SET generation = 1", "may only be replayed"},
    {"an attempt that goes back",
     "INSERT INTO jobs (id, queue, task, attempt) VALUES (gen_random_uuid(), 'q', 't', 2)",
     "UPDATE jobs SET attempt = 1", "may only be replayed"},
    {"ended without a time",
     "INSERT INTO jobs (id, queue, task) VALUES (gen_random_uuid(), 'q', 't')",
     "UPDATE jobs SET state = 'dead'", "jobs_ended_has_time"},
    {"two dead letters of one death",
     "INSERT INTO dead_letters (job_id, queue, task, args) VALUES ('" ORDER_ID "', 'q', 't', '{')",
     "INSERT INTO dead_letters (job_id, queue, task, args) VALUES ('" ORDER_ID "', 'q', 't', '{}')",
     "dead_letters_once"},
    {"the epoch goes back", NULL, "UPDATE engine_epoch SET epoch = epoch - 1", "epoch"},
    {"a second epoch", NULL, "INSERT INTO engine_epoch (epoch) VALUES (5)", "engine_epoch_pkey"},

    {"both cron and every", NULL,
     "INSERT INTO schedules (id, name, task, cron, every_ms) VALUES (gen_random_uuid(), 'n', 't', "
     "'* * * * *', 1000)",
     "schedules_one_rule"},
    {"neither cron nor every", NULL,
     "INSERT INTO schedules (id, name, task) VALUES (gen_random_uuid(), 'n', 't')",
     "schedules_one_rule"},
    {"a route without a mapping", NULL,
     "INSERT INTO package_routing (tenant_id, package_id, primary_id) VALUES ('" TENANT
     "', '" UNROUTED "', '" ALPHA "')",
     "package_routing_package_id_primary_id_fkey"},
    {"a fallback that is the primary", NULL, "UPDATE package_routing SET fallback_id = primary_id",
     "check"},
    {"a mapping into another shop", NULL,
     "INSERT INTO package_mappings (tenant_id, package_id, integration_id, external_product) "
     "VALUES ('" TENANT2 "', '" UNROUTED "', '" ALPHA "', '1')",
     "foreign key"},
    {"a key that is no hash", NULL,
     "INSERT INTO api_keys (id, tenant_id, name, prefix, hash) VALUES (gen_random_uuid(), '" TENANT
     "', 'k', 'abcdefghijkl', 'plain')",
     "hash_check"},
    {"an open breaker without an end", NULL, "UPDATE integrations SET breaker = 'open'", "check"},
    {"an audit line that changes",
     "INSERT INTO audit_log (actor, action, object_type, object_id) VALUES ('a', 'b', 'c', 'd')",
     "UPDATE audit_log SET actor = 'x'", "append-only"},
    {"an audit line that goes", NULL, "DELETE FROM audit_log", "append-only"},
    {"the audit log emptied", NULL, "TRUNCATE audit_log", "append-only"},
};

START_TEST(it_keeps_its_rules)
{
    tables_empty();
    if (rules[_i].before)
        SIDE("%s", rules[_i].before);
    const char *words = refused(rules[_i].sql);
    if (!rules[_i].words)
        ck_assert_msg(!words, "%s: must be allowed, but: %s", rules[_i].title, words);
    else
        ck_assert_msg(words && strstr(words, rules[_i].words),
                      "%s: must be refused with '%s', but: %s", rules[_i].title, rules[_i].words,
                      words ? words : "taken");
}
END_TEST

START_TEST(a_reference_never_changes)
{
    tables_empty();
    placement_put("sending");
    ck_assert_ptr_nonnull(refused("UPDATE order_placements SET referans = '876543210987654321'"));
    ck_assert_ptr_nonnull(refused("UPDATE order_placements SET integration_id = '" BETA "'"));
    ck_assert_ptr_nonnull(refused("UPDATE order_placements SET unit = 2"));
}
END_TEST

/* What differs only in numbers and ids is one group. */
START_TEST(dead_letters_are_grouped)
{
    tables_empty();
    SIDE("INSERT INTO dead_letters (job_id, queue, task, args, error_code, error) VALUES"
         " (gen_random_uuid(), 'q', 't', '{}', 'store_down', 'order "
         "018f0000-0000-7000-8000-000000000001 after 30 s'),"
         " (gen_random_uuid(), 'q', 't', '{}', 'store_down', 'Order "
         "018f0000-0000-7000-8000-0000000000ff after 7 s'),"
         " (gen_random_uuid(), 'q', 't', '{}', 'deadline', 'order "
         "018f0000-0000-7000-8000-000000000001 after 30 s')");
    ck_assert_int_eq(
        pg_one_int(stores.database_url, "SELECT count(DISTINCT fingerprint) FROM dead_letters"), 2);
}
END_TEST

static Suite *suite(void)
{
    Suite *s = suite_create("schema");
    TCase *tc = tcase_create("all");

    tcase_add_loop_test(tc, it_moves_as_drawn, 0, COUNT(moves));
    tcase_add_loop_test(tc, it_keeps_its_rules, 0, COUNT(rules));
    tcase_add_test(tc, a_reference_never_changes);
    tcase_add_test(tc, dead_letters_are_grouped);
    suite_add_tcase(s, tc);
    return s;
}

int main(void)
{
    return stores_main_unforked(&stores, &(struct stores_opts){.no_redis = true}, shop_make, suite);
}
