/* nodes.c - see nodes.h.
 *
 * The map is asked for by one fiber at a time, of any node that answers, connected ones first:
 * CLUSTER SLOTS gives {from, to, {host, port, …} master, replicas …}. A crowd that met the same MOVED
 * wants one map, and not all programs at the same moment: hence the random pause before it. */
#include "redis/nodes.h"
#include "base/clock.h"
#include "base/id.h"
#include "base/log.h"
#include "base/text.h"
#include "redis/redis.h"
#include "rt/fiber.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define GONE_MS    1000 /* a node is waited for so long */
#define ASK_MS     500  /* a node is asked for the map so long */
#define CONNECT_MS 250  /* … of which it may take so long to connect */
#define SPREAD_MS  50   /* maps are asked for at a random moment within so long */
#define NODES_MAX  4096
#define SLOTS_RESP "*2\r\n$7\r\nCLUSTER\r\n$5\r\nSLOTS\r\n"

/* ---------------------------------------------------------------- a node */

struct node *node_of(struct cluster *c, const char *host, int port)
{
    for (size_t i = 0; i < c->nnodes; i++)
        if (c->nodes[i]->port == port && strcmp(c->nodes[i]->host, host) == 0)
            return c->nodes[i];
    struct node *n = xcalloc(1, sizeof *n);
    n->cluster = c;
    n->host = xstrdup(host);
    n->port = port;
    n->place = c->nnodes;
    c->nodes = xrealloc(c->nodes, (c->nnodes + 1) * sizeof(struct node *));
    c->nodes[c->nnodes++] = n;
    return n;
}

struct node *node_of_slot(const struct cluster *c, int slot)
{
    return c->of[slot] ? c->nodes[c->of[slot] - 1] : NULL;
}

void node_takes_slot(struct node *n, int slot)
{
    n->cluster->of[slot] = (uint16_t)(n->place + 1);
}

static void on_ready(void *arg)
{
    struct node *n = arg;

    n->down_mono_ms = 0;
    n->cluster->ready(n->cluster->arg);
}

rc node_wire_new(struct cx *cx, const struct node *n, void (*ready)(void *), void *arg,
                 struct wire **ret)
{
    _cleanup_(redis_url_release) struct redis_url u;

    redis_url_of_node(&n->cluster->url, n->host, n->port, &u);
    return wire_new(cx, &u, /* any_role= */ true, ready, arg, ret);
}

rc node_wire(struct cx *cx, struct node *n, struct wire **ret)
{
    if (!n->wire)
        try(node_wire_new(cx, n, on_ready, n, &n->wire));
    *ret = n->wire;
    return OK;
}

bool node_gone(const struct node *n)
{
    return n->down_mono_ms && clock_mono_ms() - n->down_mono_ms > GONE_MS &&
           !(n->wire && wire_ready(n->wire));
}

void node_missed(struct node *n)
{
    if (!n->down_mono_ms)
        n->down_mono_ms = clock_mono_ms();
}

static void let_go(struct node *n)
{
    if (n->wire)
        n->before += wire_generation(n->wire);
    n->wire = wire_free(n->wire);
    n->down_mono_ms = 0;
}

/* ---------------------------------------------------------------- the map */

static bool slots_row(const redisReply *row, int64_t *ret_from, int64_t *ret_to)
{
    if (row->type != REDIS_REPLY_ARRAY || row->elements < 3 ||
        row->element[0]->type != REDIS_REPLY_INTEGER ||
        row->element[1]->type != REDIS_REPLY_INTEGER)
        return false;
    *ret_from = row->element[0]->integer;
    *ret_to = row->element[1]->integer;
    return *ret_from >= 0 && *ret_from <= *ret_to && *ret_to < SLOTS;
}

/* {host, port, id …}; a host that is not told is the one that was asked. */
static struct node *slots_node(struct cluster *c, const redisReply *r, const struct node *asked)
{
    if (r->type != REDIS_REPLY_ARRAY || r->elements < 2 ||
        r->element[1]->type != REDIS_REPLY_INTEGER || r->element[1]->integer < 1 ||
        r->element[1]->integer > 65535)
        return NULL;
    const redisReply *host = r->element[0];
    bool told = host->type == REDIS_REPLY_STRING && host->len > 0 && !str_eq(host->str, "?");
    return node_of(c, told ? host->str : asked->host, (int)r->element[1]->integer);
}

