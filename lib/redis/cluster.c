/* cluster.c - see cluster.h.
 *
 *   commands:  [0: n1] [1: n2] [2: n1] [3: n1]
 *   a round:   n1 gets 0 2 3 in one write, then n2 gets 1; what is answered is done
 *   the next:  what was sent elsewhere (MOVED, ASK), put off (TRYAGAIN) or could not leave
 *
 * Commands of one node keep their order. Rounds go on until all is done or the context's deadline. */
#include "redis/cluster.h"
#include "base/buf.h"
#include "base/clock.h"
#include "base/id.h"
#include "base/text.h"
#include "redis/nodes.h"
#include "redis/redis.h"
#include "rt/fiber.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define UNSENT_MS    250 /* a command that cannot leave for so long makes us look at the map again */
#define AT_ONCE      5   /* rounds without a pause: a slot may have moved twice */
#define PAUSE_MS     10
#define PAUSE_MAX    500
#define ASKING       "*1\r\n$6\r\nASKING\r\n"
#define ASKING_LEN   (sizeof ASKING - 1)
#define COMMANDS_MAX MiB(512)

struct todo {
    const char *p;
    size_t len;
    int slot;
    bool done;
    unsigned group;   /* of this round: sent together; 0: not sent yet */
    struct node *ask; /* NULL: whoever has the slot */
};

struct call {
    struct cluster *c;
    struct lane *lane;
    struct todo *todo;
    size_t n, left;
    unsigned groups; /* of this round */
    redisReply **replies;
    bool patience;
    bool moved, later, down; /* what this round met */
    char why[200];           /* the last of it, in words */
};

/* ---------------------------------------------------------------- whom to ask */

/* For what has no key: one that is there. */
static struct node *any_node(const struct cluster *c)
{
    struct node *listed = NULL;

    for (size_t i = 0; i < c->nnodes; i++) {
        struct node *n = c->nodes[i];
        if (!n->listed)
            continue;
        if (n->wire && wire_ready(n->wire))
            return n;
        if (!listed || !n->down_mono_ms)
            listed = n;
    }
    return listed;
}

static struct node *target(const struct call *k, const struct todo *t)
{
    if (t->ask)
        return t->ask;
    return t->slot == SLOT_ANY ? any_node(k->c) : node_of_slot(k->c, t->slot);
}

/* ---------------------------------------------------------------- what they answer */

/* "MOVED 3999 host:port", "ASK 3999 host:port": the host may be missing (the one that was asked) and
 * may be IPv6. */
static struct node *read_redirect(struct call *k, const struct node *asked, const char *words,
                                  int *ret_slot)
{
    const char *slot = strchr(words, ' '), *at = slot ? strchr(slot + 1, ' ') : NULL,
               *colon = at ? strrchr(at, ':') : NULL;
    _cleanup_(freep) char *number = at ? xstrndup(slot + 1, (size_t)(at - slot - 1)) : NULL;
    int64_t n, port;

    if (!colon || !parse_int(number, 0, SLOTS - 1, &n) || !parse_int(colon + 1, 1, 65535, &port))
        return NULL;
    *ret_slot = (int)n;
    _cleanup_(freep) char *host = xstrndup(at + 1, (size_t)(colon - at - 1));
    return node_of(k->c, *host ? host : asked->host, (int)port);
}

/* True when the command did not run and has to be sent again. */
static bool put_off(struct call *k, struct todo *t, const struct node *asked, const redisReply *r)
{
    bool moved, ask;
    int slot;

    if (r->type != REDIS_REPLY_ERROR)
        return false;
    moved = starts_with(r->str, "MOVED ");
    ask = starts_with(r->str, "ASK ");
    if (moved || ask) {
        struct node *n = read_redirect(k, asked, r->str, &slot);
        if (!n)
            return false;
        if (ask) {
            t->ask = n;
        } else {
            node_takes_slot(n, slot);
            nodes_refresh(k->c);
        }
        k->moved = true;
    } else if (starts_with(r->str, "TRYAGAIN") || starts_with(r->str, "CLUSTERDOWN") ||
               starts_with(r->str, "MASTERDOWN")) {
        k->later = true;
        if (r->str[0] != 'T')
            nodes_refresh(k->c);
    } else {
        return false;
    }
    snprintf(k->why, sizeof k->why, "%s", r->str);
    return true;
}

/* ---------------------------------------------------------------- a round */

static rc wire_to(struct cx *cx, struct call *k, struct node *n, struct wire **ret)
{
    return k->lane ? lane_wire(cx, k->lane, n, ret) : node_wire(cx, n, ret);
}

/* The commands that go where the first one goes become a group. Gives the number of replies, and the
 * bytes unless it is a lone command, which is sent as it is. */
static size_t gather(struct call *k, size_t first, const struct node *n, struct buf *bytes)
{
    struct todo *one = &k->todo[first];
    size_t count = 0;

    k->groups++;
    for (size_t i = first; i < k->n; i++) {
        struct todo *t = &k->todo[i];
        if (t->done || t->group || !t->ask != !one->ask || target(k, t) != n)
            continue;
        t->group = k->groups;
        count++;
        if (k->n == 1 && !one->ask)
            break;
        if (one->ask)
            buf_append(bytes, ASKING, ASKING_LEN);
        buf_append(bytes, t->p, t->len);
    }
    return one->ask ? 2 * count : count;
}

