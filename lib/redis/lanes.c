/* lanes.c - the blocking wait on a cluster: BZPOPMIN takes keys of one slot only, and a connection
 * blocks on one command at a time. So each key has a lane: a connection of its own, to the node of
 * its slot, and a fiber that waits there.
 *
 *   idle --somebody waits--> waiting --a member came--> taken --the next who waits--> idle
 *                               `--nobody waits any more (looked at every LANE_MS)--> idle
 *
 * A lane that fails rests and tries again; the others go on. What a lane took while nobody waits any
 * more (a worker that is full) is put back: another process may be waiting for it. */
#include "base/clock.h"
#include "base/id.h"
#include "base/log.h"
#include "redis/cluster.h"
#include "redis/nodes.h"
#include "redis/redis.h"
#include "rt/fiber.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define LANE_S    "5"
#define LANE_MS   5000
#define ANSWER_MS 5000 /* the server ends the wait; ours ends only when it does not */
#define REST_MS   1000

struct lane {
    struct cluster *cluster; /* NULL: closed; its fiber frees it */
    char *key;
    struct wire *wire;
    struct node *node; /* where the wire leads */
    bool waiting;      /* its fiber is under way */
    bool taken, failing;
};

rc lane_wire(struct cx *cx, struct lane *l, struct node *n, struct wire **ret)
{
    if (l->wire && l->node != n)
        l->wire = wire_free(l->wire); /* a lane asks one thing at a time: nobody waits there */
    if (!l->wire)
        try(node_wire_new(cx, n, NULL, NULL, &l->wire));
    l->node = n;
    *ret = l->wire;
    return OK;
}

/* {key, member, score} */
static rc put_back(struct cx *cx, struct lane *l, const redisReply *taken)
{
    _cleanup_(redis_reply_freep) redisReply *reply = NULL;
    _cleanup_(freep) char *text = NULL;
    int len = redisFormatCommand(&text, "ZADD %s %s %s", l->key, taken->element[2]->str,
                                 taken->element[1]->str);

    if (len < 0)
        return fail(cx, INTERNAL, "a Redis command cannot be formatted");
    return cluster_call_by(cx, l->cluster, l, text, (size_t)len, 1, &reply, /* patience= */ false);
}

static rc ask(struct cx *cx, struct lane *l, bool *ret_taken)
{
    _cleanup_(redis_reply_freep) redisReply *reply = NULL;
    _cleanup_(cx_deadline_restore) _unused_ struct cx_deadline d =
        cx_deadline_within(cx, LANE_MS + ANSWER_MS);
    _cleanup_(freep) char *text = NULL;
    int len = redisFormatCommand(&text, "BZPOPMIN %s " LANE_S, l->key);

    if (len < 0)
        return fail(cx, INTERNAL, "a Redis command cannot be formatted");
    try(cluster_call_by(cx, l->cluster, l, text, (size_t)len, 1, &reply, /* patience= */ false));
    if (reply->type == REDIS_REPLY_ERROR)
        return fail(cx, REDIS, "%s", reply->str);
    if (reply->type != REDIS_REPLY_ARRAY || reply->elements != 3)
        return OK;
    if (l->cluster->ntakers == 0 && put_back(cx, l, reply) == OK)
        return OK;
    *ret_taken = true;
    return OK;
}

static rc lane_fiber(struct cx *cx, void *arg)
{
    struct lane *l = arg;
    struct cluster *c = l->cluster; /* ours: entered */

    do {
        bool taken = false;
        rc r = ask(cx, l, &taken);
        if (c->closed || r == E_CANCELLED)
            break;
        if (r != OK && !l->failing)
            log_fail(LOG_WARN, "redis.wait_failed", cx, r, kv_str("key", l->key));
        l->failing = r != OK;
        l->taken = taken;
        if (r != OK && fiber_sleep(cx, 1 + (int64_t)random_below(REST_MS)) != OK)
            break;
    } while (!l->taken && c->ntakers > 0 && !c->closed);
    l->waiting = false;
    if (!c->closed)
        waitq_wake_all(&c->takers);
    if (!l->cluster) {
        free(l->key);
        free(l);
    }
    cluster_leave(c);
    return OK;
}

static struct lane *lane_of(struct cluster *c, const char *key)
{
    for (size_t i = 0; i < c->nlanes; i++)
        if (strcmp(c->lanes[i]->key, key) == 0)
            return c->lanes[i];
    struct lane *l = xcalloc(1, sizeof *l);
    l->cluster = c;
    l->key = xstrdup(key);
    c->lanes = xrealloc(c->lanes, (c->nlanes + 1) * sizeof(struct lane *));
    c->lanes[c->nlanes++] = l;
    return l;
}

static void send_out(struct lane *l)
{
    if (l->waiting || l->taken)
        return;
    l->waiting = true;
    cluster_enter(l->cluster);
    fiber_detach(fiber_spawn(&(struct fiber_opts){.name = "redis.lane"}, lane_fiber, l));
}

/* The next key in turn whose member was taken: none starves. */
static bool one_taken(struct cluster *c, const char *const *keys, size_t n, size_t *ret_which)
{
    for (size_t i = 0; i < n; i++) {
        size_t at = (c->turn + i) % n;
        struct lane *l = lane_of(c, keys[at]);
        if (!l->taken)
            continue;
        l->taken = false;
        c->turn = at + 1;
        *ret_which = at;
        return true;
    }
    return false;
}

static rc take_until(struct cx *cx, struct cluster *c, const char *const *keys, size_t n,
                     int64_t until_mono_ms, size_t *ret_which)
{
    while (!one_taken(c, keys, n, ret_which)) {
        int64_t left = until_mono_ms - clock_mono_ms();
        if (left <= 0)
            return OK;
        for (size_t i = 0; i < n; i++)
            send_out(lane_of(c, keys[i]));
        _cleanup_(cx_deadline_restore) _unused_ struct cx_deadline d = cx_deadline_within(cx, left);
        rc r = waitq_wait(cx, &c->takers);
        if (c->closed)
            return fail(cx, STORE_DOWN, "this program closed the connection");
        if (r != OK && r != E_DEADLINE)
            return r;
    }
    return OK;
}

rc cluster_take_first(struct cx *cx, struct cluster *c, const char *const *keys, size_t n,
                      int64_t ms, size_t *ret_which)
{
    *ret_which = n;
    cluster_enter(c);
    c->ntakers++;
    rc r = take_until(cx, c, keys, n, clock_mono_ms() + ms, ret_which);
    c->ntakers--;
    cluster_leave(c);
    return r;
}

void lanes_free(struct cluster *c)
{
    for (size_t i = 0; i < c->nlanes; i++) {
        struct lane *l = c->lanes[i];
        l->wire = wire_free(l->wire);
        l->cluster = NULL;
        if (!l->waiting) {
            free(l->key);
            free(l);
        }
    }
    free(c->lanes);
    c->lanes = NULL;
    c->nlanes = 0;
}
