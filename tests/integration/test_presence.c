/* test_presence.c - real workers in the register: seen, drained, counted, and there again when Redis
 * was emptied. */
#include "base/clock.h"
#include "queue/counts.h"
#include "queue/workers.h"
#include "tests/integration/worker_bench.h"

#define START(b, ...) START_ON(b, Q, "--worker-beat", "200ms" __VA_OPT__(, ) __VA_ARGS__)

/* ---------------------------------------------------------------- the register, from outside */

struct look {
    rc (*fn)(struct cx *cx, struct engine *e, struct look *l);
    const char *wish;
    bool drain;
    size_t workers;
    char name[WORKER_NAME_MAX], oldest[TASK_NAME_MAX], state[16];
    bool knows_noop, knows_other, serves, serves_other;
    int64_t running, concurrency, completed, dead, took, waited, cpu_us;
};

static rc look_body(struct cx *cx, void *arg)
{
    struct look *l = arg;
    struct redis *redis;

    ck_ok(redis_new(cx, stores.redis_url, &redis));
    struct engine *e = engine_new(redis, NULL);
    rc r = l->fn(cx, e, l);
    engine_free(e);
    redis_free(redis);
    return r;
}

static rc see(struct cx *cx, struct engine *e, struct look *l)
{
    struct worker_info *w;
    struct counts c;

    ck_ok(workers_list(cx, e, &w, &l->workers));
    if (l->workers == 1) {
        snprintf(l->name, sizeof l->name, "%s", w->name);
        snprintf(l->state, sizeof l->state, "%s", worker_state(w));
        snprintf(l->oldest, sizeof l->oldest, "%s", w->noldest ? w->oldest[0].task : "");
        l->running = w->running;
        l->concurrency = w->concurrency;
        l->serves = worker_serves(w, Q);
        l->serves_other = worker_serves(w, "other");
    }
    ck_ok(workers_know(cx, e, Q, "mihwar.noop", &l->knows_noop));
    ck_ok(workers_know(cx, e, Q, "somebody.elses", &l->knows_other));
    ck_ok(counts_read(cx, e, &c));
    for (size_t i = 0; i < c.ntasks; i++) {
        l->completed += c.tasks[i].ends[COUNT_COMPLETED];
        l->dead += c.tasks[i].ends[COUNT_DEAD];
        l->took += histogram_count(&c.tasks[i].took);
    }
    for (size_t i = 0; i < c.nqueues; i++)
        l->waited += histogram_count(&c.queues[i].waited);
    for (size_t i = 0; i < c.nkinds; i++)
        l->cpu_us += c.kinds[i].cpu_us;
    return OK;
}

static struct look look(void)
{
    struct look l = {.fn = see};

    ck_ok(on_fiber(look_body, &l));
    return l;
}

static rc wish_fn(struct cx *cx, struct engine *e, struct look *l)
{
    return workers_wish(cx, e, l->wish, l->drain);
}

static rc wish(const char *name, bool drain)
{
    return on_fiber(look_body, &(struct look){.fn = wish_fn, .wish = name, .drain = drain});
}

static bool claims(const struct bench *b, char c)
{
    return state_is(b, c, "completed");
}

/* ---------------------------------------------------------------- tests */

START_TEST(seen_drained_and_counted)
{
    struct bench b = new_bench();

    START(&b, "--worker-concurrency", "7");
    ck_wait(look().workers == 1, 10000);
    struct look at_first = look();
    ck_assert_str_eq(at_first.state, "up");
    ck_assert_int_eq(at_first.concurrency, 7);
    ck_assert(at_first.serves && !at_first.serves_other);
    ck_assert(at_first.knows_noop && !at_first.knows_other);
    ck_assert_int_eq(wish("nobody:1", true), E_NOT_FOUND);

    /* a job under way, then drained: it ends, the next one is not begun */
    enqueue1(&b, job('a', "mihwar.sleep", "{\"ms\": 2000}"));
    enqueue1(&b, job('b', "mihwar.noop", NULL));

    ck_ok(wish(at_first.name, true));
    ck_wait(strcmp(look().oldest, "mihwar.sleep") == 0, 20000);
    ck_wait(strcmp(look().state, "draining") == 0, 20000);
    ck_assert(claims(&b, 'b'));
    enqueue1(&b, job('d', "mihwar.noop", NULL));
    ck_wait(claims(&b, 'a'), 20000);
    ck_assert_str_eq(pg_one(b.url, "SELECT state FROM jobs WHERE id = '%s'", qid('d')), "ready");

    /* Redis is emptied: the register is written again, the wish is gone with it */
    redis_one(stores.redis_url, "FLUSHALL");
    ck_wait(claims(&b, 'd'), 30000);
    ck_wait(look().workers == 1 && strcmp(look().state, "up") == 0, 20000);

    stop_worker(&b);
    ck_assert_int_eq(look().workers, 0);
}
END_TEST