/* replies: of what gather put together, in that order. */
static void take(struct call *k, size_t first, const struct node *n, bool asking,
                 redisReply **replies)
{
    size_t at = 0;

    for (size_t i = first; i < k->n; i++) {
        if (k->todo[i].group != k->groups)
            continue;
        if (asking)
            freeReplyObject(replies[at++]);
        redisReply *r = replies[at++];
        k->todo[i].ask = NULL;
        if (put_off(k, &k->todo[i], n, r)) {
            freeReplyObject(r);
            continue;
        }
        k->replies[i] = r;
        k->todo[i].done = true;
        k->left--;
    }
}

static rc send_group(struct cx *cx, struct call *k, size_t first, struct node *n)
{
    _cleanup_(buf_release) struct buf bytes = BUF(COMMANDS_MAX);
    bool asking = k->todo[first].ask != NULL;
    struct wire *w;

    size_t want = gather(k, first, n, &bytes);
    if (!buf_ok(&bytes))
        return fail(cx, BUFFER_FULL, "a batch of commands is too large");
    if (node_gone(n)) {
        try(node_wire(cx, n, &w));
        wire_start(w); /* its coming back is noticed by this connection */
        k->down = true;
        snprintf(k->why, sizeof k->why, "%s:%d is away", n->host, n->port);
        return OK;
    }
    _cleanup_(freep) redisReply **replies = xcalloc(want, sizeof *replies);
    try(wire_to(cx, k, n, &w));
    const struct todo *t = &k->todo[first];
    rc r = wire_call(cx, w, bytes.len ? bytes.p : t->p, bytes.len ? bytes.len : t->len, want,
                     replies, (struct wire_limits){k->patience, UNSENT_MS});
    if (k->c->closed)
        return r == OK ? fail(cx, STORE_DOUBT, "this program closed the connection") : r;
    if (r == E_STORE_DOWN) { /* none of it left */
        snprintf(k->why, sizeof k->why, "%s", cx_words(cx, r));
        node_missed(n);
        k->down = true;
        return OK;
    }
    try(r);
    take(k, first, n, asking, replies);
    return OK;
}

static rc one_round(struct cx *cx, struct call *k)
{
    k->moved = k->later = k->down = false;
    k->groups = 0;
    for (size_t i = 0; i < k->n; i++)
        k->todo[i].group = 0;
    for (size_t i = 0; i < k->n; i++) {
        if (k->todo[i].done || k->todo[i].group)
            continue;
        struct node *n = target(k, &k->todo[i]);
        if (n) {
            try(send_group(cx, k, i, n));
            continue;
        }
        k->later = true;
        nodes_refresh(k->c);
        snprintf(k->why, sizeof k->why, "%s",
                 k->c->mapped ? "a slot belongs to no node" : k->c->why);
    }
    return OK;
}

/* ---------------------------------------------------------------- rounds */

/* Every node that something is left for has been away for long enough. */
static bool hopeless(const struct call *k)
{
    for (size_t i = 0; i < k->n; i++) {
        const struct node *n = k->todo[i].done ? NULL : target(k, &k->todo[i]);
        if (!k->todo[i].done && !(n && node_gone(n)))
            return false;
    }
    return true;
}

static rc not_now(struct cx *cx, const struct call *k)
{
    return fail(cx, STORE_DOWN, "the Redis cluster at %s cannot do that now: %s", k->c->url.shown,
                k->why);
}

/* Between two rounds. */
static rc breathe(struct cx *cx, struct call *k, unsigned round)
{
    rc r = OK;

    if (k->down && hopeless(k)) {
        nodes_refresh(k->c); /* for the next who comes */
        return not_now(cx, k);
    }
    if (k->down || !k->c->mapped)
        r = nodes_refresh_now(cx, k->c);
    if (r == OK && (k->down || k->later || round >= AT_ONCE))
        r = fiber_sleep(cx, 1 + (int64_t)random_below(MIN((uint64_t)PAUSE_MAX,
                                                          (uint64_t)PAUSE_MS << MIN(round, 6u))));
    if (k->c->closed)
        return fail(cx, STORE_DOWN, "this program closed the connection");
    return r == E_DEADLINE ? not_now(cx, k) : r;
}

static rc rounds(struct cx *cx, struct call *k)
{
    for (unsigned round = 0;; round++) {
        if (k->c->mapped)
            try(one_round(cx, k));
        else
            snprintf(k->why, sizeof k->why, "%s", k->c->why);
        if (k->left == 0)
            return OK;
        try(breathe(cx, k, round));
    }
}

