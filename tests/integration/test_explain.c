/* test_explain.c - why a job is not being carried out: a row brings about a state and says what is found then. */
#include "base/clock.h"
#include "queue/end.h"
#include "queue/explain.h"
#include "queue/shape/limits.h"
#include "queue/shape/policy.h"
#include "queue/workers.h"
#include "tests/integration/queue_state.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#define TENANT "00000000-0000-4000-8000-00000000000"
#define HOUR   3600000

static void beat(struct cx *cx, struct qtest *t, const char *card)
{
    bool drain;

    ck_ok(workers_beat(cx, t->e, &(struct worker_beat){.name = "host:1", .card = card}, &drain));
}

/* The codes in the order of the findings, the headline in brackets; what does not hinder with a '-'. */
static const char *codes(struct cx *cx, const struct explanation *x)
{
    const char *all = "";

    for (size_t i = 0; i < x->n; i++) {
        const struct finding *f = &x->list[i];
        bool head = f == x->headline;
        all = arena_printf(&cx->arena, "%s%s%s%s%s%s", all, i ? " " : "", head ? "[" : "",
                           f->hinders ? "" : "-", f->code, head ? "]" : "");
    }
    return all;
}

/* ---------------------------------------------------------------- what went before */

static struct job take(struct cx *cx, struct qtest *t)
{
    return qonly(qclaim(cx, t, 1));
}

static void end(struct cx *cx, struct qtest *t, const struct job_end *how)
{
    struct job j = take(cx, t);
    struct lease l = j.lease;
    size_t refused;

    ck_ok(engine_end(cx, t->e, &j, how));
    if (how->outcome == JOB_RETRY || how->outcome == JOB_SNOOZED)
        ck_ok(engine_reschedule(cx, t->e, Q, &l, how->run_at_ms, how->outcome == JOB_SNOOZED));
    else
        ck_ok(engine_ack(cx, t->e, Q, &l, 1, &refused));
    job_release(&j);
}

static void pause_it(struct cx *cx, struct qtest *t)
{
    ck_ok(engine_pause(cx, t->e, Q, true));
}
static void drain_it(struct cx *cx, struct qtest *t)
{
    ck_ok(engine_drain(cx, t->e, Q));
}
static void claimed(struct cx *cx, struct qtest *t)
{
    struct job j = take(cx, t);
    job_release(&j);
}
static void claimed_paused(struct cx *cx, struct qtest *t)
{
    claimed(cx, t);
    pause_it(cx, t);
}
static void cancel_it(struct cx *cx, struct qtest *t)
{
    bool running;
    ck_ok(engine_cancel(cx, t->e, qid('a'), &running));
}
static void claimed_and_cancelled(struct cx *cx, struct qtest *t)
{
    claimed(cx, t);
    cancel_it(cx, t);
}
static void silent(struct cx *cx, struct qtest *t)
{
    claimed(cx, t);
    engine_set_clock(t->e, clock_ms() + HOUR);
}
static void failed(struct cx *cx, struct qtest *t)
{
    end(cx, t,
        &(struct job_end){.outcome = JOB_RETRY,
                          .run_at_ms = clock_ms() + HOUR,
                          .error_code = "os",
                          .error = "no disk"});
}
static void put_off(struct cx *cx, struct qtest *t)
{
    end(cx, t, &(struct job_end){.outcome = JOB_SNOOZED, .run_at_ms = clock_ms() + HOUR});
}
static void completed(struct cx *cx, struct qtest *t)
{
    end(cx, t, &(struct job_end){.outcome = JOB_COMPLETED});
}
static void dead(struct cx *cx, struct qtest *t)
{
    end(cx, t, &(struct job_end){.outcome = JOB_DEAD, .error_code = "os", .error = "no disk"});
}
static void late(struct cx *cx, struct qtest *t)
{
    int64_t n;
    ck_ok(engine_expire(cx, t->e, &n));
    ck_assert_int_eq(n, 1);
}
static void emptied(struct cx *cx, struct qtest *t)
{
    (void)cx, (void)t;
    redis_one(stores.redis_url, "FLUSHALL");
}
static void not_pushed(struct cx *cx, struct qtest *t)
{
    emptied(cx, t);
    redis_one(stores.redis_url, "SET mw:{t}:epoch 1");
}

