/* test_limits.c - limits of keys and queues: rate, how many at once, the breaker; what is held back goes in its order, and a count
 * cannot drift. */
#include "base/json.h"
#include "queue/shape/limits.h"
#include "queue/shape/policy.h"
#include "tests/integration/queue_state.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define OTHER "u"

static void set_in(struct cx *cx, struct qtest *t, const char *const *queues, size_t n,
                   const char *json)
{
    struct limit l;
    cJSON *o;

    ck_ok(json_parse(cx, json, strlen(json), KiB(4), &o));
    ck_ok(limit_read(cx, o, &l));
    ck_ok(limit_set(cx, t->e, queues, n, &l));
}

static void set(struct cx *cx, struct qtest *t, const char *json)
{
    set_in(cx, t, (const char *[]){Q}, 1, json);
}

static void push_to(struct cx *cx, struct qtest *t, const char *queue, char id, const char *key)
{
    struct job_options o = {0};
    struct job_new j = qjob(id, false);

    j.queue = queue;
    if (key) {
        strcpy(o.limit_key, key);
        j.options = &o;
    }
    ck_ok(engine_enqueue(cx, t->e, &j, 1));
}

/* "a:k b:k c" */
static void push_all(struct cx *cx, struct qtest *t, const char *jobs)
{
    char text[256], *save = NULL;

    snprintf(text, sizeof text, "%s", jobs);
    for (char *w = strtok_r(text, " ", &save); w; w = strtok_r(NULL, " ", &save))
        push_to(cx, t, Q, w[0], w[1] == ':' ? w + 2 : NULL);
}

/* Leases in hand, by the letter of their job. */
static struct lease have[128];

/* Acks the jobs of `acks`, claims up to max; the letters that came, sorted as they came. */
static const char *claim_of(struct cx *cx, struct qtest *t, const char *queue, const char *acks,
                            size_t max)
{
    static char came[4][64];
    static unsigned turn;
    char *out = came[turn++ % COUNT(came)];
    struct lease l[64];
    struct claim_result c;
    size_t n = 0, refused;

    for (; acks[n]; n++)
        l[n] = have[(int)acks[n]];
    /* The first answer may only say that the queue is (no longer) a shaped one. */
    ck_ok(engine_claim(cx, t->e, queue, max, 30000, l, n, &c, &refused));
    ck_assert_uint_eq(refused, 0);
    ck_assert(!c.lost);
    for (size_t i = 0; i < c.n; i++) {
        out[i] = c.jobs[i].lease.id[ID_LEN - 1];
        have[(int)out[i]] = c.jobs[i].lease;
    }
    out[c.n] = 0;
    claim_result_release(&c);
    return out;
}
#define ck_claim(acks, max, want) ck_assert_str_eq(claim_of(cx, t, Q, acks, max), want)

static void at(struct qtest *t, int64_t ms)
{
    engine_set_clock(t->e, T0 + ms);
}

static const char *state_of(struct cx *cx, struct qtest *t, const char *key)
{
    static char text[128];
    struct limit_state s;

    ck_ok(limit_look(cx, t->e, Q, key, &s));
    snprintf(text, sizeof text, "held %d, under way %d%s%s", (int)s.held, (int)s.under_way,
             *s.breaker ? ", " : "", s.breaker);
    return text;
}

/* ---------------------------------------------------------------- at once */

QTEST(so_many_of_a_key_at_once, true)
{
    set(cx, t, "{\"key\":\"k\",\"concurrency\":2}");
    push_all(cx, t, "a:k b:k c:k d:other e f:k");
    ck_claim("", 10, "abde"); /* neighbours go on */
    ck_assert_str_eq(state_of(cx, t, "k"), "held 2, under way 2");
    ck_claim("", 10, "");
    ck_claim("de", 10, ""); /* not theirs */
    ck_claim("b", 10, "c"); /* in its order */
    push_all(cx, t, "0:k");
    ck_claim("a", 10, "f"); /* who waits goes before who comes */
    ck_claim("cf", 10, "0");
    ck_claim("0", 10, "");
    ck_assert_str_eq(state_of(cx, t, "k"), "held 0, under way 0");
    return OK;
}

