/* wire.c - who waits for which reply.
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
#include "redis/wire.h"
#include "base/clock.h"
#include "base/text.h"
#include "redis/link.h"
#include "redis/redis.h"
#include "redis/sentinel.h"
#include "rt/fiber.h"
#include <assert.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>

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

struct wire {
    struct link *link;
    struct sentinel *sentinel; /* NULL: it is where the URL says */
    struct wait_list unsent, sent;
    uint64_t generation;
    int64_t client_id; /* of the connection made last */
    void (*ready)(void *);
    void *arg;
    void (*push)(void *, const redisReply *);
    void *push_arg;
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

static void send_now(struct wire *c, struct wait *w)
{
    w->state = WAIT_SENT;
    w->at = link_written(c->link);
    TAILQ_INSERT_TAIL(&c->sent, w, link);
    link_write(c->link, w->resp, w->len);
}

static void lose(struct wait *w, rc code, const char *why)
{
    w->state = WAIT_LOST;
    w->code = code;
    w->why = xstrdup(why);
    fiber_wake(w->fiber);
}

/* ---------------------------------------------------------------- from the loop */

static void on_ready(void *arg, int64_t client_id)
{
    struct wire *c = arg;
    struct wait *w;

    c->client_id = client_id;
    c->generation++;
    if (c->sentinel)
        sentinel_reached(c->sentinel);
    if (c->ready)
        c->ready(c->arg);
    while ((w = TAILQ_FIRST(&c->unsent))) {
        TAILQ_REMOVE(&c->unsent, w, link);
        send_now(c, w);
    }
}

/* In RESP2 what a subscription brings looks like a reply. */
static bool is_push(const redisReply *reply)
{
    if (reply->type != REDIS_REPLY_ARRAY || reply->elements < 3 ||
        reply->element[0]->type != REDIS_REPLY_STRING)
        return false;
    return str_eq(reply->element[0]->str, "message") || str_eq(reply->element[0]->str, "pmessage");
}

static void on_reply(void *arg, redisReply *reply)
{
    struct wire *c = arg;
    struct wait *w = TAILQ_FIRST(&c->sent);

    if (c->push && is_push(reply)) {
        c->push(c->push_arg, reply);
        freeReplyObject(reply);
        return;
    }
    if (!w) { /* nobody asked */
        freeReplyObject(reply);
        return;
    }
    if (w->fiber)
        w->replies[w->got] = reply;
    else
        freeReplyObject(reply);
    if (++w->got < w->want)
        return;
    TAILQ_REMOVE(&c->sent, w, link);
    if (w->fiber) {
        w->state = WAIT_DONE;
        fiber_wake(w->fiber);
    } else {
        wait_free(w);
    }
}

static void on_lost(void *arg, uint64_t taken, const char *why)
{
    struct wire *c = arg;
    struct wait *w, *next;

    for (w = TAILQ_FIRST(&c->sent); w; w = next) {
        next = TAILQ_NEXT(w, link);
        TAILQ_REMOVE(&c->sent, w, link);
        if (!w->fiber) {
            wait_free(w);
        } else if (w->at >= taken) {
            w->state = WAIT_UNSENT;
            TAILQ_INSERT_TAIL(&c->unsent, w, link);
        } else {
            lose(w, E_STORE_DOUBT, why);
        }
    }
}

/* ---------------------------------------------------------------- from a fiber */