static void others(struct cx *cx, struct qtest *t, int priority, char tenant, size_t n)
{
    struct job_new j[8] = {0};

    for (size_t i = 0; i < n; i++) {
        j[i] = (struct job_new){.queue = Q,
                                .task = "mihwar.noop",
                                .priority = priority,
                                .tenant_id =
                                    tenant ? arena_printf(&cx->arena, TENANT "%c", tenant) : NULL};
    }
    ck_ok(engine_enqueue(cx, t->e, j, n));
}
static void higher(struct cx *cx, struct qtest *t)
{
    others(cx, t, 9, 0, 3);
}
/* Two came, and 'a' again, behind them. */
static void behind(struct cx *cx, struct qtest *t)
{
    others(cx, t, JOB_PRIORITY, 0, 2);
    redis_one(stores.redis_url, "LMOVE mw:{t}:ready5 mw:{t}:ready5 LEFT RIGHT");
}
static void fair(struct cx *cx, struct qtest *t)
{
    ck_ok(engine_policy_set(cx, t->e, Q, &(struct queue_policy){.fair = true}));
    others(cx, t, JOB_PRIORITY, 'b', 2);
    others(cx, t, JOB_PRIORITY, 'c', 2);
    others(cx, t, 9, 'a', 1);
    claimed(cx, t); /* sorts what came before the policy */
}
static void held(struct cx *cx, struct qtest *t)
{
    (void)cx, (void)t;
    redis_one(stores.redis_url, "LMOVE mw:{t}:ready5 mw:{t}:held:sms LEFT RIGHT");
    redis_one(stores.redis_url, "ZADD mw:{t}:held 2000000000000 sms");
}
/* One is under way, and the queue takes one at a time; the next claim holds 'a' back. */
static void limited(struct cx *cx, struct qtest *t)
{
    const char *q = Q;
    struct job_new first = qjob('b', true);

    first.priority = 9;
    ck_ok(limit_set(cx, t->e, &q, 1, &(struct limit){.key = LIMIT_QUEUE, .concurrency = 1}));
    qenqueue(cx, t, first);
    claimed(cx, t);
    struct claim_result c = qclaim(cx, t, 1);
    ck_assert_uint_eq(c.n, 0);
    claim_result_release(&c);
}
/* 'b' goes first; whether it has begun or not, the next claim holds 'a' back. */
static void keyed_then_held(struct cx *cx, struct qtest *t, const char *queue, bool begins)
{
    struct job_options o = {.limit_key = "sms"};
    struct job_new first = qjob('b', true);
    struct claim_result c;

    first.queue = queue;
    first.priority = 9;
    first.options = &o;
    qenqueue(cx, t, first);
    size_t refused;
    ck_ok(engine_claim(cx, t->e, queue, 1, HOUR, NULL, 0, &c, &refused));
    if (strcmp(queue, Q) != 0 && c.lost) { /* nobody had used it yet */
        claim_result_release(&c);
        ck_ok(engine_recover(cx, t->e, NULL));
        ck_ok(engine_claim(cx, t->e, queue, 1, HOUR, NULL, 0, &c, &refused));
    }
    ck_assert_uint_eq(c.n, begins);
    claim_result_release(&c);
    c = qclaim(cx, t, 1);
    ck_assert_uint_eq(c.n, 0);
    claim_result_release(&c);
}
static void limit_of(struct cx *cx, struct qtest *t, struct limit l)
{
    const char *q = Q;

    ck_ok(limit_set(cx, t->e, &q, 1, &l));
}
static void key_limited(struct cx *cx, struct qtest *t)
{
    limit_of(cx, t, (struct limit){.key = "sms", .concurrency = 1});
    keyed_then_held(cx, t, Q, true);
}
static void key_behind_queue(struct cx *cx, struct qtest *t)
{
    limit_of(cx, t, (struct limit){.key = "sms", .concurrency = 5});
    limit_of(cx, t, (struct limit){.key = LIMIT_QUEUE, .concurrency = 1});
    keyed_then_held(cx, t, Q, true);
}
static void key_shared(struct cx *cx, struct qtest *t)
{
    const char *both[] = {Q, "u"};

    ck_ok(limit_set(cx, t->e, both, 2, &(struct limit){.key = "sms", .concurrency = 1}));
    keyed_then_held(cx, t, "u", true);
}
static void key_rated(struct cx *cx, struct qtest *t)
{
    limit_of(cx, t, (struct limit){.key = "sms", .rate = 1, .per_ms = HOUR, .burst = 1});
    keyed_then_held(cx, t, Q, true);
}
static struct limit breaker(const char *forced)
{
    return (struct limit){.key = "sms",
                          .percent = 50,
                          .least = 2,
                          .window_ms = 10000,
                          .open_ms = 60000,
                          .probes = 1,
                          .forced = forced};
}
static void key_forced_open(struct cx *cx, struct qtest *t)
{
    limit_of(cx, t, breaker("open"));
    keyed_then_held(cx, t, Q, false);
}
static void break_it(struct cx *cx, struct qtest *t)
{
    const char *moved = NULL;

    limit_of(cx, t, breaker(NULL));
    engine_set_clock(t->e, clock_ms()); /* it stands still: the time left is what was set */
    for (int i = 0; i < 2; i++)
        ck_ok(limit_note(cx, t->e, Q, "sms", false, &moved));
    ck_assert_str_eq(moved, "open");
}
static void key_broken(struct cx *cx, struct qtest *t)
{
    break_it(cx, t);
    keyed_then_held(cx, t, Q, false);
}
static void key_half_open(struct cx *cx, struct qtest *t)
{
    break_it(cx, t);
    engine_set_clock(t->e, clock_ms() + 61000);
    keyed_then_held(cx, t, Q, true); /* 'b' is the probe */
}
static void no_worker(struct cx *cx, struct qtest *t)
{
    beat(cx, t,
         "{\"kind\":\"worker\",\"queues\":[{\"name\":\"u\"}],\"tasks\":[\"mihwar.noop\"],"
         "\"concurrency\":1}");
}
static void unknown_task(struct cx *cx, struct qtest *t)
{
    beat(cx, t, "{\"queues\":[{\"name\":\"t\"}],\"tasks\":[\"mihwar.echo\"],\"concurrency\":1}");
}
static void draining_worker(struct cx *cx, struct qtest *t)
{
    beat(cx, t,
         "{\"queues\":[{\"name\":\"t\"}],\"tasks\":[\"mihwar.noop\"],\"concurrency\":1,"
         "\"draining\":true}");
}
static void busy(struct cx *cx, struct qtest *t)
{
    beat(cx, t,
         "{\"queues\":[{\"name\":\"t\"}],\"tasks\":[\"mihwar.noop\"],\"concurrency\":1,"
         "\"running\":1}");
}
static void running_here(struct cx *cx, struct qtest *t)
{
    claimed(cx, t);
    beat(cx, t,
         arena_printf(&cx->arena,
                      "{\"queues\":[{\"name\":\"t\"}],\"tasks\":[\"mihwar.noop\"],\"oldest\":[{"
                      "\"id\":\"%s\",\"started_ms\":1767607872000}]}",
                      qid('a')));
}