QTEST(a_lost_lease_frees_its_slot, true)
{
    size_t held;

    set(cx, t, "{\"key\":\"k\",\"concurrency\":1}");
    push_all(cx, t, "a:k b:k");
    ck_claim("", 10, "a");
    ck_claim("", 10, "");
    /* Given back by somebody who does not know of limits. */
    ck_ok(engine_return(cx, t->e, Q, &have['a'], 1, &held));
    ck_assert_uint_eq(held, 1);
    at(t, 1500);
    support_nap(
        600); /* the look at who is under way has a pause of its own, by the server's clock */
    ck_claim("", 10, "b");
    ck_claim("b", 10, "a");
    at(t, 60000); /* expired, nobody said so */
    support_nap(600);
    push_all(cx, t, "c:k");
    ck_assert_uint_eq(strlen(claim_of(cx, t, Q, "", 10)), 1);
    return OK;
}

QTEST(the_queue_as_a_whole_and_each_key, true)
{
    set(cx, t, "{\"key\":\"=\",\"concurrency\":3}");
    set(cx, t, "{\"key\":\"*\",\"concurrency\":1}");
    push_all(cx, t, "a:k b:k c:l d:m e f");
    ck_claim("", 10, "acd");
    ck_claim("c", 10, "e"); /* k is full, the queue has one place */
    ck_claim("a", 10, "f");
    ck_claim("edf", 10, "b");
    return OK;
}

/* ---------------------------------------------------------------- rate */

QTEST(a_rate_with_a_burst, true)
{
    set(cx, t, "{\"key\":\"k\",\"rate\":{\"count\":10,\"per_ms\":1000,\"burst\":2}}");
    push_all(cx, t, "a:k b:k c:k d:k e:k f");
    ck_claim("", 10, "abf");
    at(t, 99);
    ck_claim("abf", 10, "");
    at(t, 100);
    ck_claim("", 10, "c");
    at(t, 305); /* d, and one of the burst */
    ck_claim("c", 10, "de");
    return OK;
}

QTEST(a_rate_says_when_to_look_again, true)
{
    struct claim_result c;
    size_t refused;

    set(cx, t, "{\"key\":\"k\",\"rate\":{\"count\":1,\"per_ms\":5000}}");
    push_all(cx, t, "a:k b:k");
    ck_claim("", 10, "a");
    ck_ok(engine_claim(cx, t->e, Q, 10, 30000, NULL, 0, &c, &refused));
    ck_assert_uint_eq(c.n, 0);
    ck_assert(c.next_due_ms > 0);
    claim_result_release(&c);
    at(t, 5000);
    ck_claim("", 10, "b");
    return OK;
}

/* ---------------------------------------------------------------- the breaker */

static void note(struct cx *cx, struct qtest *t, const char *ends, const char *want)
{
    const char *moved = NULL;

    for (; *ends; ends++)
        ck_ok(limit_note(cx, t->e, Q, "k", *ends == '+', &moved));
    ck_assert_pstr_eq(moved, want);
}

#define BREAKER                                                                                    \
    "{\"key\":\"k\",\"breaker\":{\"percent\":50,\"least\":4,\"window_ms\":10000,\"open_ms\":"      \
    "5000,\"probes\":2}}"

QTEST(it_opens_probes_and_closes, true)
{
    set(cx, t, BREAKER);
    push_all(cx, t, "a:k b:k c:k d:k e");
    note(cx, t, "+--", NULL); /* too few */
    ck_claim("", 1, "a");
    note(cx, t, "-", "open");
    ck_claim("", 10, "e");
    ck_assert_str_eq(state_of(cx, t, "k"), "held 3, under way 0, open");
    at(t, 4999);
    ck_claim("a", 10, "");
    at(t, 5000);
    ck_claim("", 10, "bc"); /* two probes */
    ck_assert_str_eq(state_of(cx, t, "k"), "held 1, under way 0, half");
    note(cx, t, "+", NULL);
    ck_claim("b", 10, "");
    note(cx, t, "+", "closed");
    ck_claim("c", 10, "d");
    return OK;
}

