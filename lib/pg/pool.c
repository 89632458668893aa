/* pool.c - which connection serves whom (drawn in db.h), and what happens while there is none. */
#include "base/clock.h"
#include "base/id.h"
#include "base/settings.h"
#include "base/text.h"
#include "pg/db.h"
#include "pg/hosts.h"
#include <assert.h>
#include <stdlib.h>

static void lane_changed(struct pg_conn *c)
{
    struct lane_of *lane = c->owner;

    if (waitq_empty(&lane->wait))
        return;
    if (c->state != CONN_READY || c->inflight == 0)
        waitq_wake_all(&lane->wait);
    else if (c->inflight < LANE_INFLIGHT)
        waitq_wake_one(&lane->wait);
}

static void lane_init(struct lane_of *lane, struct pg *db, int width)
{
    lane->width = width;
    for (int i = 0; i < width; i++) {
        conn_init(&lane->conns[i], db, lane_changed);
        lane->conns[i].owner = lane;
    }
}

static void lane_release(struct lane_of *lane)
{
    assert(waitq_empty(&lane->wait));
    for (int i = 0; i < lane->width; i++)
        conn_release(&lane->conns[i]);
}

static void pool_changed(struct pg_conn *c)
{
    (void)c; /* who waits for it waits in c->ready */
}

static rc check_url(struct cx *cx, const char *name, const char *conninfo)
{
    char *words = NULL;
    PQconninfoOption *parsed = PQconninfoParse(conninfo, &words);

    PQfreemem(words); /* they may quote a password */
    if (!parsed)
        return fail(cx, CONFIG, "%s is neither a postgresql:// URI nor keyword=value pairs", name);
    PQconninfoFree(parsed);
    return OK;
}

static rc prepare_from(struct cx *cx, const char *word, enum pg_prepare *ret)
{
    static const char *const words[] = {
        [PG_PREPARE_AUTO] = "auto", [PG_PREPARE_ON] = "on", [PG_PREPARE_OFF] = "off"};

    for (size_t i = 0; i < COUNT(words); i++)
        if (str_eq(word, words[i])) {
            *ret = (enum pg_prepare)i;
            return OK;
        }
    return fail(cx, CONFIG, "database_prepare must be auto, on or off");
}

rc pg_check_settings(struct cx *cx, const struct settings *s)
{
    enum pg_prepare prepare;

    if (str_empty(s->database_url))
        return fail(cx, CONFIG, "database_url is not set; set it or MIHWAR_DATABASE_URL");
    try(check_url(cx, "database_url", s->database_url));
    if (*s->database_listen_url)
        try(check_url(cx, "database_listen_url", s->database_listen_url));
    return prepare_from(cx, s->database_prepare, &prepare);
}

rc pg_from_settings(struct cx *cx, const struct settings *s, struct pg **ret)
{
    try(pg_check_settings(cx, s));
    try(pg_new(cx, s->database_url, (int)s->database_pool, ret));
    if (*s->database_listen_url)
        (*ret)->listen_conninfo = xstrdup(s->database_listen_url);
    return prepare_from(cx, s->database_prepare, &(*ret)->prepare);
}

rc pg_new(struct cx *cx, const char *conninfo, int pool, struct pg **ret)
{
    if (str_empty(conninfo))
        return fail(cx, CONFIG, "database_url is not set");
    try(check_url(cx, "database_url", conninfo));
    assert(pool > 0);

    struct pg *db = xcalloc(1, sizeof *db);
    db->conninfo = xstrdup(conninfo);
    db->nhosts = hosts_count(conninfo);
    db->gate.limit = (size_t)pool;
    db->pool = xcalloc((size_t)pool, sizeof *db->pool);
    for (int i = 0; i < pool; i++)
        conn_init(&db->pool[i], db, pool_changed);
    lane_init(&db->lanes[LANE_READS], db, 2);
    lane_init(&db->lanes[LANE_WRITES], db, LANE_WIDTH);
    *ret = db;
    return OK;
}

struct pg *pg_free(struct pg *db)
{
    if (!db)
        return NULL;
    for (int i = 0; i < LANES; i++)
        lane_release(&db->lanes[i]);
    for (size_t i = 0; i < db->gate.limit; i++) {
        assert(!db->pool[i].taken);
        conn_release(&db->pool[i]);
    }
    free(db->pool);
    free(db->listen_conninfo);
    free(db->conninfo);
    free(db);
    return NULL;
}

/* Nothing is sent for somebody who has already given up: a write would end in doubt for no reason.
 */
