/* test_ride.c - a real worker whose claim waits in Redis behind its blocking wait (worker/ride.h): what comes, what goes wrong
 * meanwhile, and that nothing stays leased to nobody. Leases are of an hour: what would only come back when one
 * expires fails its test. */
#include "base/clock.h"
#include "queue/shape/policy.h"
#include "queue/workers.h"
#include "tests/integration/worker_bench.h"
#include <signal.h>
#include <unistd.h>

#define START(b, ...) START_ON(b, Q, "--lease", "1h" __VA_OPT__(, ) __VA_ARGS__)

/* ---------------------------------------------------------------- seen from outside */

/* The worker's blocked connection: what stands behind its wait is still in the query buffer. 0: none is blocked. */
static long blocked(bool *ret_rides)
{
    char *copy = xstrdup(redis_one(stores.redis_url, "CLIENT LIST"));
    long id = 0;

    *ret_rides = false;
    for (char *save = NULL, *line = strtok_r(copy, "\n", &save); line;
         line = strtok_r(NULL, "\n", &save)) {
        const char *unread = strstr(line, " qbuf=");
        if (!strstr(line, "cmd=bzpopmin") || !strstr(line, " flags=b"))
            continue;
        id = atol(strstr(line, "id=") + 3);
        *ret_rides = atol(unread + 6) > 0;
    }
    free(copy);
    return id;
}

static bool rides(void)
{
    bool yes;

    return blocked(&yes) && yes;
}

static bool waits_plainly(void)
{
    bool rides;

    return blocked(&rides) && !rides;
}

static long client(void)
{
    bool rides;

    return blocked(&rides);
}

static bool leased(int n)
{
    return atoi(redis_one(stores.redis_url, "ZCARD mw:{t}:lease")) == n;
}

/* The last ride that brought something brought this job. */
static bool ridden(char c)
{
    const char *note = redis_one(stores.redis_url, "EVAL %s 0",
                                 "local k = redis.call('KEYS', 'mw:{t}:last:*~')[1]; "
                                 "return k and redis.call('GET', k) or ''");

    return note && strstr(note, qid(c));
}

/* A worker that has had its first job rides. */
static void wait_for_ride(struct bench *b)
{
    struct job_new j = job('f', "mihwar.noop", NULL);

    j.durable = false;
    enqueue1(b, j);
    ck_wait(redis_forgot('f') && rides(), 30000);
}

static pid_t child_of(const struct bench *b)
{
    pid_t child = 0;

    ck_wait(proc_children(proc_pid(b->worker), &child, 1) == 1, 10000);
    return child;
}

/* ---------------------------------------------------------------- it brings jobs */

START_TEST(a_job_meets_a_claim_that_is_there)
{
    struct bench b = new_bench();

    START(&b);
    wait_for_ride(&b);
    for (const char *c = "abc"; *c; c++) {
        enqueue1(&b, job(*c, "mihwar.noop", NULL));
        ck_assert(ridden(*c)); /* by the time the push was answered */
        ck_wait(state_is(&b, *c, "completed") && redis_forgot(*c) && rides(), 30000);
    }
    ck_assert(leased(0));
    ck_assert_str_eq(redis_one(stores.redis_url, "HGET mw:{t}:stats done"), "4");
    stop_worker(&b);
}
END_TEST

static const struct {
    const char *title, *concurrency, *queues;
    bool rides;
} rooms[] = {
    {"the smallest room", "4", Q, true},
    {"too little room", "3", Q, false},
    {"two places", "100", Q ",u", false},
};

START_TEST(rides_where_there_is_room)
{
    struct bench b = new_bench();
    struct job_new j[] = {job('a', "mihwar.sleep", "{\"ms\": 60000}"),
                          job('b', "mihwar.sleep", "{\"ms\": 60000}"),
                          job('c', "mihwar.sleep", "{\"ms\": 60000}")};

    START_ON(&b, rooms[_i].queues, "--lease", "1h", "--shutdown-grace", "1s",
             "--worker-concurrency", rooms[_i].concurrency);
    enqueue1(&b, job('f', "mihwar.noop", NULL));
    ck_wait(redis_forgot('f') && (rooms[_i].rides ? rides() : waits_plainly()), 30000);
    enqueue(&b, j, COUNT(j)); /* the first one rides, the pump claims the others */
    ck_wait(leased(3), 30000);
    ck_assert(!rooms[_i].rides || (ridden('a') && !ridden('b') && !ridden('c')));
    stop_worker(&b);
    ck_assert(leased(0));
}
END_TEST

