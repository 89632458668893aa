/* test_order_gather.c - many ends of checks in one transaction leave the same rows as each of them alone; who is stale, late or
 * more than an answer says so and takes nobody along. */
#include "domain/orders/order_create.h"
#include "domain/orders/order_gather.h"
#include "queue/end.h"
#include "redis/redis.h"
#include "shop.h"
#include <stdlib.h>
#include <string.h>

static struct stores stores;

#define SIDE(...) pg_one(stores.database_url, __VA_ARGS__)
#define KINDS     9

/* One order of each kind, twice: `way` 0 is gathered with the others, 1 ends alone. */
static const struct kind {
    const char *title;
    enum order_answer answer;
    int quantity; /* a second unit is under way */
    const char *status, *note, *pin, *callback;
    enum { AS_IT_WAS, PLACEMENT_ENDED, NEWER_ATTEMPT } meanwhile;
    bool snooze, may_leave;
    rc want;
} kinds[KINDS] = {
    {"delivered, with a PIN and a callback", ORDER_ANSWER_DONE, 1, "sent", "said", "PIN-1",
     "http://x.example/", AS_IT_WAS, false, false, OK},
    {"delivered without a PIN", ORDER_ANSWER_DONE, 1, "unconfirmed", "said", NULL, NULL, AS_IT_WAS,
     false, false, OK},
    {"still open, news", ORDER_ANSWER_OPEN, 1, "unconfirmed", "new words", NULL, NULL, AS_IT_WAS,
     true, true, OK},
    {"still open, no news", ORDER_ANSWER_OPEN, 1, "sent", NULL, NULL, NULL, AS_IT_WAS, true, true,
     OK},
    {"no answer, news", ORDER_ANSWER_NOTHING, 1, "sent", "busy", NULL, NULL, AS_IT_WAS, true, true,
     OK},
    {"one of two units, the other one is asked again", ORDER_ANSWER_DONE, 2, "sent", "said",
     "PIN-1", NULL, AS_IT_WAS, true, true, OK},
    {"one of two units, and the job would end", ORDER_ANSWER_DONE, 2, "sent", "said", "PIN-1", NULL,
     AS_IT_WAS, false, false, E_CONFLICT},
    {"an operator was first", ORDER_ANSWER_DONE, 1, "sent", "said", "PIN-1", NULL, PLACEMENT_ENDED,
     false, false, E_CONFLICT},
    {"another attempt has the job", ORDER_ANSWER_DONE, 1, "sent", "said", "PIN-1", NULL,
     NEWER_ATTEMPT, false, false, E_STALE_ATTEMPT},
};

struct one {
    const struct kind *k;
    char order[ID_LEN + 1], job_id[ID_LEN + 1];
    struct order_gather *g;
    struct pg *db;
    struct seal_keys *seal;
    struct fiber *fiber;
    struct job job;
    struct job_end end;
    struct placement p;
};

