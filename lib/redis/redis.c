/* redis.c - who waits for which reply.
 *
 *   unsent: [D][E]             no connection yet: kept until there is one, or until their deadline
 *   sent:   [A: 1][B: 3][C: 1]   in the order of the wire; the next reply is A's, the next three are B's
 *
 * A fiber that gives up while unsent takes its command back. While sent it cannot (bytes are on
 * their way): the wait stays in line without a fiber, and its replies are dropped as they come; so
 * a wait lives on the heap, and what it points to (command, replies) lives on the fiber and is let
 * go with it.
 *
 * When the connection is lost, bytes tell: a command of which nothing left the output buffer waits
 * for the next connection; one that began to leave may have run, and ends as STORE_DOUBT. */
#include "redis/redis.h"
#include "base/clock.h"
#include "base/text.h"
#include "redis/link.h"
#include "rt/fiber.h"
#include <assert.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>

#define PATIENCE_MS 5000 /* of a context without a deadline */

enum wait_state { WAIT_UNSENT, WAIT_SENT, WAIT_DONE, WAIT_LOST };

TAILQ_HEAD(wait_list, wait);
struct wait {
    TAILQ_ENTRY(wait) link;
    enum wait_state state;
    struct fiber *fiber; /* NULL: gave up */
    const char *resp;    /* the fiber's */
    size_t len, want, got;
    redisReply **replies; /* the fiber's, room for want */
    uint64_t at;          /* where its bytes begin on this connection */
    rc code;              /* when LOST */
    char *why;            /* when LOST */
};

struct redis {
    struct link *link;
    struct wait_list unsent, sent;
    uint64_t generation;
    void (*on_connect)(void *);
    void *on_connect_arg;
};

static void wait_free(struct wait *w)
{
    free(w->why);
    free(w);
}

static void drop_replies(redisReply **replies, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        freeReplyObject(replies[i]);
        replies[i] = NULL;
    }
}

static void send_now(struct redis *r, struct wait *w)
{
    w->state = WAIT_SENT;
    w->at = link_written(r->link);
    TAILQ_INSERT_TAIL(&r->sent, w, link);
    link_write(r->link, w->resp, w->len);
}

static void lose(struct wait *w, rc code, const char *why)
{
    w->state = WAIT_LOST;
    w->code = code;
    w->why = xstrdup(why);
    fiber_wake(w->fiber);
}

/* ---------------------------------------------------------------- from the loop */

static void on_ready(void *arg)
{
    struct redis *r = arg;
    struct wait *w;

    r->generation++;
    if (r->on_connect)
        r->on_connect(r->on_connect_arg);
    while ((w = TAILQ_FIRST(&r->unsent))) {
        TAILQ_REMOVE(&r->unsent, w, link);
        send_now(r, w);
    }
}

static void on_reply(void *arg, redisReply *reply)
{
    struct redis *r = arg;
    struct wait *w = TAILQ_FIRST(&r->sent);

    if (!w) { /* nobody asked: RESP2 without subscriptions has no such thing */
        freeReplyObject(reply);
        return;
    }
    if (w->fiber)
        w->replies[w->got] = reply;
    else
        freeReplyObject(reply);
    if (++w->got < w->want)
        return;
    TAILQ_REMOVE(&r->sent, w, link);
    if (w->fiber) {
        w->state = WAIT_DONE;
        fiber_wake(w->fiber);
    } else {
        wait_free(w);
    }
}

static void on_lost(void *arg, uint64_t taken, const char *why)
{
    struct redis *r = arg;
    struct wait *w, *next;

    for (w = TAILQ_FIRST(&r->sent); w; w = next) {
        next = TAILQ_NEXT(w, link);
        TAILQ_REMOVE(&r->sent, w, link);
        if (!w->fiber) {
            wait_free(w);
        } else if (w->at >= taken) {
            w->state = WAIT_UNSENT;
            TAILQ_INSERT_TAIL(&r->unsent, w, link);
        } else {
            lose(w, E_STORE_DOUBT, why);
        }
    }
}

/* ---------------------------------------------------------------- from a fiber */

/* The wait ended without an answer: r is cx's deadline or cancellation. */
static rc give_up(struct cx *cx, struct redis *r, struct wait *w, rc code, bool patience)
{
    const char *shown = link_shown(r->link);

    if (w->state == WAIT_UNSENT) {
        TAILQ_REMOVE(&r->unsent, w, link);
        wait_free(w);
        if (code == E_CANCELLED)
            return fail(cx, CANCELLED, "cancelled while waiting for Redis");
        return fail(cx, STORE_DOWN, "Redis at %s cannot be reached: %s", shown, link_why(r->link));
    }
    drop_replies(w->replies, w->got);
    w->fiber = NULL;
    w->resp = NULL;
    w->replies = NULL;
    if (code == E_CANCELLED)
        return fail(cx, CANCELLED, "cancelled while Redis worked; the command may have run");
    if (patience)
        return fail(cx, STORE_DOUBT,
                    "Redis at %s did not answer within %d ms; the command may have run", shown,
                    PATIENCE_MS);
    return fail(cx, DEADLINE, "Redis at %s did not answer in time; the command may have run",
                shown);
}