START_TEST(counts_outlive_their_worker)
{
    struct bench b = new_bench();

    START(&b);
    enqueue1(&b, job('a', "mihwar.noop", NULL));
    enqueue1(&b, job('b', "mihwar.echo", "{\"fail\": \"invalid_field\"}"));
    ck_wait(claims(&b, 'a') && state_is(&b, 'b', "dead"), 10000);
    stop_worker(&b);
    struct look first = look();
    ck_assert_int_eq(first.completed, 1);
    ck_assert_int_eq(first.dead, 1);
    ck_assert_int_eq(first.took, 2);
    ck_assert_int_eq(first.waited, 2);
    ck_assert_int_gt(first.cpu_us, 0);

    START(&b);
    enqueue1(&b, job('c', "mihwar.noop", NULL));
    ck_wait(claims(&b, 'c'), 10000);
    stop_worker(&b);
    struct look second = look();
    ck_assert_int_eq(second.completed, 2);
    ck_assert_int_eq(second.dead, 1);
    ck_assert_int_gt(second.cpu_us, first.cpu_us);
}
END_TEST

/* The answer to a beat was lost and it comes again. */
QTEST(a_batch_is_counted_once, false)
{
    const char *count[] = {"t|t|x|completed", "5"};
    struct worker_beat b = {
        .name = "h:1", .card = "{\"kind\":\"worker\"}", .batch = 3, .count = count, .ncount = 2};
    struct counts c;
    bool drain;

    ck_ok(workers_beat(cx, t->e, &b, &drain));
    ck_ok(workers_beat(cx, t->e, &b, &drain));
    ck_ok(counts_read(cx, t->e, &c));
    ck_assert_int_eq(c.ntasks, 1);
    ck_assert_int_eq(c.tasks[0].ends[COUNT_COMPLETED], 5);
    b.batch = 4;
    ck_ok(workers_beat(cx, t->e, &b, &drain));
    ck_ok(counts_read(cx, t->e, &c));
    ck_assert_int_eq(c.tasks[0].ends[COUNT_COMPLETED], 10);

    /* silent: known by name, without a card */
    struct worker_info *w;
    size_t n;
    redis_one(stores.redis_url, "ZADD mw:{:workers}:seen 1 h:0");
    ck_ok(redis_cmd(cx, t->redis, NULL, "ZINCRBY mw:{:workers}:seen -20000 h:1"));
    ck_ok(workers_list(cx, t->e, &w, &n));
    ck_assert_int_eq(n, 1); /* the other one is silent for longer than an hour */
    ck_assert(w[0].silent && w[0].age_ms >= 20000);
    ck_assert_str_eq(worker_state(&w[0]), "silent");

    /* what is no card of ours is no worker that lives, and no reason to fail */
    static const char *const cards[] = {"", "[", "[]", "{\"queues\":7,\"tasks\":{},\"pid\":\"x\"}"};
    for (size_t i = 0; i < COUNT(cards); i++) {
        b.card = cards[i];
        if (!*b.card)
            continue;
        ck_ok(workers_beat(cx, t->e, &b, &drain));
        ck_ok(workers_list(cx, t->e, &w, &n));
        ck_assert_int_eq(n, 1);
        ck_assert(!worker_serves(&w[0], Q) && !worker_knows(&w[0], "mihwar.noop"));
    }
    return OK;
}

static Suite *suite(void)
{
    Suite *s = suite_create("presence");
    TCase *tc = bench_case(s, "presence", 60);

    tcase_add_test(tc, a_batch_is_counted_once);
    tcase_add_test(tc, seen_drained_and_counted);
    tcase_add_test(tc, counts_outlive_their_worker);
    return s;
}

int main(void)
{
    return stores_main_unforked(&stores, NULL, NULL, suite);
}