static void prepare(struct one *o, int kind, int way)
{
    const struct kind *k = o->k;

    snprintf(o->order, sizeof o->order, "01900000-0000-7000-8000-0000000a%02d%02d", way, kind);
    snprintf(o->job_id, sizeof o->job_id, "01900000-0000-7000-8000-0000000b%02d%02d", way, kind);
    SIDE("INSERT INTO product_orders (id, tenant_id, product_id, package_id, user_identifier, "
         "quantity, status, callback_url, "
         "integration_id, provider, provider_referans, sent_at, attempts, version) VALUES "
         "('%s', '" TENANT "', '" PRODUCT "', '" PACKAGE "', '511', %d, '%s', %s%s%s, '" ALPHA
         "', 'alpha', '1000000000000000%d%d', now(), 1, 3)",
         o->order, k->quantity, k->status, k->callback ? "'" : "",
         k->callback ? k->callback : "NULL", k->callback ? "'" : "", way, kind);
    for (int unit = 1; unit <= k->quantity; unit++)
        SIDE("INSERT INTO order_placements (order_id, unit, integration_id, call_token, referans, "
             "status, sent_at) VALUES "
             "('%s', %d, '" ALPHA "', 7, '100000000000000%d%d%d', '%s', now())",
             o->order, unit, unit, way, kind, k->status);
    SIDE("INSERT INTO jobs (id, queue, task, args, state, run_at, priority, max_attempts, "
         "timeout_ms, subject, tenant_id) VALUES "
         "('%s', 'orders', 'order.check', '{}', 'ready', now(), 5, 20, 1000, '%s', '" TENANT "')",
         o->job_id, o->order);
    if (k->meanwhile == NEWER_ATTEMPT)
        SIDE("UPDATE jobs SET attempt = 5 WHERE subject = '%s'", o->order);
    if (k->meanwhile == PLACEMENT_ENDED)
        SIDE("UPDATE order_placements SET status = 'failed', gave_up = true, ended_at = now() "
             "WHERE order_id = '%s'",
             o->order);
    o->p = (struct placement){
        .order_id = o->order,
        .unit = 1,
        .integration_id = ALPHA,
        .status = PLACEMENT_SENT,
        .id = pg_one_int(stores.database_url,
                         "SELECT id FROM order_placements WHERE order_id = '%s' AND unit = 1",
                         o->order)};
    o->job = (struct job){.lease = {.generation = 1, .claim = 1},
                          .queue = "orders",
                          .task = "order.check",
                          .durable = true};
    memcpy(o->job.lease.id, o->job_id, sizeof o->job_id);
    o->end = (struct job_end){.outcome = k->snooze ? JOB_SNOOZED : JOB_COMPLETED,
                              .run_at_ms = k->snooze ? INT64_C(4102444800000) : 0,
                              .worker = "w",
                              .started_ms = 1};
}

static struct provider_words words(const struct one *o)
{
    return (struct provider_words){.external_status = o->k->note ? "1" : NULL,
                                   .note = o->k->note,
                                   .cost = "-10.12",
                                   .currency = "TRY"};
}

static rc gathered(struct cx *cx, void *arg)
{
    struct one *o = arg;
    struct provider_words w = words(o);
    const struct order order = {.id = o->order, .callback_url = o->k->callback};

    return order_gather_end(cx, o->g,
                            &(struct order_ending){.order = &order,
                                                   .p = &o->p,
                                                   .answer = o->k->answer,
                                                   .w = &w,
                                                   .pin = o->k->pin,
                                                   .seal = o->seal,
                                                   .actor = "order.check",
                                                   .job = &o->job,
                                                   .end = &o->end,
                                                   .may_leave = o->k->may_leave});
}

static rc alone_tx(struct cx *cx, struct pg_tx *tx, void *arg)
{
    struct one *o = arg;
    struct provider_words w = words(o);
    const struct order_step st = {.tx = tx, .seal = o->seal, .actor = "order.check"};
    int left;

    try(engine_end_tx(cx, tx, &o->job, &o->end));
    try(o->k->answer == ORDER_ANSWER_DONE   ? order_answer_done(cx, &st, &o->p, &w, o->k->pin)
        : o->k->answer == ORDER_ANSWER_OPEN ? order_answer_open(cx, &st, &o->p, &w)
                                            : order_answer_nothing(cx, &st, &o->p, &w));
    return order_check_left(cx, &st, o->order, &left);
}

