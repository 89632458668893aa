/* queue_state.h - what the engine's tests share: short ids, and the state of every key as one
 * text.
 *
 * Ids are 00000000-0000-7000-8000-00000000000X, shown as X. A state is one line a key of the
 * queue "t", sorted:
 *
 *     jobs a=1.5 b=0.9            id=generation.priority
 *     lease a:1.1.0@31000         token@expiry
 *     ready5 b:0.1.0              from the head on
 *     sched 5c:1.2.0@60000        priority, token@run_at
 *     stats pushed=2
 *     wait m
 *
 * `rate` is shown as the sum of its slots. */
#pragma once
#include "queue/internal.h"
#include "queue/queue.h"
#include "tests/support/fibers.h"
#include "tests/support/stores.h"

#define Q  "t"
#define T0 INT64_C(1000000) /* the tests' clock begins here */

extern struct stores stores;
struct qtest;

const char *qid(char c); /* one of 16 buffers used in turn */
struct job_new qjob(char c, bool durable);
struct lease qlease(const char *token); /* "a:1.1.0" */
void qenqueue(struct cx *cx, struct qtest *t, struct job_new j);
/* At most `max` of queue t, for 30 s. */
struct claim_result qclaim(struct cx *cx, struct qtest *t, size_t max);
/* The one job of a claim, which must be the only one; the caller releases it. */
struct job qonly(struct claim_result c);
/* The state of every key of queue t; of 8 buffers used in turn. */
const char *qstate(void);
#define ck_state(want) ck_assert_str_eq(qstate(), (want))

/* A fresh Redis (FLUSHALL), an engine on it with the clock at T0, on a fiber; with_db: and a
 * freshly migrated database. */
struct qtest {
    struct redis *redis;
    struct pg *db;
    struct engine *e;
    const char *database_url;
};
void qtest_run(bool with_db, rc (*body)(struct cx *cx, struct qtest *t));
#define QTEST(name, with_db)                                                                       \
    static rc name##_body(struct cx *cx, struct qtest *t);                                         \
    START_TEST(name)                                                                               \
    {                                                                                              \
        qtest_run(with_db, name##_body);                                                           \
    }                                                                                              \
    END_TEST                                                                                       \
    static rc name##_body(struct cx *cx, struct qtest *t)
