/* test_shards.c - one queue over several shards: to everybody outside it is one. Its jobs are spread and claimed from all
 * of them, its switches and counts mean all of them, their number changes under a running worker, and a Redis that
 * loses all of them, or one, is mended. */
#include "base/clock.h"
#include "base/json.h"
#include "queue/explain.h"
#include "queue/keys.h"
#include "queue/outbox.h"
#include "queue/shape/limits.h"
#include "queue/shape/policy.h"
#include "queue/shape/room.h"
#include "queue/shards.h"
#include "redis/slots.h"
#include "tests/integration/worker_bench.h"
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void spread(struct cx *cx, struct qtest *t, int shards)
{
    ck_ok(engine_policy_set(cx, t->e, Q, &(struct queue_policy){.shards = shards}));
}

/* Key `word` of a shard of t. */
static const char *key(struct cx *cx, int shard, enum queue_key word)
{
    struct queue_keys *k = arena_alloc(&cx->arena, sizeof *k);
    char place[PLACE_NAME_MAX + 1];

    memset(k, 0, sizeof *k);
    ck_ok(queue_keys_make(cx, place_name(Q, shard, place), k));
    return k->name[word];
}

static int64_t jobs_in(struct cx *cx, int shard)
{
    return atoll(redis_one(stores.redis_url, "HLEN %s", key(cx, shard, QK_JOBS)));
}

static void push_many(struct cx *cx, struct qtest *t, size_t n, bool durable)
{
    struct job_new *jobs = xcalloc(n, sizeof *jobs);

    for (size_t i = 0; i < n; i++)
        jobs[i] = (struct job_new){
            .queue = Q, .task = "mihwar.noop", .durable = durable, .priority = JOB_PRIORITY};
    for (size_t i = 0; i < n; i += QUEUE_BATCH)
        ck_ok(engine_enqueue(cx, t->e, jobs + i, MIN(n - i, (size_t)QUEUE_BATCH)));
    free(jobs);
}

/* Claims one place dry and ends what it gave in both stores; how many. */
static size_t drain_place(struct cx *cx, struct qtest *t, int shard)
{
    char place[PLACE_NAME_MAX + 1];
    size_t all = 0, refused;

    place_name(Q, shard, place);
    for (;;) {
        struct claim_result c;
        struct lease leases[100];
        ck_ok(engine_claim(cx, t->e, place, 100, 30000, NULL, 0, &c, &refused));
        ck_assert(!c.lost);
        size_t n = c.n;
        for (size_t i = 0; i < n; i++) {
            ck_assert_str_eq(c.jobs[i].queue, Q);
            ck_assert_str_eq(c.jobs[i].place, place);
            leases[i] = c.jobs[i].lease;
            if (t->db)
                pg_one(t->database_url,
                       "UPDATE jobs SET state = 'completed', finished_at = now(), attempt = %d "
                       "WHERE id = '%s' AND live",
                       leases[i].claim, leases[i].id);
        }
        claim_result_release(&c);
        ck_ok(engine_ack(cx, t->e, place, leases, n, &refused));
        ck_assert_uint_eq(refused, 0);
        all += n;
        if (n == 0)
            return all;
    }
}

static struct queue_stats stats(struct cx *cx, struct qtest *t)
{
    struct queue_stats *s;
    size_t n;

    ck_ok(engine_queues(cx, t->e, &s, &n));
    ck_assert_uint_eq(n, 1);
    ck_assert_str_eq(s[0].name, Q);
    return s[0];
}

/* ---------------------------------------------------------------- names */