QTEST(a_probe_that_fails_opens_it_again, true)
{
    set(cx, t, BREAKER);
    push_all(cx, t, "a:k b:k c:k");
    note(cx, t, "----", "open");
    ck_claim("", 10, "");
    at(t, 5000);
    ck_claim("", 10, "ab");
    note(cx, t, "-", "open");
    at(t, 9999);
    ck_claim("ab", 10, "");
    at(t, 10000);
    ck_claim("", 10, "c");
    return OK;
}

QTEST(probes_that_nobody_heard_of_again, true)
{
    set(cx, t, BREAKER);
    push_all(cx, t, "a:k b:k c:k");
    note(cx, t, "----", "open");
    at(t, 5000);
    ck_claim("", 10, "ab");
    at(t, 9999);
    ck_claim("", 10, "");
    at(t, 10000);
    ck_claim("", 10, "c");
    return OK;
}

QTEST(the_window_slides, true)
{
    set(cx, t, BREAKER);
    note(cx, t, "---", NULL);
    at(t, 12000);
    note(cx, t, "-", NULL); /* the three are forgotten */
    note(cx, t, "+++", NULL);
    note(cx, t, "-", NULL);   /* 2 of 5 */
    note(cx, t, "-", "open"); /* 3 of 6 */
    return OK;
}

QTEST(an_operator_opens_and_closes_it, true)
{
    set(cx, t, BREAKER);
    ck_ok(limit_force(cx, t->e, Q, "k", "open"));
    push_all(cx, t, "a:k b:k");
    ck_claim("", 10, "");
    ck_ok(limit_force(cx, t->e, Q, "k", "closed"));
    note(cx, t, "----", NULL);
    ck_claim("", 1, "a");
    ck_ok(limit_force(cx, t->e, Q, "k", NULL));
    note(cx, t, "----", "open");
    ck_claim("", 1, "");
    ck_rc(limit_force(cx, t->e, Q, "nobody", "open"), E_NOT_FOUND);
    set(cx, t, "{\"key\":\"l\",\"concurrency\":1}");
    ck_rc(limit_force(cx, t->e, Q, "l", "open"), E_CONFLICT);
    return OK;
}

/* ---------------------------------------------------------------- shared, changed, lost */

QTEST(queues_share_a_limit, true)
{
    int64_t jobs;

    set_in(cx, t, (const char *[]){Q, OTHER}, 2, "{\"key\":\"k\",\"concurrency\":1}");
    push_to(cx, t, Q, 'a', "k");
    push_to(cx, t, OTHER, 'b', "k");
    push_to(cx, t, OTHER, 'c', NULL);
    ck_ok(engine_recover(cx, t->e, &jobs)); /* the other one is new */
    ck_claim("", 10, "a");
    ck_assert_str_eq(claim_of(cx, t, OTHER, "", 10), "c");
    redis_one(stores.redis_url, "DEL mw:{" OTHER "}:wait");
    ck_claim("a", 10, "");
    ck_assert_str_eq(redis_one(stores.redis_url, "ZCARD mw:{" OTHER "}:wait"), "1"); /* woken */
    ck_assert_str_eq(claim_of(cx, t, OTHER, "c", 10), "b");
    /* A new one of its own ends the sharing. */
    set(cx, t, "{\"key\":\"k\",\"concurrency\":5}");
    ck_assert_str_eq(pg_one(t->database_url, "SELECT string_agg(queue, ' ') FROM queue_limits"), Q);
    return OK;
}