/* ---------------------------------------------------------------- the rows */

enum { DURABLE = 1, LATER = 2, LATE = 4, BROKER = 8, KEYED = 16 };
static const struct row {
    const char *title;
    int job; /* of the job that is asked about */
    void (*before)(struct cx *, struct qtest *);
    const char *want, *says; /* in the headline; NULL: whatever */
} rows[] = {
    {"nothing hinders it", DURABLE, NULL, "[next]", "a worker of queue t"},
    {"a broker job", BROKER, NULL, "[next]", NULL},
    {"scheduled", DURABLE | LATER, NULL, "[scheduled]", "It is due at"},
    {"a scheduled broker job", BROKER | LATER, NULL, "[scheduled]", "It is due at"},
    {"paused", DURABLE, pause_it, "[paused]", "mihwar queue resume t"},
    {"paused and scheduled", DURABLE | LATER, pause_it, "[paused] scheduled", NULL},
    {"draining", DURABLE, drain_it, "-draining [next]", NULL},
    {"running", DURABLE, claimed, "[running]", "It is running: attempt 1, leased until"},
    {"a broker job that runs", BROKER, claimed, "[running]", "attempt 1"},
    {"running, its worker is known", DURABLE, running_here, "[running]",
     "on host:1 since 2026-01-05T10:11:12.000Z"},
    {"running in a paused queue", DURABLE, claimed_paused, "[running]", NULL},
    {"cancelled while it runs", DURABLE, claimed_and_cancelled, "[running] cancel_requested", NULL},
    {"the worker is silent", DURABLE, silent, "[lease_over]", "start a worker"},
    {"it failed and is tried again", DURABLE, failed, "[retry]",
     "attempt 2; last error: no disk (os)"},
    {"it put itself off", DURABLE, put_off, "[put_off]", NULL},
    {"completed", DURABLE, completed, "[completed]", "attempt 1"},
    {"dead", DURABLE, dead, "[dead]", "no disk (os). When the cause is gone: 'mihwar job retry"},
    {"a broker job is dead", BROKER, dead, "[dead]", "mihwar dlq replay"},
    {"cancelled", DURABLE, cancel_it, "[cancelled]", "mihwar job retry"},
    {"too late, not cancelled yet", DURABLE | LATE, NULL, "[expired]", "enqueue it anew"},
    {"too late", DURABLE | LATE, late, "[expired]", "enqueue it anew"},
    {"Redis was emptied", DURABLE, emptied, "[rebuilding] no_worker", "is beat running?"},
    {"never pushed", DURABLE, not_pushed, "[not_in_redis] no_worker", "is beat running?"},
    {"never pushed, and scheduled", DURABLE | LATER, not_pushed,
     "[scheduled] not_in_redis no_worker", NULL},
    {"others go first", DURABLE, higher, "[higher_priority]",
     "3 ready jobs of queue t have a higher"},
    {"others came first", DURABLE, behind, "[behind]", "2 ready jobs of the same priority"},
    {"tenants share", DURABLE, fair, "[shared]", "other tenants have ready jobs"},
    {"held back by a limit", DURABLE, held, "[held]", "key sms"},
    {"the queue takes one at a time", DURABLE, limited, "[held]",
     "A limit of queue t holds it back, 0 before it; 1 of 1 at once are under way of the queue; by "
     "00000000-0000-7000-8000-00000000000b. See 'mihwar limit ls'."},
    {"its key takes one at a time", DURABLE | KEYED, key_limited, "[held]",
     "A limit of queue t holds it back (key sms), 0 before it; 1 of 1 at once are under way of the "
     "key; "
     "by 00000000-0000-7000-8000-00000000000b. See"},
    {"its key has room, the queue has none", DURABLE | KEYED, key_behind_queue, "[held]",
     "(key sms), 0 before it; 1 of 1 at once are under way of the queue; by "
     "00000000-0000-7000-8000-00000000000b. See"},
    {"another queue has the slot", DURABLE | KEYED, key_shared, "[held]",
     "; by 00000000-0000-7000-8000-00000000000b of queue u. See"},
    {"its key begins once an hour", DURABLE | KEYED, key_rated, "[held]",
     "(key sms), 0 before it; the rate of the key lets the next begin in 35"},
    {"its key was broken by hand", DURABLE | KEYED, key_forced_open, "[held]",
     "before it; the breaker of the key is open. See"},
    {"its key is broken", DURABLE | KEYED, key_broken, "[held]",
     "before it; the breaker of the key is open for 60 s more. See"},
    {"its key is on probation", DURABLE | KEYED, key_half_open, "[held]",
     "before it; the breaker of the key lets a few begin to see how they end. See"},
    {"nobody serves the queue", DURABLE, no_worker, "[no_worker]",
     "No living worker serves queue t"},
    {"nobody knows the task", DURABLE, unknown_task, "[unknown_task]", "knows task mihwar.noop"},
    {"all workers drain", DURABLE, draining_worker, "[workers_draining]", "mihwar worker resume"},
    {"all slots are taken", DURABLE, busy, "[busy]", "All slots of the 1 workers"},
};