/* The wait ended without an answer: r is cx's deadline or cancellation. */
static rc give_up(struct cx *cx, struct wire *c, struct wait *w, rc code, bool patience)
{
    const char *shown = link_shown(c->link);

    if (w->state == WAIT_UNSENT) {
        TAILQ_REMOVE(&c->unsent, w, link);
        wait_free(w);
        if (code == E_CANCELLED)
            return fail(cx, CANCELLED, "cancelled while waiting for Redis");
        return fail(cx, STORE_DOWN, "Redis at %s cannot be reached: %s", shown, link_why(c->link));
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

/* Until the reply, or until a command that has not left yet has waited for long enough. */
static rc park(struct cx *cx, const struct wait *w, int64_t unsent_until_mono_ms)
{
    if (w->state != WAIT_UNSENT || !unsent_until_mono_ms)
        return fiber_park(cx);
    _cleanup_(cx_deadline_restore) _unused_ struct cx_deadline d =
        cx_deadline_within(cx, MAX(unsent_until_mono_ms - clock_mono_ms(), 0));
    return fiber_park(cx);
}

rc wire_call(struct cx *cx, struct wire *c, const char *resp, size_t len, size_t n,
             redisReply **replies, struct wire_limits limits)
{
    int64_t unsent_until = limits.unsent_ms ? clock_mono_ms() + limits.unsent_ms : 0;

    assert(cx->fiber && cx->fiber == fiber_self());
    memset(replies, 0, n * sizeof *replies);
    if (cx->cancelled)
        return fail(cx, CANCELLED, "cancelled before Redis was asked");
    if (cx_left_ms(cx) == 0)
        return fail(cx, DEADLINE, "no time was left to ask Redis");
    if (n == 0)
        return OK;
    struct wait *w = xcalloc(1, sizeof *w);
    w->fiber = cx->fiber;
    w->resp = resp;
    w->len = len;
    w->want = n;
    w->replies = replies;
    link_start(c->link);
    if (link_ready(c->link))
        send_now(c, w);
    else
        TAILQ_INSERT_TAIL(&c->unsent, w, link); /* state is UNSENT */
    while (w->state == WAIT_UNSENT || w->state == WAIT_SENT) {
        rc code = park(cx, w, unsent_until);
        bool over = code == E_CANCELLED || (code == E_DEADLINE && cx_left_ms(cx) == 0) ||
                    (code == E_DEADLINE && w->state == WAIT_UNSENT);
        if (over && (w->state == WAIT_UNSENT || w->state == WAIT_SENT))
            return give_up(cx, c, w, code, limits.patience);
    }
    return finish(cx, w);
}

/* ---------------------------------------------------------------- where */

static void on_locate(void *arg)
{
    struct wire *c = arg;

    sentinel_ask(c->sentinel);
}

static void on_found(void *arg, const char *host, int port)
{
    struct wire *c = arg;

    link_located(c->link, host, port);
}

static void on_not_found(void *arg, const char *why)
{
    struct wire *c = arg;

    link_not_located(c->link, why);
}

/* ---------------------------------------------------------------- life */

static rc open_by_url(struct cx *cx, struct redis_url *u, bool any_role, struct wire *c)
{
    static const struct link_events plain = {.ready = on_ready, .reply = on_reply, .lost = on_lost};
    static const struct link_events asking = {
        .ready = on_ready, .reply = on_reply, .lost = on_lost, .locate = on_locate};
    static const struct sentinel_events answers = {.found = on_found, .failed = on_not_found};

    if (u->kind != REDIS_SENTINEL)
        return link_new(cx, u, any_role, &plain, c, &c->link);
    try(sentinel_new(cx, u, &answers, c, &c->sentinel));
    for (size_t i = 0; i < u->nplaces; i++)
        free(u->places[i].host);
    free(u->places);
    u->places = NULL;
    u->nplaces = 0;
    return link_new(cx, u, any_role, &asking, c, &c->link);
}

rc wire_new(struct cx *cx, struct redis_url *u, bool any_role, void (*ready)(void *), void *arg,
            struct wire **ret)
{
    struct wire *c = xcalloc(1, sizeof *c);

    TAILQ_INIT(&c->unsent);
    TAILQ_INIT(&c->sent);
    c->ready = ready;
    c->arg = arg;
    rc r = open_by_url(cx, u, any_role, c);
    if (r != OK) {
        sentinel_free(c->sentinel);
        free(c);
        return r;
    }
    *ret = c;
    return OK;
}

struct wire *wire_free(struct wire *c)
{
    struct wait *w;

    if (!c)
        return NULL;
    while ((w = TAILQ_FIRST(&c->sent))) {
        TAILQ_REMOVE(&c->sent, w, link);
        if (w->fiber)
            lose(w, E_STORE_DOUBT, "this program closed the connection");
        else
            wait_free(w);
    }
    while ((w = TAILQ_FIRST(&c->unsent))) {
        TAILQ_REMOVE(&c->unsent, w, link);
        lose(w, E_STORE_DOWN, "this program closed the connection");
    }
    sentinel_free(c->sentinel);
    link_free(c->link);
    free(c);
    return NULL;
}

void wire_start(struct wire *c)
{
    link_start(c->link);
}

bool wire_ready(const struct wire *c)
{
    return link_ready(c->link);
}

bool wire_idle(const struct wire *c)
{
    return TAILQ_EMPTY(&c->sent) && TAILQ_EMPTY(&c->unsent);
}

unsigned wire_tries(const struct wire *c)
{
    return link_tries(c->link);
}

const char *wire_why(const struct wire *c)
{
    return link_why(c->link);
}

uint64_t wire_generation(const struct wire *c)
{
    return c->generation;
}

int64_t wire_client_id(const struct wire *c)
{
    return c->client_id;
}

void wire_on_push(struct wire *c, void (*fn)(void *, const redisReply *), void *arg)
{
    c->push = fn;
    c->push_arg = arg;
}