static bool take_map(struct cluster *c, const redisReply *map, const struct node *asked)
{
    bool any = false;
    int64_t from, to;

    if (map->type != REDIS_REPLY_ARRAY || map->elements == 0 || c->nnodes > NODES_MAX)
        return false;
    memset(c->of, 0, sizeof c->of);
    for (size_t i = 0; i < c->nnodes; i++)
        c->nodes[i]->listed = false;
    for (size_t i = 0; i < map->elements; i++) {
        struct node *n = slots_row(map->element[i], &from, &to)
                             ? slots_node(c, map->element[i]->element[2], asked)
                             : NULL;
        if (!n)
            continue;
        n->listed = any = true;
        for (int64_t s = from; s <= to; s++)
            node_takes_slot(n, (int)s);
    }
    return any;
}

/* Who left the cluster is not talked to any longer. */
static void let_strangers_go(struct cluster *c)
{
    for (size_t i = 0; i < c->nnodes; i++)
        if (!c->nodes[i]->listed && c->nodes[i]->wire && wire_idle(c->nodes[i]->wire))
            let_go(c->nodes[i]);
}

static bool ask(struct cx *cx, struct cluster *c, struct node *n)
{
    _cleanup_(redis_reply_freep) redisReply *map = NULL;
    _cleanup_(cx_deadline_restore) _unused_ struct cx_deadline d = cx_deadline_within(cx, ASK_MS);
    struct wire *w;
    rc r = node_wire(cx, n, &w);

    if (r == OK)
        r = wire_call(cx, w, SLOTS_RESP, sizeof SLOTS_RESP - 1, 1, &map,
                      (struct wire_limits){.unsent_ms = CONNECT_MS});
    if (c->closed)
        return true;
    if (r != OK) {
        snprintf(c->why, sizeof c->why, "%s", cx_words(cx, r));
        if (!wire_ready(w))
            node_missed(n);
        return false;
    }
    if (map->type == REDIS_REPLY_ERROR) {
        snprintf(c->why, sizeof c->why, "%s:%d: %s", n->host, n->port, map->str);
        return false;
    }
    if (!take_map(c, map, n)) {
        snprintf(c->why, sizeof c->why, "%s:%d knows no slots", n->host, n->port);
        return false;
    }
    c->mapped = true;
    let_strangers_go(c);
    return true;
}

/* How likely a node is to know: connected and with nothing else to say first. */
static int merit(const struct node *n)
{
    if (n->wire && wire_ready(n->wire))
        return wire_idle(n->wire) ? 4 : 3;
    return n->listed ? 2 - (n->down_mono_ms != 0) : 0;
}

static bool ask_one_after_another(struct cx *cx, struct cluster *c)
{
    size_t n = c->nnodes, from = (size_t)random_below(n);

    for (int m = 4; m >= 0; m--)
        for (size_t i = 0; i < n; i++) {
            struct node *node = c->nodes[(from + i) % n];
            if (merit(node) == m && ask(cx, c, node))
                return true;
            if (c->closed || cx->cancelled)
                return false;
        }
    return false;
}

/* Those of the URL may be on no map: a name that leads to all of them, a node that was taken out. */
static void remember_seeds(struct cluster *c)
{
    for (size_t i = 0; i < c->url.nplaces; i++)
        node_of(c, c->url.places[i].host, c->url.places[i].port);
}

static rc refresh_fiber(struct cx *cx, void *arg)
{
    struct cluster *c = arg;
    bool known = true;

    do {
        bool first = !c->mapped;
        c->stale = false;
        if (!first && fiber_sleep(cx, (int64_t)random_below(SPREAD_MS)) != OK)
            break;
        if (c->closed)
            break;
        remember_seeds(c);
        known = ask_one_after_another(cx, c);
        waitq_wake_all(&c->refreshed);
        if (first && known && !c->closed)
            log_ev(LOG_INFO, "redis.cluster", kv_str("redis", c->url.shown),
                   kv_int("nodes", (int64_t)c->nnodes));
    } while (known && c->stale && !c->closed);
    c->refreshing = false;
    waitq_wake_all(&c->refreshed);
    cluster_leave(c);
    return OK;
}

void nodes_refresh(struct cluster *c)
{
    c->stale = true;
    if (c->refreshing || c->closed)
        return;
    c->refreshing = true;
    cluster_enter(c);
    fiber_detach(fiber_spawn(&(struct fiber_opts){.name = "redis.cluster"}, refresh_fiber, c));
}

rc nodes_refresh_now(struct cx *cx, struct cluster *c)
{
    nodes_refresh(c);
    return waitq_wait(cx, &c->refreshed);
}

void nodes_free(struct cluster *c)
{
    for (size_t i = 0; i < c->nnodes; i++) {
        wire_free(c->nodes[i]->wire);
        free(c->nodes[i]->host);
        free(c->nodes[i]);
    }
    free(c->nodes);
    c->nodes = NULL;
    c->nnodes = 0;
}