START_TEST(a_flood_never_takes_more_than_there_is_room_for)
{
    enum { ROUNDS = 10, MANY = 60 };
    struct bench b = new_bench();
    struct job_new *j = xcalloc(MANY, sizeof *j);

    for (int i = 0; i < MANY; i++)
        j[i] = (struct job_new){.queue = Q,
                                .task = "mihwar.sleep",
                                .args = "{\"ms\": 3}",
                                .priority = 5,
                                .run_at_ms = i % 5 ? 0 : clock_ms() + 50 * i};
    START(&b, "--worker-concurrency", "8");
    for (int i = 0; i < ROUNDS; i++) {
        enqueue(&b, j, MANY / (1 + (size_t)i));
        for (int k = 0; k < MANY; k++)
            *j[k].id = 0; /* others, the next time */
    }
    ck_wait(atoi(redis_one(stores.redis_url, "HLEN mw:{t}:jobs")) == 0 && leased(0), 60000);
    ck_assert_ptr_null(redis_one(stores.redis_url, "HGET mw:{t}:stats refused"));
    wait_for_ride(&b); /* it is idle again */
    free(j);
    stop_worker(&b);
}
END_TEST

START_TEST(a_scheduled_job_is_on_time)
{
    struct bench b = new_bench();
    struct job_new j = job('a', "mihwar.noop", NULL);

    START(&b);
    wait_for_ride(&b);
    j.run_at_ms = clock_ms() + 500;
    enqueue1(&b, j);
    ck_wait(state_is(&b, 'a', "completed"), 30000);
    ck_assert_int_ge(
        pg_one_int(b.url,
                   "SELECT (extract(epoch FROM started_at) * 1000)::bigint - %lld FROM "
                   "job_attempts",
                   (long long)j.run_at_ms),
        0);
    ck_wait(redis_forgot('a') && rides(), 30000);
    stop_worker(&b);
}
END_TEST

START_TEST(a_ridden_job_can_be_cancelled)
{
    struct bench b = new_bench();
    struct enqueue cancel = {.url = b.url, .cancel = qid('a')};

    START(&b);
    wait_for_ride(&b);
    enqueue1(&b, job('a', "mihwar.sleep", "{\"ms\": 600000}"));
    ck_assert(ridden('a'));
    ck_ok(on_fiber(enqueue_body, &cancel));
    ck_assert(cancel.running);
    ck_wait(state_is(&b, 'a', "cancelled") && leased(0), 30000);
    stop_worker(&b);
}
END_TEST

/* ---------------------------------------------------------------- the queue changes under it */

struct change {
    const struct bench *b;
    const struct queue_policy *policy; /* NULL: pause, or go on */
    bool pause;
};

static rc change_body(struct cx *cx, void *arg)
{
    const struct change *c = arg;
    struct redis *redis;
    struct pg *db;

    ck_ok(redis_new(cx, stores.redis_url, &redis));
    ck_ok(pg_new(cx, c->b->url, 1, &db));
    struct engine *e = engine_new(redis, db);
    ck_ok(c->policy ? engine_policy_set(cx, e, Q, c->policy) : engine_pause(cx, e, Q, c->pause));
    engine_free(e);
    pg_free(db);
    redis_free(redis);
    return OK;
}

START_TEST(a_paused_queue_is_left_alone)
{
    struct bench b = new_bench();

    START(&b);
    wait_for_ride(&b);
    ck_ok(on_fiber(change_body, &(struct change){.b = &b, .pause = true}));
    enqueue1(&b, job('a', "mihwar.noop", NULL));
    redis_one(stores.redis_url, "ZADD mw:{t}:wait 0 m");
    ck_wait(atoi(redis_one(stores.redis_url, "EXISTS mw:{t}:wait")) == 0 && rides(), 30000);
    ck_assert(state_is(&b, 'a', "ready") && leased(0));
    ck_ok(on_fiber(change_body, &(struct change){.b = &b}));
    ck_wait(state_is(&b, 'a', "completed"), 30000);
    stop_worker(&b);
}
END_TEST

static const struct {
    const char *title;
    struct queue_policy policy;
    bool rides; /* afterwards */
} shapes[] = {
    {"fair", {.fair = true}, true},
    {"spread", {.shards = 4}, false},
};

START_TEST(a_queue_changes_its_shape)
{
    struct bench b = new_bench();
    struct job_new *j = xcalloc(40, sizeof *j);

    for (int i = 0; i < 40; i++)
        j[i] = (struct job_new){.queue = Q, .task = "mihwar.noop", .priority = 5, .durable = true};
    START(&b);
    wait_for_ride(&b);
    ck_ok(on_fiber(change_body, &(struct change){.b = &b, .policy = &shapes[_i].policy}));
    enqueue(&b, j, 40);
    ck_wait(pg_one_int(b.url, "SELECT count(*) FROM jobs WHERE state = 'completed'") == 40, 30000);
    for (int i = 0; i < 40; i++)
        *j[i].id = 0; /* others, now that it is known */
    enqueue(&b, j, 40);
    ck_wait(pg_one_int(b.url, "SELECT count(*) FROM jobs WHERE state = 'completed'") == 80, 30000);
    ck_wait(leased(0) && (shapes[_i].rides ? rides() : waits_plainly()), 30000);
    free(j);
    stop_worker(&b);
}
END_TEST