START_TEST(shards_lie_around_the_slots)
{
    static const char *const queues[] = {"t", "mail", "orders", "a.very-long_name.of.a.queue"};
    _cleanup_(cx_release) struct cx cx = CX_PLAIN("test");

    for (size_t q = 0; q < COUNT(queues); q++) {
        bool taken[QUEUE_SHARDS_MAX] = {0};
        int home = slot_of_key(queues[q], strlen(queues[q]));
        for (int shard = 0; shard < QUEUE_SHARDS_MAX; shard++) {
            struct queue_keys k = {0};
            char place[PLACE_NAME_MAX + 1];
            ck_ok(queue_keys_make(&cx, place_name(queues[q], shard, place), &k));
            ck_assert_str_eq(k.base, queues[q]);
            ck_assert_int_eq(k.shard, shard);
            int slot = slot_of_key(k.name[QK_JOBS], k.len[QK_JOBS]);
            ck_assert_int_eq(slot, slot_of_key(k.name[QK_WORDS], k.len[QK_WORDS]));
            int sector = (slot - home + SLOTS) % SLOTS * QUEUE_SHARDS_MAX / SLOTS;
            ck_assert(!taken[sector]);
            taken[sector] = true;
            if (shard == 3) /* the first four: one in each quarter */
                ck_assert(taken[0] && taken[4] && taken[8] && taken[12]);
        }
    }
}
END_TEST

static const char *const no_places[] = {"",     "#1",    "t#",  "t#0", "t#16",
                                        "t#01", "t#1#2", "T#1", "t#x", "t#-1"};

START_TEST(no_place)
{
    _cleanup_(cx_release) struct cx cx = CX_PLAIN("test");
    struct queue_keys k;

    ck_rc(queue_keys_make(&cx, no_places[_i], &k), E_INVALID_FIELD);
    ck_rc(job_new_check(&cx, &(struct job_new){.queue = "t#1", .task = "mihwar.noop"}),
          E_INVALID_FIELD);
}
END_TEST

/* ---------------------------------------------------------------- one queue */

QTEST(a_plain_queue_has_one_place, true)
{
    push_many(cx, t, 50, false);
    ck_assert_int_eq(jobs_in(cx, 0), 50);
    ck_assert_str_eq(redis_one(stores.redis_url, "EXISTS mw:{t}:gate"), "0");
    ck_assert_int_eq(stats(cx, t).shards, 1);
    return OK;
}

QTEST(jobs_are_spread_and_counted_as_one, true)
{
    spread(cx, t, 4);
    push_many(cx, t, 400, true);
    push_many(cx, t, 400, false);
    for (int shard = 0; shard < 4; shard++)
        ck_assert_int_gt(jobs_in(cx, shard), 100); /* of 800 */
    ck_assert_int_eq(stats(cx, t).ready, 800);
    ck_assert_int_eq(stats(cx, t).shards, 4);
    ck_assert_int_eq(stats(cx, t).pushed, 800);
    size_t all = 0;
    for (int shard = 0; shard < 4; shard++)
        all += drain_place(cx, t, shard);
    ck_assert_uint_eq(all, 800);
    ck_assert_int_eq(stats(cx, t).done, 800);
    ck_assert_int_eq(pg_one_int(t->database_url, "SELECT count(*) FROM jobs WHERE live"), 0);
    return OK;
}

QTEST(switches_mean_all_of_it, true)
{
    int64_t purged;

    spread(cx, t, 4);
    push_many(cx, t, 100, true);
    push_many(cx, t, 100, false);
    ck_ok(engine_pause(cx, t->e, Q, true));
    ck_assert(stats(cx, t).paused);
    for (int shard = 0; shard < 4; shard++)
        ck_assert_uint_eq(drain_place(cx, t, shard), 0);
    ck_ok(engine_drain(cx, t->e, Q));
    struct job_new one = {.queue = Q, .task = "mihwar.noop", .priority = JOB_PRIORITY};
    ck_rc(engine_enqueue(cx, t->e, &one, 1), E_QUEUE_FULL);
    ck_ok(engine_pause(cx, t->e, Q, false));
    ck_ok(engine_purge(cx, t->e, Q, &purged));
    ck_assert_int_eq(purged, 200);
    ck_assert_int_eq(stats(cx, t).ready, 0);
    ck_assert_int_eq(pg_one_int(t->database_url, "SELECT count(*) FROM jobs WHERE live"), 0);
    return OK;
}

