/* listen.c - LISTEN, kept up over lost connections.
 *
 *   READY -> LISTEN answered -> on_gap -> fn for each notification
 *     ^---- lost: opened again at once, with the back-off ----'
 *
 * on_gap: what came before was not heard; look for yourself. */
#include "base/log.h"
#include "pg/db.h"
#include "rt/loop.h"
#include <assert.h>
#include <stdlib.h>
#include <string.h>

struct pg_listen {
    struct pg_conn c;
    struct sql listen;
    char *text;
    void (*fn)(const char *payload, void *arg);
    void (*on_gap)(void *arg);
    void *arg;
    bool asked; /* LISTEN was sent on this connection */
    bool heard; /* LISTEN was answered on this connection */
    bool busy;  /* in one of the callbacks: freed after it */
    bool dead;
};

static void listening(struct pg_conn *c, struct request *rq)
{
    struct pg_listen *l = c->owner;

    if (rq->state == RQ_LOST || l->dead)
        return;
    if (rq->error) {
        conn_close(c, PQresultErrorField(rq->error, PG_DIAG_MESSAGE_PRIMARY));
        return;
    }
    /* Behind a pooler another client may have that session by now, and hear in our place. */
    l->heard = !c->by_text || !c->pooled;
    if (!l->heard && !c->db->deaf_told) {
        c->db->deaf_told = true;
        log_ev(LOG_WARN, "pg.deaf",
               kv_str("hint", "LISTEN does not work through a pooler in transaction mode: "
                              "set database_listen_url, or database_prepare = on in session mode"));
    }
    if (l->on_gap) {
        l->busy = true;
        l->on_gap(l->arg);
        l->busy = false;
    }
}

static void changed(struct pg_conn *c)
{
    struct pg_listen *l = c->owner;

    if (l->dead)
        return;
    if (c->state == CONN_CLOSED) {
        l->asked = l->heard = false;
        conn_want(c);
    } else if (!l->asked) {
        struct request *rq = request_begin(NULL, 1);

        l->asked = true;
        rq->done = listening;
        request_put(c, rq, &l->listen, NULL);
        request_end(c, rq);
    }
}

static void notified(struct pg_conn *c, const PGnotify *n)
{
    struct pg_listen *l = c->owner;

    if (l->dead)
        return;
    l->busy = true;
    l->fn(n->extra, l->arg);
    l->busy = false;
}

struct pg_listen *pg_listen(struct pg *db, const char *channel,
                            void (*fn)(const char *payload, void *arg), void (*on_gap)(void *arg),
                            void *arg)
{
    struct pg_listen *l = xcalloc(1, sizeof *l);

    assert(channel[strspn(channel, "abcdefghijklmnopqrstuvwxyz0123456789_")] == 0);
    conn_init(&l->c, db, changed);
    l->c.owner = l;
    l->c.on_notify = notified;
    l->c.conninfo = db->listen_conninfo;
    l->text = xasprintf("LISTEN %s", channel);
    l->listen = (struct sql){.name = "mw_listen", .text = l->text};
    l->fn = fn;
    l->on_gap = on_gap;
    l->arg = arg;
    conn_want(&l->c);
    return l;
}

bool pg_listening(const struct pg_listen *l)
{
    return l->heard;
}

static void free_now(void *arg)
{
    struct pg_listen *l = arg;

    l->dead = true;
    conn_release(&l->c);
    free(l->text);
    free(l);
}

struct pg_listen *pg_listen_free(struct pg_listen *l)
{
    if (!l)
        return NULL;
    l->dead = true;
    if (l->busy)
        loop_soon(free_now, l);
    else
        free_now(l);
    return NULL;
}