/* ---------------------------------------------------------------- what goes wrong */

enum trouble { KILLED, SCRIPTS_GONE, EMPTIED, RESTARTED, REFUSED };
static const struct {
    const char *title;
    enum trouble what;
} troubles[] = {
    {"its connection is ended", KILLED},
    {"Redis forgets its scripts", SCRIPTS_GONE},
    {"Redis is emptied", EMPTIED},
    {"Redis is restarted", RESTARTED},
    {"a key is of another type for a while", REFUSED},
};

START_TEST(trouble_while_it_rides)
{
    struct bench b = new_bench();

    START(&b);
    wait_for_ride(&b);
    switch (troubles[_i].what) {
    case KILLED:
        redis_one(stores.redis_url, "CLIENT KILL ID %ld", client());
        break;
    case SCRIPTS_GONE:
        redis_one(stores.redis_url, "SCRIPT FLUSH");
        break;
    case EMPTIED:
        redis_one(stores.redis_url, "FLUSHALL");
        break;
    case RESTARTED:
        stores_kill_redis(&stores);
        stores_up_redis(&stores);
        break;
    case REFUSED:
        redis_one(stores.redis_url, "SET mw:{t}:sched nonsense");
        redis_one(stores.redis_url, "ZADD mw:{t}:wait 0 m");
        ck_wait(said(&b, "ev=claim.refused"), 30000);
        redis_one(stores.redis_url, "DEL mw:{t}:sched");
        break;
    }
    for (const char *c = "abc"; *c; c++)
        enqueue1(&b, job(*c, "mihwar.noop", NULL));
    ck_wait(state_is(&b, 'a', "completed") && state_is(&b, 'b', "completed") &&
                state_is(&b, 'c', "completed"),
            60000);
    ck_wait(leased(0) && redis_forgot('a') && redis_forgot('b') && redis_forgot('c'), 30000);
    wait_for_ride(&b);
    ck_assert_int_eq(pg_one_int(b.url, "SELECT count(*) FROM job_attempts"), 3);
    stop_worker(&b);
}
END_TEST

/* Redis handed the job out, and the worker never heard of it. */
START_TEST(a_lost_answer_is_found_in_the_note)
{
    struct bench b = new_bench();
    char armed[80], word[96];

    snprintf(armed, sizeof armed, "%s/ride_lost", support_dir());
    snprintf(word, sizeof word, "ride_lost@%s", armed);
    setenv("MIHWAR_INJECT", word, 1);
    START(&b);
    unsetenv("MIHWAR_INJECT");
    wait_for_ride(&b);
    fclose(fopen(armed, "w"));
    enqueue1(&b, job('a', "mihwar.noop", NULL));
    ck_wait(state_is(&b, 'a', "completed") && leased(0), 30000);
    ck_assert_int_ne(access(armed, F_OK), 0);
    ck_assert(said(&b, "ev=wait.failed"));
    ck_assert_int_eq(atoi(job_says(&b, 'a', "attempt")), 2); /* claimed twice, ... */
    ck_assert_str_eq(job_outcomes(&b, 'a'), "completed");    /* ... run once */
    wait_for_ride(&b);
    stop_worker(&b);
}
END_TEST

/* Claimed for a process that was not looking, and never will. */
START_TEST(a_killed_child_gives_back_what_rode)
{
    struct bench b = new_bench();

    START(&b);
    wait_for_ride(&b);
    pid_t child = child_of(&b);
    kill(child, SIGSTOP);
    enqueue1(&b, job('a', "mihwar.noop", NULL));
    ck_wait(leased(1) && ridden('a'), 30000);
    kill(child, SIGKILL);
    ck_wait(state_is(&b, 'a', "completed") && leased(0), 30000);
    stop_worker(&b);
}
END_TEST

START_TEST(whoever_may_not_end_a_client_does_not_ride)
{
    struct bench b = new_bench();

    redis_one(stores.redis_url, "ACL SETUSER default -client|kill");
    START(&b);
    for (const char *c = "abc"; *c; c++) {
        enqueue1(&b, job(*c, "mihwar.noop", NULL));
        ck_wait(state_is(&b, *c, "completed") && redis_forgot(*c) && waits_plainly(), 30000);
    }
    ck_assert(said(&b, "ev=ride.not_allowed"));
    redis_one(stores.redis_url, "ACL SETUSER default +client|kill");
    stop_worker(&b);
}
END_TEST