/* Each job is found wherever it lies: cancelled, shown, explained. */
QTEST(a_job_is_found_in_its_shard, true)
{
    struct job_new jobs[24] = {0};
    bool running;

    spread(cx, t, 4);
    for (size_t i = 0; i < COUNT(jobs); i++)
        jobs[i] = (struct job_new){
            .queue = Q, .task = "mihwar.noop", .durable = i % 2, .priority = JOB_PRIORITY};
    ck_ok(engine_enqueue(cx, t->e, jobs, COUNT(jobs)));
    for (size_t i = 0; i < COUNT(jobs); i++) {
        struct explanation *x;
        ck_ok(engine_explain(cx, t->e, jobs[i].id, NULL, &x));
        ck_assert_str_eq(x->job.queue, Q);
        ck_assert_str_eq(x->job.state, "ready");
        ck_assert_str_eq(x->headline->code, "no_worker");
        ck_ok(engine_cancel(cx, t->e, jobs[i].id, &running));
        ck_assert(!running);
    }
    for (int shard = 0; shard < 4; shard++)
        ck_assert_int_eq(jobs_in(cx, shard), 0);
    return OK;
}

/* What must be in one place is in the queue's own, and a bound counts all of them. */
QTEST(what_belongs_together_stays_together, true)
{
    struct job_options account = {.limit_key = "account"};

    spread(cx, t, 4);
    for (int i = 0; i < 40; i++) {
        char name[16];
        snprintf(name, sizeof name, "key%d", i / 2);
        struct job_new unique = {
            .queue = Q, .task = "mihwar.noop", .priority = 5, .unique_key = name};
        struct job_new limited = {
            .queue = Q, .task = "mihwar.noop", .priority = 5, .options = &account};
        ck_ok(engine_enqueue(cx, t->e, &unique, 1));
        ck_assert_int_eq(unique.existed, i % 2);
        ck_ok(engine_enqueue(cx, t->e, &limited, 1));
    }
    ck_assert_int_eq(jobs_in(cx, 0), 60);
    for (int shard = 1; shard < 4; shard++)
        ck_assert_int_eq(jobs_in(cx, shard), 0);
    const char *q = Q;
    ck_rc(limit_set(cx, t->e, &q, 1, &(struct limit){.key = LIMIT_QUEUE, .concurrency = 1}),
          E_CONFLICT);
    ck_ok(limit_set(cx, t->e, &q, 1, &(struct limit){.key = "account", .concurrency = 1}));
    spread(cx, t, 1);
    return OK;
}

QTEST(a_limit_of_the_queue_keeps_it_in_one_piece, true)
{
    const char *q = Q;

    ck_ok(limit_set(cx, t->e, &q, 1, &(struct limit){.key = LIMIT_QUEUE, .concurrency = 1}));
    ck_rc(engine_policy_set(cx, t->e, Q, &(struct queue_policy){.shards = 2}), E_CONFLICT);
    return OK;
}

QTEST(a_bound_counts_all_shards, true)
{
    struct job_new one = {.queue = Q, .task = "mihwar.noop", .priority = JOB_PRIORITY};

    ck_ok(engine_policy_set(cx, t->e, Q, &(struct queue_policy){.shards = 4, .max_length = 100}));
    push_many(cx, t, 60, false);
    push_many(cx, t, 40, true);
    ck_rc(engine_enqueue(cx, t->e, &one, 1), E_QUEUE_FULL);
    ck_assert_uint_gt(drain_place(cx, t, 3), 0);
    one.id[0] = 0;
    ck_ok(engine_enqueue(cx, t->e, &one, 1));
    return OK;
}

/* ---------------------------------------------------------------- another number of shards */

/* A producer that has not heard of it goes on as before, and learns by what it is told. */
QTEST(a_producer_learns_of_more_and_of_fewer, true)
{
    struct job_new jobs[100] = {0};
    struct engine *late = engine_new(t->redis, t->db);
    size_t i;

    for (i = 0; i < COUNT(jobs); i++)
        jobs[i] = (struct job_new){.queue = Q, .task = "mihwar.noop", .priority = JOB_PRIORITY};
    ck_ok(engine_push(cx, late, jobs, 10));
    spread(cx, t, 4);
    ck_ok(engine_push(cx, late, jobs + 10, 10)); /* to the only place that it knows */
    ck_assert_int_eq(jobs_in(cx, 0), 20);
    ck_ok(engine_push(cx, late, jobs + 20, 40));
    ck_assert_int_lt(jobs_in(cx, 0), 60);
    int64_t before = jobs_in(cx, 0);
    spread(cx, t, 1);
    ck_ok(engine_push(cx, late, jobs + 60, 40)); /* some are turned away, and find their way */
    ck_assert_int_eq(jobs_in(cx, 0), before + 40);
    ck_assert_int_eq(stats(cx, t).ready, 100);
    engine_free(late);
    return OK;
}