/* Everything that an end leaves, without what two orders cannot have in common. */
static char *rows_left(const struct one *o)
{
    return pg_table(stores.database_url,
                    "SELECT o.status, o.note, o.cost_amount, o.cost_currency, o.version, "
                    "o.attempts, o.external_status, o.provider, o.pin_code IS NOT NULL,"
                    " o.completed_at IS NOT NULL, o.sent_at IS NOT NULL,"
                    " (SELECT string_agg(concat_ws(' ', p.unit, p.status, p.note, "
                    "p.external_status, p.cost_amount, p.cost_currency, p.asked, p.calls,"
                    "   p.gave_up, p.call_token, p.pin IS NOT NULL, p.ended_at IS NOT NULL, "
                    "p.asked_at IS NOT NULL), '; ' ORDER BY p.unit)"
                    "   FROM order_placements p WHERE p.order_id = o.id),"
                    " (SELECT string_agg(concat_ws(' ', e.kind, e.status, e.unit, e.provider, "
                    "e.actor, e.detail), '; ' ORDER BY e.id)"
                    "   FROM order_events e WHERE e.order_id = o.id),"
                    " (SELECT string_agg(concat_ws(' ', j.task, j.queue, j.state, j.attempt, "
                    "j.snoozes, j.priority, replace(j.unique_key, o.id::text, 'ID'),"
                    "   replace(j.args::text, o.id::text, 'ID'), j.finished_at IS NOT NULL, "
                    "j.tenant_id, j.subject = o.id::text), '; ' ORDER BY j.task)"
                    "   FROM jobs j WHERE j.subject = o.id::text),"
                    " (SELECT string_agg(concat_ws(' ', a.attempt, a.outcome, a.worker), '; ') "
                    "FROM job_attempts a JOIN jobs j ON j.id = a.job_id"
                    "   WHERE j.subject = o.id::text)"
                    " FROM product_orders o WHERE o.id = '%s'",
                    o->order);
}

static rc both_ways(struct cx *cx, void *arg)
{
    struct one many[KINDS] = {0}, each[KINDS] = {0};
    _cleanup_(freep) char *before[KINDS] = {0};
    struct redis *redis;
    struct pg *db;
    struct seal_keys *seal;

    (void)arg;
    try(redis_new(cx, stores.redis_url, &redis));
    try(pg_new(cx, stores.database_url, 4, &db));
    try(seal_keys_load(cx, "k1:000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f",
                       &seal));
    struct engine *e = engine_new(redis, db);
    struct order_gather *g = order_gather_new(db, e);
    for (int i = 0; i < KINDS; i++) {
        many[i].k = each[i].k = &kinds[i];
        prepare(&many[i], i, 0);
        prepare(&each[i], i, 1);
        many[i].g = g;
        many[i].seal = each[i].seal = seal;
        before[i] = rows_left(&many[i]);
    }
    for (int i = 0; i < KINDS; i++)
        many[i].fiber = fiber_spawn(&(struct fiber_opts){.name = "check"}, gathered, &many[i]);
    for (int i = 0; i < KINDS; i++) {
        rc got;
        try(fiber_join(cx, many[i].fiber, &got));
        ck_assert_msg(got == kinds[i].want, "%s: %s", kinds[i].title,
                      got ? error_info(got)->code : "ok");
    }
    for (int i = 0; i < KINDS; i++) {
        if (kinds[i].want == OK)
            ck_ok(pg_tx_run(cx, db, alone_tx, &each[i]));
        char *a = rows_left(&many[i]), *b = kinds[i].want == OK ? rows_left(&each[i]) : before[i];
        ck_assert_msg(strcmp(a, b) == 0, "%s:\n%s%s", kinds[i].title, a, b);
        free(a);
        if (b != before[i])
            free(b);
        free(before[i]);
        before[i] = NULL;
    }
    order_gather_free(g);
    engine_free(e);
    seal_keys_free(seal);
    pg_free(db);
    redis_free(redis);
    return OK;
}

START_TEST(the_same_rows)
{
    ck_ok(on_fiber(both_ways, NULL));
}
END_TEST

static Suite *suite(void)
{
    Suite *s = suite_create("order_gather");
    TCase *tc = tcase_create("all");

    tcase_set_timeout(tc, 60);
    tcase_add_test(tc, the_same_rows);
    suite_add_tcase(s, tc);
    return s;
}

int main(void)
{
    return stores_main(&stores, NULL, shop_make, suite);
}