static rc finish(struct cx *cx, struct wait *w)
{
    rc r = OK;

    if (w->state == WAIT_LOST) {
        drop_replies(w->replies, w->got);
        r = fail_rc(cx, w->code,
                    w->code == E_STORE_DOUBT
                        ? "Redis was lost before it answered (%s); the command may have run"
                        : "Redis cannot be reached (%s)",
                    w->why);
    }
    wait_free(w);
    return r;
}

/* Sends len bytes and waits for n replies. They are all there or, on failure, none. */
static rc call(struct cx *cx, struct redis *r, const char *resp, size_t len, size_t n,
               redisReply **replies)
{
    bool patience = cx->deadline_mono_ms == 0;
    _cleanup_(cx_deadline_restore) struct cx_deadline d =
        cx_deadline_within(cx, patience ? PATIENCE_MS : INT32_MAX);

    assert(cx->fiber && cx->fiber == fiber_self());
    if (cx->cancelled)
        return fail(cx, CANCELLED, "cancelled before Redis was asked");
    if (cx_left_ms(cx) == 0)
        return fail(cx, DEADLINE, "no time was left to ask Redis");
    memset(replies, 0, n * sizeof *replies);
    if (n == 0)
        return OK;
    struct wait *w = xcalloc(1, sizeof *w);
    w->fiber = cx->fiber;
    w->resp = resp;
    w->len = len;
    w->want = n;
    w->replies = replies;
    link_start(r->link);
    if (link_ready(r->link))
        send_now(r, w);
    else
        TAILQ_INSERT_TAIL(&r->unsent, w, link); /* state is UNSENT */
    while (w->state == WAIT_UNSENT || w->state == WAIT_SENT) {
        rc code = fiber_park(cx);
        if (code != OK && (w->state == WAIT_UNSENT || w->state == WAIT_SENT))
            return give_up(cx, r, w, code, patience);
    }
    return finish(cx, w);
}

/* One command; an error of Redis becomes a failure. Frees text. */
static rc call_one(struct cx *cx, struct redis *r, redisReply **ret, char *text, int len)
{
    _cleanup_(freep) char *mine = text;
    _cleanup_(redis_reply_freep) redisReply *reply = NULL;

    if (len < 0)
        return fail(cx, INTERNAL, "a Redis command cannot be formatted");
    try(call(cx, r, text, (size_t)len, 1, &reply));
    if (reply->type == REDIS_REPLY_ERROR)
        return fail(cx, REDIS, "%s", reply->str);
    if (ret)
        *ret = TAKE_PTR(reply);
    return OK;
}

rc redis_argv(struct cx *cx, struct redis *r, redisReply **ret, int argc, const char **argv,
              const size_t *lens)
{
    char *text = NULL;
    int len = redisFormatCommandArgv(&text, argc, argv, lens);

    return call_one(cx, r, ret, text, len);
}

rc redis_cmd(struct cx *cx, struct redis *r, redisReply **ret, const char *fmt, ...)
{
    char *text = NULL;
    va_list ap;

    va_start(ap, fmt);
    int len = redisvFormatCommand(&text, fmt, ap);
    va_end(ap);
    return call_one(cx, r, ret, text, len);
}

rc redis_pipeline(struct cx *cx, struct redis *r, const char *resp, size_t len, size_t n,
                  redisReply **replies)
{
    return call(cx, r, resp, len, n, replies);
}

void redis_reply_freep(redisReply **p)
{
    freeReplyObject(*p); /* takes NULL */
    *p = NULL;
}

/* ---------------------------------------------------------------- life */

rc redis_new(struct cx *cx, const char *url, struct redis **ret)
{
    static const struct link_events events = {
        .ready = on_ready, .reply = on_reply, .lost = on_lost};
    _cleanup_(redis_url_release) struct redis_url u;
    struct redis *r;

    try(redis_url_parse(cx, url, &u));
    r = xcalloc(1, sizeof *r);
    TAILQ_INIT(&r->unsent);
    TAILQ_INIT(&r->sent);
    rc failed = link_new(cx, &u, &events, r, &r->link);
    if (failed != OK) {
        free(r);
        return failed;
    }
    *ret = r;
    return OK;
}

struct redis *redis_free(struct redis *r)
{
    struct wait *w;

    if (!r)
        return NULL;
    while ((w = TAILQ_FIRST(&r->sent))) {
        TAILQ_REMOVE(&r->sent, w, link);
        if (w->fiber)
            lose(w, E_STORE_DOUBT, "this program closed the connection");
        else
            wait_free(w);
    }
    while ((w = TAILQ_FIRST(&r->unsent))) {
        TAILQ_REMOVE(&r->unsent, w, link);
        lose(w, E_STORE_DOWN, "this program closed the connection");
    }
    link_free(r->link);
    free(r);
    return NULL;
}

bool redis_connected(const struct redis *r)
{
    return link_ready(r->link);
}

uint64_t redis_generation(const struct redis *r)
{
    return r->generation;
}

void redis_on_connect(struct redis *r, void (*fn)(void *), void *arg)
{
    r->on_connect = fn;
    r->on_connect_arg = arg;
}