/* A job that was pushed before the number changed is not pushed a second time, into another shard. */
QTEST(a_second_push_goes_where_the_first_went, true)
{
    int64_t pushed, dropped;

    spread(cx, t, 4);
    push_many(cx, t, 200, true);
    spread(cx, t, 2);
    spread(cx, t, 16);
    pg_one(t->database_url, "INSERT INTO job_outbox (job_id) SELECT id FROM jobs");
    ck_ok(outbox_empty(cx, t->e, &pushed));
    ck_assert_int_eq(stats(cx, t).ready, 200);
    ck_ok(engine_sweep(cx, t->e, 0, &pushed, &dropped));
    ck_assert_int_eq(pushed, 0);
    size_t all = 0;
    for (int shard = 0; shard < 16; shard++)
        all += drain_place(cx, t, shard);
    ck_assert_uint_eq(all, 200);
    return OK;
}

static int held(struct qtest *t)
{
    return (int)pg_one_int(t->database_url,
                           "SELECT shards_held FROM queue_states WHERE queue = 't'");
}

/* Closed shards are claimed from until they are empty, and then no longer looked at. */
QTEST(closed_shards_go_when_they_are_empty, true)
{
    spread(cx, t, 4);
    push_many(cx, t, 100, false);
    spread(cx, t, 2);
    ck_assert_int_eq(held(t), 4);
    ck_ok(engine_gates_copy(cx, t->e)); /* too soon: somebody may not have heard of it */
    pg_one(t->database_url, "UPDATE queue_states SET updated_at = now() - interval '1 hour'");
    ck_assert_uint_gt(drain_place(cx, t, 2), 0);
    ck_ok(engine_gates_copy(cx, t->e));
    ck_assert_int_eq(held(t), 4); /* the last one is not empty */
    ck_assert_uint_gt(drain_place(cx, t, 3), 0);
    ck_ok(engine_gates_copy(cx, t->e));
    ck_assert_int_eq(held(t), 2);
    push_many(cx, t, 100, true); /* and are there again when they are wanted */
    spread(cx, t, 4);
    push_many(cx, t, 100, true);
    ck_assert_int_gt(jobs_in(cx, 3), 0);
    size_t all = 0;
    for (int shard = 0; shard < 4; shard++)
        all += drain_place(cx, t, shard);
    ck_assert_int_eq(pg_one_int(t->database_url, "SELECT count(*) FROM jobs WHERE live"), 0);
    return OK;
}

/* ---------------------------------------------------------------- Redis is lost */

QTEST(an_emptied_redis_is_rebuilt_over_the_shards, true)
{
    int64_t jobs;

    engine_set_clock(t->e, 0); /* rows have the time of day */
    spread(cx, t, 4);
    push_many(cx, t, 400, true);
    redis_one(stores.redis_url, "FLUSHALL");
    ck_ok(engine_recover(cx, t->e, &jobs));
    ck_assert_int_eq(jobs, 400);
    for (int shard = 0; shard < 4; shard++)
        ck_assert_int_gt(jobs_in(cx, shard), 50);
    ck_assert_int_eq(stats(cx, t).ready, 400);
    push_many(cx, t, 10, true);
    ck_assert_int_eq(stats(cx, t).ready, 410);
    return OK;
}