QTEST(what_is_held_goes_when_the_limit_does, true)
{
    set(cx, t, "{\"key\":\"k\",\"rate\":{\"count\":1,\"per_ms\":86400000}}");
    push_all(cx, t, "a:k b:k c:k");
    ck_claim("", 10, "a");
    ck_claim("", 10, "");
    ck_ok(limit_remove(cx, t->e, Q, "k"));
    ck_claim("a", 10, "bc");
    ck_claim("bc", 10, "");
    push_all(cx, t, "d:k");
    ck_claim("", 10, "d");
    ck_assert_pstr_eq(redis_one(stores.redis_url, "GET mw:{" Q "}:gate"), NULL); /* plain again */
    ck_rc(limit_remove(cx, t->e, Q, "k"), E_NOT_FOUND);
    return OK;
}

QTEST(limits_survive_an_emptied_redis, true)
{
    int64_t jobs;
    struct job_options o = {.limit_key = "k"};
    struct job_new j[] = {qjob('a', true), qjob('b', true)};

    set(cx, t, "{\"key\":\"k\",\"concurrency\":1}");
    j[0].options = j[1].options = &o;
    ck_ok(engine_enqueue(cx, t->e, j, 2));
    ck_claim("", 10, "a");
    redis_one(stores.redis_url, "FLUSHALL");
    engine_set_clock(t->e, 0);
    ck_ok(engine_recover(cx, t->e, &jobs));
    ck_assert_int_eq(jobs, 2);
    ck_assert_uint_eq(strlen(claim_of(cx, t, Q, "", 10)), 1);
    ck_assert_uint_eq(strlen(claim_of(cx, t, Q, "", 10)), 0);
    return OK;
}

/* ---------------------------------------------------------------- what is no limit */

static const struct {
    const char *json, *pointer;
} bad[] = {
    {"{\"key\":\"k\"}", "/rate"},
    {"{\"key\":\"a b\",\"concurrency\":1}", "/key"},
    {"{\"key\":\"k\",\"concurrency\":0}", "/concurrency"},
    {"{\"key\":\"k\",\"rate\":{\"per_ms\":5}}", "/rate/count"},
    {"{\"key\":\"k\",\"rate\":{\"count\":1,\"per_ms\":0}}", "/rate/per_ms"},
    {"{\"key\":\"k\",\"breaker\":{\"percent\":101}}", "/breaker/percent"},
    {"{\"key\":\"k\",\"breaker\":{\"forced\":\"ajar\"}}", "/breaker/forced"},
    {"{\"key\":\"=\",\"breaker\":{}}", "/breaker"},
};

QTEST(what_limits_nothing_is_refused, true)
{
    for (size_t i = 0; i < COUNT(bad); i++) {
        struct limit l;
        cJSON *o;
        ck_ok(json_parse(cx, bad[i].json, strlen(bad[i].json), KiB(4), &o));
        ck_rc(limit_read(cx, o, &l), E_INVALID_FIELD);
        ck_assert_str_eq(cx->err.pointer, bad[i].pointer);
    }
    return OK;
}

static Suite *suite(void)
{
    Suite *s = suite_create("limits");
    TCase *tc = tcase_create("limits");

    tcase_add_test(tc, so_many_of_a_key_at_once);
    tcase_add_test(tc, a_lost_lease_frees_its_slot);
    tcase_add_test(tc, the_queue_as_a_whole_and_each_key);
    tcase_add_test(tc, a_rate_with_a_burst);
    tcase_add_test(tc, a_rate_says_when_to_look_again);
    tcase_add_test(tc, it_opens_probes_and_closes);
    tcase_add_test(tc, a_probe_that_fails_opens_it_again);
    tcase_add_test(tc, probes_that_nobody_heard_of_again);
    tcase_add_test(tc, the_window_slides);
    tcase_add_test(tc, an_operator_opens_and_closes_it);
    tcase_add_test(tc, queues_share_a_limit);
    tcase_add_test(tc, what_is_held_goes_when_the_limit_does);
    tcase_add_test(tc, limits_survive_an_emptied_redis);
    tcase_add_test(tc, what_limits_nothing_is_refused);
    suite_add_tcase(s, tc);
    return s;
}

int main(void)
{
    return stores_main(&stores, NULL, NULL, suite);
}