static void fresh(struct cx *cx, struct qtest *t)
{
    ck_ok(engine_pause(cx, t->e, Q, false)); /* it forgets what it has heard of the queue */
    redis_one(stores.redis_url, "FLUSHALL");
    redis_one(stores.redis_url, "SET mw:{t}:epoch 1");
    pg_one(t->database_url,
           "WITH j AS (DELETE FROM jobs), d AS (DELETE FROM dead_letters), "
           "q AS (DELETE FROM queue_states), l AS (DELETE FROM queue_limits) SELECT 1");
    pg_one(t->database_url, "DELETE FROM job_attempts");
    engine_set_clock(t->e, 0);
    beat(cx, t,
         "{\"queues\":[{\"name\":\"t\"}],\"tasks\":[\"mihwar.noop\"],\"concurrency\":2,"
         "\"running\":1}");
}

static void one_row(struct cx *cx, struct qtest *t, const struct row *r)
{
    struct job_options keyed = {.limit_key = "sms"},
                       late_options = {.expires_at_ms = clock_ms() - 1000};
    struct job_new j = qjob('a', (r->job & DURABLE) != 0);
    struct explanation *x;

    fresh(cx, t);
    j.tenant_id = TENANT "a";
    j.run_at_ms = r->job & LATER ? clock_ms() + HOUR : 0;
    j.options = r->job & LATE ? &late_options : r->job & KEYED ? &keyed : NULL;
    qenqueue(cx, t, j);
    if (r->before)
        r->before(cx, t);
    ck_ok(engine_explain(cx, t->e, qid('a'), TENANT "a", &x));
    ck_assert_uint_eq(x->headline->njobs, 0);
    ck_assert_msg(!strstr(x->headline->text, "; by "), "%s", x->headline->text);
    ck_ok(engine_explain(cx, t->e, qid('a'), NULL, &x));
    ck_assert_msg(strcmp(codes(cx, x), r->want) == 0, "%s: %s, not %s (%s)", r->title, codes(cx, x),
                  r->want, x->headline->text);
    if (r->says)
        ck_assert_msg(strstr(x->headline->text, r->says) != NULL, "%s: %s", r->title,
                      x->headline->text);
    ck_rc(engine_explain(cx, t->e, qid('a'), TENANT "b", &x), E_NOT_FOUND);
}