/* One shard is lost with its node: its jobs come back, and nobody else's are touched. */
QTEST(a_lost_shard_is_rebuilt_alone, true)
{
    int64_t jobs, lost;
    size_t refused;
    struct claim_result c;

    engine_set_clock(t->e, 0); /* rows have the time of day */
    spread(cx, t, 4);
    push_many(cx, t, 400, true);
    pg_one(t->database_url, "UPDATE jobs SET updated_at = now() - interval '1 minute'");
    ck_ok(engine_claim(cx, t->e, "t#1", 1, 30000, NULL, 0, &c, &refused));
    ck_assert_uint_eq(c.n, 1);
    lost = jobs_in(cx, 2);
    for (int word = 0; word < QK_COUNT; word++)
        redis_one(stores.redis_url, "DEL %s", key(cx, 2, (enum queue_key)word));
    ck_ok(engine_recover(cx, t->e, &jobs));
    ck_assert_int_eq(jobs, lost);
    ck_assert_int_eq(pg_one_int(t->database_url, "SELECT count(*) FROM jobs WHERE generation = 2"),
                     lost);
    ck_ok(
        engine_ack(cx, t->e, "t#1", &c.jobs[0].lease, 1, &refused)); /* it is still its holder's */
    ck_assert_uint_eq(refused, 0);
    claim_result_release(&c);
    ck_assert_int_eq(stats(cx, t).ready, 399);
    return OK;
}

QTEST(the_epoch_is_advanced_in_all_shards, true)
{
    spread(cx, t, 4);
    for (int i = 0; i < 5; i++)
        ck_ok(engine_epoch_advance(cx, t->e));
    for (int shard = 0; shard < 4; shard++)
        ck_assert_int_eq(atoll(redis_one(stores.redis_url, "GET %s", key(cx, shard, QK_EPOCH))),
                         pg_one_int(t->database_url, "SELECT epoch FROM engine_epoch"));
    return OK;
}

/* ---------------------------------------------------------------- a real worker */

struct change {
    const char *url;
    int shards;
};

static rc change_body(struct cx *cx, void *arg)
{
    struct change *c = arg;
    struct redis *redis;
    struct pg *db;

    ck_ok(redis_new(cx, stores.redis_url, &redis));
    ck_ok(pg_new(cx, c->url, 1, &db));
    struct engine *e = engine_new(redis, db);
    ck_ok(engine_policy_set(cx, e, Q, &(struct queue_policy){.shards = c->shards}));
    engine_free(e);
    pg_free(db);
    redis_free(redis);
    return OK;
}

static void change(struct bench *b, int shards)
{
    ck_ok(on_fiber(change_body, &(struct change){b->url, shards}));
}

static void enqueue_some(struct bench *b, size_t n, const char *task)
{
    struct job_new *j = xcalloc(n, sizeof *j);

    for (size_t i = 0; i < n; i++)
        j[i] = (struct job_new){.queue = Q, .task = task, .priority = 5, .durable = true};
    enqueue(b, j, n);
    free(j);
}

static int64_t live(const struct bench *b)
{
    return pg_one_int(b->url, "SELECT count(*) FROM jobs WHERE live");
}

static void books(const struct bench *b, int64_t all)
{
    ck_wait(live(b) == 0, 60000);
    ck_assert_int_eq(pg_one_int(b->url, "SELECT count(*) FROM jobs WHERE state = 'completed'"),
                     all);
    ck_assert_int_eq(pg_one_int(b->url, "SELECT count(*) FROM job_attempts"), all);
}

/* Each change comes while jobs wait and run; every job is carried out, and none a second time. */
START_TEST(the_number_changes_under_a_running_worker)
{
    static const int numbers[] = {4, 1, 8, 2, 16, 3};
    struct bench b = new_bench();
    int64_t all = 0;

    START_ON(&b, "aa,t", "--worker-processes", "2", "--worker-concurrency", "8");
    for (size_t i = 0; i < COUNT(numbers); i++) {
        enqueue_some(&b, 200, "mihwar.noop");
        change(&b, numbers[i]);
        enqueue_some(&b, 200, "mihwar.noop");
        all += 400;
    }
    books(&b, all);
    ck_assert(said(&b, "ev=queue.spread"));
    stop_worker(&b);
}
END_TEST