static rc split(struct cx *cx, const char *resp, size_t len, struct todo *todo, size_t n)
{
    const char *p = resp;

    for (size_t i = 0; i < n; i++) {
        size_t used;
        if (!slot_of_command(p, len - (size_t)(p - resp), &used, &todo[i].slot))
            return fail(cx, INTERNAL, "command %zu of %zu for the cluster is none", i + 1, n);
        todo[i].p = p;
        todo[i].len = used;
        p += used;
    }
    if (p != resp + len)
        return fail(cx, INTERNAL, "more bytes than %zu commands", n);
    return OK;
}

rc cluster_call_by(struct cx *cx, struct cluster *c, struct lane *lane, const char *resp,
                   size_t len, size_t n, redisReply **replies, bool patience)
{
    struct todo one = {0};
    _cleanup_(freep) struct todo *many = n > 1 ? xcalloc(n, sizeof *many) : NULL;
    struct call k = {.c = c,
                     .lane = lane,
                     .todo = many ? many : &one,
                     .n = n,
                     .left = n,
                     .replies = replies,
                     .patience = patience};

    memset(replies, 0, n * sizeof *replies);
    if (cx->cancelled)
        return fail(cx, CANCELLED, "cancelled before Redis was asked");
    if (n == 0)
        return OK;
    try(split(cx, resp, len, k.todo, n));
    cluster_enter(c);
    rc r = rounds(cx, &k);
    cluster_leave(c);
    if (r != OK)
        for (size_t i = 0; i < n; i++) {
            freeReplyObject(replies[i]);
            replies[i] = NULL;
        }
    return r;
}

rc cluster_call(struct cx *cx, struct cluster *c, const char *resp, size_t len, size_t n,
                redisReply **replies, bool patience)
{
    return cluster_call_by(cx, c, NULL, resp, len, n, replies, patience);
}

/* ---------------------------------------------------------------- life */

rc cluster_new(struct cx *cx, struct redis_url *u, void (*ready)(void *), void *arg,
               struct cluster **ret)
{
    struct cluster *c = xcalloc(1, sizeof *c);
    struct wire *tried = NULL;

    c->url = *u;
    *u = (struct redis_url){0};
    c->ready = ready;
    c->arg = arg;
    snprintf(c->why, sizeof c->why, "no node was asked yet");
    for (size_t i = 0; i < c->url.nplaces; i++)
        node_of(c, c->url.places[i].host, c->url.places[i].port);
    rc r = node_wire(cx, c->nodes[0], &tried); /* what is wrong with the settings shows now */
    if (r != OK) {
        cluster_free(c);
        return r;
    }
    *ret = c;
    return OK;
}

static void really_free(struct cluster *c)
{
    redis_url_release(&c->url);
    nodes_free(c);
    free(c);
}

struct cluster *cluster_free(struct cluster *c)
{
    if (!c)
        return NULL;
    c->closed = true;
    lanes_free(c);
    for (size_t i = 0; i < c->nnodes; i++)
        c->nodes[i]->wire = wire_free(c->nodes[i]->wire);
    waitq_wake_all(&c->refreshed);
    waitq_wake_all(&c->takers);
    if (c->refs == 0)
        really_free(c);
    return NULL;
}

void cluster_enter(struct cluster *c)
{
    c->refs++;
}

void cluster_leave(struct cluster *c)
{
    if (--c->refs == 0 && c->closed)
        really_free(c);
}

rc cluster_count(struct cx *cx, struct cluster *c, size_t *ret_n)
{
    cluster_enter(c);
    rc r = c->mapped ? OK : nodes_refresh_now(cx, c);
    if (r == OK && !c->mapped)
        r = fail(cx, STORE_DOWN, "the Redis cluster at %s shows no map: %s", c->url.shown, c->why);
    *ret_n = 0;
    for (size_t i = 0; i < c->nnodes; i++)
        *ret_n += c->nodes[i]->listed;
    cluster_leave(c);
    return r;
}

rc cluster_ask(struct cx *cx, struct cluster *c, size_t i, const char *resp, size_t len,
               redisReply **ret, char *name)
{
    struct node *n = NULL;
    struct wire *w;

    for (size_t k = 0; k < c->nnodes && !n; k++)
        if (c->nodes[k]->listed && i-- == 0)
            n = c->nodes[k];
    if (!n)
        return fail(cx, NOT_FOUND, "the cluster has fewer nodes by now");
    snprintf(name, 64, "%.50s:%d", n->host, n->port);
    cluster_enter(c);
    rc r = node_wire(cx, n, &w);
    if (r == OK)
        r = wire_call(cx, w, resp, len, 1, ret, (struct wire_limits){.unsent_ms = UNSENT_MS});
    cluster_leave(c);
    return r;
}

bool cluster_connected(const struct cluster *c)
{
    const struct node *n = c->mapped ? any_node(c) : NULL;

    return n && n->wire && wire_ready(n->wire);
}

uint64_t cluster_generation(const struct cluster *c)
{
    uint64_t sum = 0;

    for (size_t i = 0; i < c->nnodes; i++)
        sum += c->nodes[i]->before + (c->nodes[i]->wire ? wire_generation(c->nodes[i]->wire) : 0);
    return sum;
}
