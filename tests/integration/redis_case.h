/* redis_case.h - what the tests of the connection share: stores, one connection, rows of tests. */
#pragma once
#include "redis/redis.h"
#include "tests/support/fibers.h"
#include "tests/support/stores.h"
#include <stdlib.h>

static struct stores stores;

static inline void redis_freep(struct redis **r)
{
    *r = redis_free(*r);
}
#define _redis_ _cleanup_(redis_freep) struct redis *

static inline struct redis *open_url(struct cx *cx, const char *url)
{
    struct redis *r = NULL;

    ck_ok(redis_new(cx, url, &r));
    return r;
}

/* The answer as an integer, or a failed test. */
static inline long long ask_int(struct cx *cx, struct redis *r, const char *command)
{
    _cleanup_(redis_reply_freep) redisReply *reply = NULL;

    ck_ok(redis_cmd(cx, r, &reply, command));
    ck_assert_int_eq(reply->type, REDIS_REPLY_INTEGER);
    return reply->integer;
}

static inline rc within(struct cx *cx, int64_t ms, struct redis *r, const char *command)
{
    _cleanup_(cx_deadline_restore) struct cx_deadline d = cx_deadline_within(cx, ms);

    return redis_cmd(cx, r, NULL, command);
}

/* Nine megabytes and fifty thousand elements, there and back, through this door (a URL). */
static inline rc big(struct cx *cx, void *arg)
{
    _redis_ r = open_url(cx, arg);
    _cleanup_(redis_reply_freep) redisReply *text = NULL, *list = NULL;
    size_t n = MiB(9) + 17;
    _cleanup_(freep) char *sent = xmalloc(n);

    for (size_t i = 0; i < n; i++)
        sent[i] = (char)(i * 31 >> 3);
    ck_ok(redis_cmd(cx, r, NULL, "SET big %b", sent, n));
    ck_ok(redis_cmd(cx, r, &text, "GET big"));
    ck_assert_uint_eq(text->len, n);
    ck_assert_mem_eq(text->str, sent, n);
    ck_ok(redis_cmd(cx, r, NULL, "EVAL %s 0",
                    "for i = 1, 50000 do redis.call('RPUSH', 'long', 'element ' .. i) end"));
    ck_ok(redis_cmd(cx, r, &list, "LRANGE long 0 -1"));
    ck_assert_uint_eq(list->elements, 50000);
    ck_assert_str_eq(list->element[49999]->str, "element 50000");
    ck_ok(redis_cmd(cx, r, NULL, "DEL long big"));
    return OK;
}

struct row {
    const char *title;
    const TTest *test;
};

static inline Suite *make_suite(const char *name, const struct row *rows, size_t n)
{
    Suite *s = suite_create(name);

    for (size_t i = 0; i < n; i++) {
        TCase *tc = tcase_create(rows[i].title);
        tcase_add_test(tc, rows[i].test);
        suite_add_tcase(s, tc);
    }
    return s;
}