static int started(const struct bench *b, const char *task, pid_t *ret_pid)
{
    _cleanup_(freep) char *log = proc_log(b->worker);
    int n = 0;

    for (char *save = NULL, *line = strtok_r(log, "\n", &save); line;
         line = strtok_r(NULL, "\n", &save))
        if (strstr(line, "ev=job.started") && strstr(line, task)) {
            n++;
            *ret_pid = (pid_t)atoi(strstr(line, " pid=") + 5);
        }
    return n;
}

/* What a killed child held comes back at once, whichever shard it was of: no lease ends by itself here. */
START_TEST(a_killed_child_gives_back_all_shards)
{
    enum { MANY = 24 };
    struct bench b = new_bench();
    struct job_new j[MANY] = {0};
    pid_t child = 0;

    START_ON(&b, "t", "--lease", "1h", "--worker-concurrency", "40");
    change(&b, 4);
    enqueue_some(&b, 40, "mihwar.noop");
    for (int i = 0; i < MANY; i++)
        j[i] = (struct job_new){.queue = Q,
                                .task = "mihwar.sleep",
                                .args = "{\"ms\": 2000}",
                                .priority = 5,
                                .durable = true,
                                .max_attempts = 3};
    enqueue(&b, j, MANY);
    ck_wait(started(&b, "task=mihwar.sleep", &child) == MANY, 60000);
    ck_assert_int_gt(child, 1);
    kill(child, SIGKILL);
    ck_wait(live(&b) == 0, 60000);
    ck_assert_int_eq(pg_one_int(b.url, "SELECT count(*) FROM jobs WHERE state = 'completed'"),
                     MANY + 40);
    stop_worker(&b);
}
END_TEST

/* Everything that Redis had is gone, under load. */
START_TEST(redis_is_flushed_under_load)
{
    struct bench b = new_bench();

    START_ON(&b, "t", "--worker-concurrency", "4");
    change(&b, 4);
    enqueue_some(&b, 500, "mihwar.noop");
    redis_one(stores.redis_url, "FLUSHALL");
    enqueue_some(&b, 500, "mihwar.noop");
    ck_wait(live(&b) == 0, 60000);
    ck_assert_int_eq(pg_one_int(b.url, "SELECT count(*) FROM jobs WHERE state = 'completed'"),
                     1000);
    ck_assert_int_eq(
        pg_one_int(b.url, "SELECT count(*) FROM job_attempts WHERE outcome = 'completed'"), 1000);
    stop_worker(&b);
}
END_TEST

static Suite *suite(void)
{
    Suite *s = suite_create("shards");
    TCase *tc = tcase_create("shards");

    tcase_add_test(tc, shards_lie_around_the_slots);
    tcase_add_loop_test(tc, no_place, 0, COUNT(no_places));
    tcase_add_test(tc, a_plain_queue_has_one_place);
    tcase_add_test(tc, jobs_are_spread_and_counted_as_one);
    tcase_add_test(tc, switches_mean_all_of_it);
    tcase_add_test(tc, a_job_is_found_in_its_shard);
    tcase_add_test(tc, what_belongs_together_stays_together);
    tcase_add_test(tc, a_limit_of_the_queue_keeps_it_in_one_piece);
    tcase_add_test(tc, a_bound_counts_all_shards);
    tcase_add_test(tc, a_producer_learns_of_more_and_of_fewer);
    tcase_add_test(tc, a_second_push_goes_where_the_first_went);
    tcase_add_test(tc, closed_shards_go_when_they_are_empty);
    tcase_add_test(tc, an_emptied_redis_is_rebuilt_over_the_shards);
    tcase_add_test(tc, a_lost_shard_is_rebuilt_alone);
    tcase_add_test(tc, the_epoch_is_advanced_in_all_shards);
    tcase_add_test(tc, the_number_changes_under_a_running_worker);
    tcase_add_test(tc, a_killed_child_gives_back_all_shards);
    tcase_add_test(tc, redis_is_flushed_under_load);
    tcase_add_checked_fixture(tc, NULL, kill_living);
    suite_add_tcase(s, tc);
    return s;
}

int main(void)
{
    return stores_main(&stores, NULL, NULL, suite);
}