QTEST(reasons, true)
{
    for (size_t i = 0; i < COUNT(rows); i++)
        one_row(cx, t, &rows[i]);
    return OK;
}

/* A place where somebody listens and says nothing. */
static int listen_only(const char *path)
{
    struct sockaddr_un at = {.sun_family = AF_UNIX};
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

    snprintf(at.sun_path, sizeof at.sun_path, "%s", path);
    unlink(path);
    ck_assert(fd >= 0 && bind(fd, (struct sockaddr *)&at, sizeof at) == 0 && listen(fd, 8) == 0);
    return fd;
}

QTEST(without_redis, true)
{
    const char *mute = arena_printf(&cx->arena, "%s/mute.sock", stores.dir);
    const char *urls[] = {"unix:/nonexistent/redis.sock",
                          arena_printf(&cx->arena, "unix:%s", mute)};
    int fd = listen_only(mute);
    struct explanation *x;

    qenqueue(cx, t, qjob('a', true));
    for (size_t i = 0; i < COUNT(urls); i++) {
        _cleanup_(buf_release) struct buf out = BUF(KiB(64));
        struct redis *nowhere;
        ck_ok(redis_new(cx, urls[i], &nowhere));
        struct engine *e = engine_new(nowhere, t->db);
        ck_ok(engine_explain(cx, e, qid('a'), NULL, &x));
        ck_assert_str_eq(codes(cx, x), "[redis_down]");
        explanation_json(x, &out);
        ck_assert_msg(strstr(buf_str(&out), "\"code\":\"redis_down\"") != NULL, "%s",
                      buf_str(&out));
        ck_rc(engine_explain(cx, e, qid('b'), NULL, &x), E_STORE_DOWN);
        ck_assert_msg(strstr(cx->err.text, "PostgreSQL does not know job") != NULL, "%s",
                      cx->err.text);
        engine_free(e);
        redis_free(nowhere);
    }
    close(fd);
    return OK;
}

static Suite *suite(void)
{
    Suite *s = suite_create("explain");
    TCase *tc = tcase_create("explain");

    tcase_add_test(tc, reasons);
    tcase_add_test(tc, without_redis);
    suite_add_tcase(s, tc);
    return s;
}

int main(void)
{
    return stores_main(&stores, NULL, NULL, suite);
}