/* ---------------------------------------------------------------- leaving */

static const struct {
    const char *title;
    bool stopped; /* the job was claimed, and its answer lies in the socket beside the signal */
    bool late;    /* the signal comes first */
} leaving[] = {
    {"nothing comes", false, true},
    {"a job comes just before the signal", false, false},
    {"a job comes just behind the signal", false, true},
    {"both at once", true, false},
};

/* Whatever came first: nothing stays leased, no attempt is used, and the next worker has the job at once. */
START_TEST(drains_while_it_rides)
{
    struct bench b = new_bench();
    pid_t child;

    START(&b);
    wait_for_ride(&b);
    child = child_of(&b);
    if (leaving[_i].stopped)
        kill(child, SIGSTOP);
    if (leaving[_i].late)
        proc_signal(b.worker, SIGTERM);
    if (_i > 0)
        enqueue1(&b, job('a', "mihwar.noop", NULL));
    if (leaving[_i].stopped)
        ck_wait(leased(1), 30000);
    if (!leaving[_i].late)
        proc_signal(b.worker, SIGTERM);
    if (leaving[_i].stopped) {
        kill(child, SIGTERM);
        kill(child, SIGCONT);
    }
    ck_assert_int_eq(proc_wait(b.worker, 20000), 0);
    ck_assert(!said(&b, "ev=ride.not_settled"));
    b.worker = living = proc_free(b.worker);
    ck_assert(leased(0));
    START(&b);
    ck_wait(said(&b, "ev=worker.ready"), 30000);
    if (_i > 0)
        ck_wait(state_is(&b, 'a', "completed") && leased(0), 30000);
    ck_assert(_i == 0 || strcmp(job_outcomes(&b, 'a'), "completed") == 0);
    stop_worker(&b);
}
END_TEST

static rc wish_body(struct cx *cx, void *arg)
{
    const bool *drain = arg;
    struct worker_info *w;
    struct redis *redis;
    size_t n;

    ck_ok(redis_new(cx, stores.redis_url, &redis));
    struct engine *e = engine_new(redis, NULL);
    do
        ck_ok(workers_list(cx, e, &w, &n));
    while (n == 0 && fiber_sleep(cx, 20) == OK);
    ck_ok(workers_wish(cx, e, w->name, *drain));
    engine_free(e);
    redis_free(redis);
    return OK;
}

START_TEST(a_parked_worker_takes_its_claim_back)
{
    struct bench b = new_bench();

    START(&b, "--worker-beat", "200ms");
    wait_for_ride(&b);
    for (int i = 0; i < 2; i++) {
        ck_ok(on_fiber(wish_body, &(bool){true}));
        ck_wait(client() == 0, 30000);
        enqueue1(&b, job("ab"[i], "mihwar.noop", NULL));
        ck_assert(state_is(&b, "ab"[i], "ready") && leased(0));
        ck_ok(on_fiber(wish_body, &(bool){false}));
        ck_wait(state_is(&b, "ab"[i], "completed") && leased(0), 30000);
        wait_for_ride(&b);
    }
    stop_worker(&b);
}
END_TEST

static Suite *suite(void)
{
    Suite *s = suite_create("ride");
    TCase *tc = bench_case(s, "ride", 60);

    tcase_add_test(tc, a_job_meets_a_claim_that_is_there);
    tcase_add_loop_test(tc, rides_where_there_is_room, 0, COUNT(rooms));
    tcase_add_test(tc, a_flood_never_takes_more_than_there_is_room_for);
    tcase_add_test(tc, a_scheduled_job_is_on_time);
    tcase_add_test(tc, a_ridden_job_can_be_cancelled);
    tcase_add_test(tc, a_paused_queue_is_left_alone);
    tcase_add_loop_test(tc, a_queue_changes_its_shape, 0, COUNT(shapes));
    tcase_add_loop_test(tc, trouble_while_it_rides, 0, COUNT(troubles));
    tcase_add_test(tc, a_lost_answer_is_found_in_the_note);
    tcase_add_test(tc, a_killed_child_gives_back_what_rode);
    tcase_add_test(tc, whoever_may_not_end_a_client_does_not_ride);
    tcase_add_loop_test(tc, drains_while_it_rides, 0, COUNT(leaving));
    tcase_add_test(tc, a_parked_worker_takes_its_claim_back);
    return s;
}

int main(void)
{
    return stores_main_unforked(&stores, NULL, NULL, suite);
}