static rc still_wanted(struct cx *cx)
{
    if (cx->cancelled)
        return fail(cx, CANCELLED, "cancelled before PostgreSQL was asked");
    if (cx_left_ms(cx) == 0)
        return fail(cx, DEADLINE, "the time was over before PostgreSQL was asked");
    return OK;
}

/* One that has just begun to commit a request of the same caller, who still waits for it, and has no other. */
static struct pg_conn *lane_committing(struct lane_of *lane, const struct pg_soon *soon)
{
    for (int i = 0; i < lane->width; i++) {
        struct pg_conn *c = &lane->conns[i];

        if (c->state == CONN_READY && !c->stale && c->inflight == 1 && c->head->soon.fn &&
            c->head->soon.arg == soon->arg && c->head->committing_mono_ms &&
            clock_mono_ms() - c->head->committing_mono_ms < BEHIND_MS)
            return c;
    }
    return NULL;
}

/* The connection with the fewest requests; wants another one when all that are open have work. */
static struct pg_conn *lane_best(struct lane_of *lane, bool *ret_open)
{
    struct pg_conn *best = NULL;

    *ret_open = false;
    for (int i = 0; i < lane->width; i++) {
        struct pg_conn *c = &lane->conns[i];

        if (c->state != CONN_READY || c->stale)
            continue;
        *ret_open = true;
        if (c->inflight < LANE_INFLIGHT && (!best || c->inflight < best->inflight))
            best = c;
    }
    for (int i = 0; i < lane->width && (!best || best->inflight > 0); i++) {
        if (lane->conns[i].state == CONN_CLOSED) {
            conn_want(&lane->conns[i]);
            break;
        }
    }
    return best;
}

/* A short outage is waited out; in a long one nobody waits for more than the next try or two. */
static int64_t patience(const struct pg *db)
{
    int64_t gone = db->down ? clock_mono_ms() - db->down_since_mono_ms : 0;

    return MAX(CONNECT_WAIT_MS - gone, CONNECT_WAIT_MIN_MS);
}

rc lane_take(struct cx *cx, struct pg *db, enum lane lane, const struct pg_soon *soon,
             struct pg_conn **ret)
{
    struct pg_conn *c = soon ? lane_committing(&db->lanes[lane], soon) : NULL;
    bool open;

    assert(cx->fiber);
    try(still_wanted(cx));
    _cleanup_(cx_deadline_restore) struct cx_deadline d = cx_deadline_within(cx, patience(db));
    while (!c && !(c = lane_best(&db->lanes[lane], &open))) {
        fiber_shrink(); /* thousands may stand here at once */
        rc r = waitq_wait(cx, &db->lanes[lane].wait);

        if (r == E_DEADLINE && open)
            return fail(cx, OVERLOADED, "all PostgreSQL connections have too much to do");
        if (r == E_DEADLINE)
            return fail(cx, STORE_DOWN, "PostgreSQL cannot be reached: %s",
                        db->why[0] ? db->why : "no answer yet");
        try(r);
    }
    *ret = c;
    return OK;
}

static rc take_turn(struct cx *cx, struct pg *db)
{
    struct cx_deadline d = {cx, cx->deadline_mono_ms};

    if (cx->deadline_mono_ms == 0)
        d = cx_deadline_within(cx, POOL_WAIT_MS);
    rc r = gate_enter(cx, &db->gate);
    cx_deadline_restore(&d);
    if (r == E_DEADLINE)
        return fail(cx, OVERLOADED, "all %zu PostgreSQL connections for transactions are taken",
                    db->gate.limit);
    return r;
}

rc pool_take(struct cx *cx, struct pg *db, struct pg_conn **ret)
{
    struct pg_conn *c = NULL;
    rc r;

    assert(cx->fiber);
    try(still_wanted(cx));
    try(take_turn(cx, db));
    for (size_t i = 0; i < db->gate.limit; i++) {
        struct pg_conn *it = &db->pool[i];

        if (!it->taken && (!c || (it->state == CONN_READY && !it->stale)))
            c = it;
        if (c && c->state == CONN_READY && !c->stale)
            break;
    }
    assert(c); /* the gate counts what the slots hold */
    c->taken = true;
    r = conn_ready(cx, c, patience(db));
    if (r != OK) {
        pool_give(db, c);
        return r;
    }
    *ret = c;
    return OK;
}

void pool_give(struct pg *db, struct pg_conn *c)
{
    c->taken = false;
    gate_leave(&db->gate);
}

rc retry_pause(struct cx *cx, int tries)
{
    return fiber_sleep(cx, 1 + (int64_t)random_below(10ull << MIN(tries, 6)));
}
