/* conn.c - a connection: opening, writing requests, reading answers, losing it.
 *
 * libpq runs non-blocking: its socket is watched by the loop, reading and connecting happen in
 * callbacks on the loop's own stack (TLS and name resolution need more than a fiber has), writing
 * happens in the fiber that asks. PQconnectStart resolves names blockingly: give addresses, or a
 * resolver that answers at once. */
#include "pg/conn.h"
#include "base/clock.h"
#include "base/id.h"
#include "base/log.h"
#include "base/text.h"
#include "pg/db.h"
#include "pg/hosts.h"
#include "rt/loop.h"
#include "rt/offload.h"
#include <assert.h>
#include <errno.h>
#include <event2/event.h>
#include <stdlib.h>
#include <string.h>

#define ATTEMPT_MS 10000 /* one attempt to connect */
#define HOST_MS    3000  /* the same, while there are other hosts to try */
#define PARAMS_MAX 64

const struct sql SQL_MW_BEGIN = {.name = "mw_begin", .text = "BEGIN"};
const struct sql SQL_MW_COMMIT = {.name = "mw_commit", .text = "COMMIT"};
const struct sql SQL_MW_ROLLBACK = {.name = "mw_rollback", .text = "ROLLBACK"};

/* What every session of ours is bounded by. lock_timeout is shorter than the rest so that one
 * forgotten lock does not hold up a whole lane; client_connection_check_interval lets the server
 * notice that we died in the middle of a statement. */
static const struct sql SQL_MW_SESSION = {
    .name = "mw_session",
    .text = "SELECT pg_backend_pid(), set_config('statement_timeout', '30s', false),"
            " set_config('lock_timeout', '5s', false),"
            " set_config('idle_in_transaction_session_timeout', '30s', false),"
            " set_config('TimeZone', 'UTC', false), set_config('DateStyle', 'ISO, YMD', false),"
            " set_config('bytea_output', 'hex', false),"
            " set_config('standard_conforming_strings', 'on', false),"
            " (SELECT set_config(name, '2s', false) FROM pg_settings"
            "   WHERE name = 'client_connection_check_interval' AND version() LIKE '%linux%')"};

/* ---------------------------------------------------------------- names */

static size_t name_hash(const char *s)
{
    uint64_t h = 0xcbf29ce484222325;

    for (; *s; s++)
        h = (h ^ (unsigned char)*s) * 0x100000001b3;
    return (size_t)(h ^ h >> 32);
}

/* The slot of name, or the empty one where it belongs. */
static struct name_slot *names_find(const struct names *t, const char *name)
{
    size_t i = name_hash(name) & (t->cap - 1);

    while (t->slots[i].name && strcmp(t->slots[i].name, name) != 0)
        i = (i + 1) & (t->cap - 1);
    return &t->slots[i];
}

static enum prepared names_get(const struct names *t, const char *name)
{
    return t->cap ? names_find(t, name)->is : PREPARED_NOT;
}

static void names_set(struct names *t, const char *name, enum prepared is)
{
    if (2 * (t->used + 1) > t->cap) {
        struct names wider = {.cap = t->cap ? 2 * t->cap : 64};

        wider.slots = xcalloc(wider.cap, sizeof *wider.slots);
        for (size_t i = 0; i < t->cap; i++) {
            if (t->slots[i].name)
                *names_find(&wider, t->slots[i].name) = t->slots[i];
        }
        wider.used = t->used;
        free(t->slots);
        *t = wider;
    }
    struct name_slot *s = names_find(t, name);
    if (!s->name)
        t->used++;
    *s = (struct name_slot){name, is};
}

static void names_release(struct names *t)
{
    free(t->slots);
    *t = (struct names){0};
}

/* ---------------------------------------------------------------- requests */

struct request *request_begin(struct fiber *waiter, size_t max_statements)
{
    size_t max = 2 * max_statements; /* each may need a Prepare */
    struct request *rq = xcalloc(1, sizeof *rq + max * sizeof rq->items[0]);

    rq->fiber = waiter;
    rq->max = max;
    return rq;
}

void request_free(struct request *rq)
{
    if (!rq)
        return;
    for (size_t i = 0; i < rq->n; i++)
        PQclear(rq->items[i].result);
    PQclear(rq->at_sync);
    free(rq);
}

static void put_item(struct request *rq, const struct sql *q, bool prepare)
{
    assert(rq->n < rq->max);
    rq->items[rq->n++] = (struct request_item){.q = q, .prepare = prepare};
}

static bool send_prepare(struct pg_conn *c, struct request *rq, const struct sql *q)
{
    if (!PQsendPrepare(c->pq, q->name, q->text, 0, NULL))
        return false;
    names_set(&c->names, q->name, PREPARED_ASKED);
    put_item(rq, q, /* prepare= */ true);
    return true;
}

void request_put(struct pg_conn *c, struct request *rq, const struct sql *q,
                 const struct pg_arg *args)
{
    enum prepared is = names_get(&c->names, q->name);
    const char *values[PARAMS_MAX];
    int lengths[PARAMS_MAX], formats[PARAMS_MAX];

    assert(q->nparams <= PARAMS_MAX);
    if (c->by_text)
        is = PREPARED_ASKED;
    if (rq->broken || (is == PREPARED_NOT && !send_prepare(c, rq, q))) {
        rq->broken = true;
        return;
    }
    for (int i = 0; i < q->nparams; i++) {
        const struct pg_arg *a = &args[i];

        values[i] = a->s ? a->s : a->num[0] ? a->num : NULL;
        lengths[i] = a->bytes ? (int)a->len : 0; /* only looked at for binary ones */
        formats[i] = a->bytes;
    }
    if (is == PREPARED_ASKED
            ? PQsendQueryParams(c->pq, q->text, q->nparams, NULL, values, lengths, formats, 0)
            : PQsendQueryPrepared(c->pq, q->name, q->nparams, values, lengths, formats, 0))
        put_item(rq, q, /* prepare= */ false);
    else
        rq->broken = true;
}

static void flush(struct pg_conn *c)
{
    int left = PQflush(c->pq);

    if (left < 0)
        conn_close(c, PQerrorMessage(c->pq));
    else if (left > 0)
        event_add(c->write, NULL);
}

struct request *request_end(struct pg_conn *c, struct request *rq)
{
    if (rq->broken) {
        conn_close(c, PQerrorMessage(c->pq));
        request_free(rq);
        return NULL;
    }
    *c->tail = rq;
    c->tail = &rq->next;
    c->inflight++;
    /* With Flush the rows leave before the commit, not behind it. */
    if ((!rq->soon.fn || PQsendFlushRequest(c->pq)) && PQpipelineSync(c->pq))
        flush(c);
    else
        conn_close(c, PQerrorMessage(c->pq));
    return rq;
}

rc request_wait(struct cx *cx, struct request *rq)
{
    while (rq->state == RQ_WAITING) {
        rc r = fiber_park(cx);

        if (r != OK && rq->state == RQ_WAITING) {
            rq->fiber = NULL;
            rq->soon.fn = NULL;
            return r;
        }
    }
    return OK;
}

PGresult *request_take(struct request *rq, size_t i)
{
    for (size_t k = 0; k < rq->n; k++) {
        if (!rq->items[k].prepare && i-- == 0)
            return TAKE_PTR(rq->items[k].result);
    }
    return NULL;
}

/* Hand the answer to who waits; without anybody it ends here. */
static void finish(struct pg_conn *c, struct request *rq, enum request_state state)
{
    c->inflight--;
    rq->state = state;
    if (rq->fiber) {
        fiber_wake(rq->fiber);
        return;
    }
    if (rq->done)
        rq->done(c, rq);
    request_free(rq);
}

/* ---------------------------------------------------------------- answers */

static void answer_statement(struct pg_conn *c, struct request *rq, PGresult *res)
{
    struct request_item *it = &rq->items[rq->at];
    ExecStatusType status = PQresultStatus(res);

    PQclear(it->result);
    it->result = res;
    if (it->prepare) /* otherwise refused, or skipped behind an error */
        names_set(&c->names, it->q->name, status == PGRES_COMMAND_OK ? PREPARED_YES : PREPARED_NOT);
    if (status == PGRES_FATAL_ERROR && !rq->error) {
        rq->error = res;
        rq->error_q = it->q;
    }
}

/* NULL is the end of one statement, and of an error at Sync. */
static void answer_end(struct pg_conn *c, struct request *rq)
{
    if (rq->at < rq->n) {
        if (++rq->at == rq->n && rq->soon.fn && !rq->error) {
            rq->committing_mono_ms = clock_mono_ms();
            rq->soon.fn(rq->soon.arg);
        }
    } else if (rq->at_sync && !rq->at_sync_ended) {
        rq->at_sync_ended = true;
    } else {
        conn_close(c, "libpq is out of step with what was sent");
    }
}

static void answer(struct pg_conn *c, PGresult *res)
{
    struct request *rq = c->head;

    if (!res) {
        answer_end(c, rq);
    } else if (PQresultStatus(res) == PGRES_PIPELINE_SYNC && c->unsynced) {
        PQclear(res);
        conn_close(c, "a commit was not confirmed by the synchronous standby");
    } else if (PQresultStatus(res) == PGRES_PIPELINE_SYNC) {
        PQclear(res);
        c->head = rq->next;
        if (!c->head)
            c->tail = &c->head;
        finish(c, rq, RQ_ANSWERED);
    } else if (PQresultStatus(res) == PGRES_FATAL_ERROR &&
               !PQresultErrorField(res,
                                   PG_DIAG_SQLSTATE)) { /* libpq's own words, not the server's */
        conn_close(c, PQresultErrorMessage(res));
        PQclear(res);
    } else if (rq->at < rq->n) {
        answer_statement(c, rq, res);
    } else { /* the implicit transaction failed to commit */
        PQclear(rq->at_sync);
        rq->at_sync = res;
        if (!rq->error)
            rq->error = res;
    }
}

static void read_answers(struct pg_conn *c)
{
    PGnotify *n;
    bool some = false;

    while (c->pq && c->head && !PQisBusy(c->pq)) {
        some = true;
        answer(c, PQgetResult(c->pq));
    }
    while (c->pq && (n = PQnotifies(c->pq))) {
        if (c->on_notify)
            c->on_notify(c, n);
        PQfreemem(n);
    }
    if (some && c->pq && c->state == CONN_READY)
        c->on_change(c);
}

static void on_readable(evutil_socket_t fd, short what, void *arg)
{
    struct pg_conn *c = arg;
    bool ok = PQconsumeInput(c->pq);

    (void)fd;
    (void)what;
    read_answers(c); /* also what came before the end */
    if (!c->pq)
        return;
    if (!ok || PQstatus(c->pq) == CONNECTION_BAD)
        conn_close(c, PQerrorMessage(c->pq));
    else if (c->dying)
        conn_close(c, "the server ends this connection");
    else if (c->stale && !c->head)
        conn_close(c, NULL);
    else
        flush(c);
}

static void on_writable(evutil_socket_t fd, short what, void *arg)
{
    (void)fd;
    (void)what;
    flush(arg);
}

void conn_look(struct pg_conn *c)
{
    if (c->state == CONN_READY)
        on_readable(-1, 0, c);
}

static void on_notice(void *arg, const PGresult *res)
{
    struct pg_conn *c = arg;
    const char *severity = PQresultErrorField(res, PG_DIAG_SEVERITY_NONLOCALIZED);
    const char *text = PQresultErrorField(res, PG_DIAG_MESSAGE_PRIMARY);
    const char *state = PQresultErrorField(res, PG_DIAG_SQLSTATE);
    bool minor = str_eq(severity, "NOTICE") || str_eq(severity, "INFO") ||
                 str_eq(severity, "LOG") || str_eq(severity, "DEBUG");

    /* Committed here, and gone if the standby is promoted: whoever waits for that commit hears of a doubt. */
    c->unsynced |= text && starts_with(text, "canceling wait for synchronous replication");
    /* An error between two requests, or a neighbour's crash (a WARNING of class 57P): the end
     * follows. */
    if (str_eq(severity, "FATAL") || str_eq(severity, "PANIC") ||
        (state && starts_with(state, "57P")))
        c->dying = true;
    log_ev(minor ? LOG_DEBUG : LOG_WARN, "pg.notice", kv_str("severity", severity),
           kv_str("sqlstate", state), kv_str("text", text));
}

/* ---------------------------------------------------------------- opening */

static void unwatch(struct pg_conn *c)
{
    if (c->io)
        event_free(TAKE_PTR(c->io));
    if (c->write)
        event_free(TAKE_PTR(c->write));
}

static void became_ready(struct pg_conn *c)
{
    struct pg *db = c->db;

    c->state = CONN_READY;
    c->failures = 0;
    c->retry_at_mono_ms = 0;
    event_del(c->timer);
    if (db->down)
        log_ev(LOG_INFO, "pg.back", kv_int("after_ms", clock_mono_ms() - db->down_since_mono_ms));
    db->down = false;
    waitq_wake_all(&c->ready);
    c->on_change(c);
}

/* The process that the protocol named is the one that answers, unless a pooler stands between: PgBouncer makes the number up. In
 * transaction mode the next statement may meet another process, so names of statements are worth nothing. */
static void look_for_pooler(struct pg_conn *c, const PGresult *session)
{
    struct pg *db = c->db;

    c->pooled = atoi(PQgetvalue(session, 0, 0)) != PQbackendPID(c->pq);
    c->by_text = db->prepare == PG_PREPARE_OFF || (db->prepare == PG_PREPARE_AUTO && c->pooled);
    if (c->pooled && !db->pooler_seen)
        log_ev(LOG_INFO, "pg.pooler", kv_bool("prepares", !c->by_text));
    db->pooler_seen |= c->pooled;
}

static void session_done(struct pg_conn *c, struct request *rq)
{
    if (rq->state == RQ_LOST)
        return;
    if (rq->error) {
        conn_close(c, PQresultErrorField(rq->error, PG_DIAG_MESSAGE_PRIMARY));
        return;
    }
    look_for_pooler(c, rq->items[0].result);
    became_ready(c);
}

static void begin_session(struct pg_conn *c)
{
    struct request *rq;

    unwatch(c);
    c->io = event_new(loop_base(), PQsocket(c->pq), EV_READ | EV_PERSIST, on_readable, c);
    c->write = event_new(loop_base(), PQsocket(c->pq), EV_WRITE, on_writable, c);
    loop_first(c->io);
    event_add(c->io, NULL);
    if (PQsetnonblocking(c->pq, 1) != 0 || !PQenterPipelineMode(c->pq)) {
        conn_close(c, PQerrorMessage(c->pq));
        return;
    }
    c->by_text = true; /* a name could be taken, behind a pooler */
    rq = request_begin(NULL, 1);
    rq->done = session_done;
    request_put(c, rq, &SQL_MW_SESSION, NULL);
    request_end(c, rq);
}

/* Each host has its own time: one that answers nothing must not use up that of the others. libpq's strings tell them apart. */
static void give_time(struct pg_conn *c)
{
    const struct timeval limit = {(c->db->nhosts > 1 ? HOST_MS : ATTEMPT_MS) / 1000, 0};
    const char *at = PQhost(c->pq);

    if (at == c->at_host)
        return;
    c->at_host = at;
    event_add(c->timer, &limit);
}

static void poll_connect(struct pg_conn *c, PostgresPollingStatusType next);

static void on_poll(evutil_socket_t fd, short what, void *arg)
{
    struct pg_conn *c = arg;

    (void)fd;
    (void)what;
    poll_connect(c, PQconnectPoll(c->pq));
}

static void poll_connect(struct pg_conn *c, PostgresPollingStatusType next)
{
    if (next == PGRES_POLLING_OK) {
        begin_session(c);
    } else if (next == PGRES_POLLING_FAILED) {
        conn_close(c, PQerrorMessage(c->pq));
    } else {
        unwatch(c); /* the next host means another socket */
        c->io = event_new(loop_base(), PQsocket(c->pq),
                          next == PGRES_POLLING_READING ? EV_READ : EV_WRITE, on_poll, c);
        event_add(c->io, NULL);
        give_time(c);
    }
}

/* On the loop's stack. What stands before dbname the connection string may overrule, what stands
 * behind it not. */
static void open_now(struct pg_conn *c)
{
    struct pg *db = c->db;
    struct hosts h = {0};
    const char *keys[12] = {
        "fallback_application_name", "tcp_user_timeout", "keepalives_idle", "keepalives_interval",
        "keepalives_count",          "dbname",           "client_encoding"};
    const char *values[12] = {program_invocation_short_name,
                              "8000",
                              "20",
                              "5",
                              "3",
                              c->conninfo ? c->conninfo : db->conninfo,
                              "UTF8"};

    if (!c->conninfo && db->first_host > 0)
        hosts_from(db->conninfo, db->first_host, &h, keys + 7, values + 7);
    c->state = CONN_OPENING;
    c->stale = c->dying = c->unsynced = c->pooled = false;
    c->at_host = NULL;
    c->pq = PQconnectStartParams(keys, values, /* expand_dbname= */ 1);
    hosts_release(&h);
    if (!c->pq)
        abort(); /* out of memory */
    PQsetNoticeReceiver(c->pq, on_notice, c);
    give_time(c);
    poll_connect(c,
                 PQstatus(c->pq) == CONNECTION_BAD ? PGRES_POLLING_FAILED : PGRES_POLLING_WRITING);
}

/* libpq moves on from a host that refuses, by itself; from one that says nothing we move on: the next attempt begins behind
 * it. */
static void on_timer(evutil_socket_t fd, short what, void *arg)
{
    struct pg_conn *c = arg;

    (void)fd;
    (void)what;
    if (c->state == CONN_CLOSED) {
        open_now(c);
        return;
    }
    if (!c->conninfo && c->db->nhosts > 1)
        c->db->first_host = (c->db->first_host + 1) % c->db->nhosts;
    conn_close(c, "no answer to the attempt to connect");
}

void conn_want(struct pg_conn *c)
{
    if (c->state != CONN_CLOSED)
        return;
    if (!c->timer)
        c->timer = event_new(loop_base(), -1, 0, on_timer, c);
    if (event_pending(c->timer, EV_TIMEOUT, NULL))
        return;
    int64_t ms = MAX(c->retry_at_mono_ms - clock_mono_ms(), 0);
    struct timeval tv = {ms / 1000, (ms % 1000) * 1000};
    event_add(c->timer, &tv);
}

rc conn_ready(struct cx *cx, struct pg_conn *c, int64_t ms)
{
    _cleanup_(cx_deadline_restore) struct cx_deadline d = cx_deadline_within(cx, ms);

    while (c->state != CONN_READY || c->stale) {
        conn_want(c);
        rc r = waitq_wait(cx, &c->ready);
        if (r == E_DEADLINE)
            return fail(cx, STORE_DOWN, "PostgreSQL cannot be reached: %s",
                        c->db->why[0] ? c->db->why : "no answer yet");
        try(r);
    }
    return OK;
}

/* ---------------------------------------------------------------- the end */

/* The first line of libpq's words, without its full sentence's newline. */
static void note_why(struct pg *db, const char *why)
{
    size_t n = strcspn(why, "\n");

    n = utf8_cut(why, MIN(n, sizeof db->why - 1));
    memcpy(db->why, why, n);
    db->why[n] = 0;
}

static void note_loss(struct pg_conn *c, enum conn_state was, const char *why)
{
    struct pg *db = c->db;

    note_why(db, why);
    if (was == CONN_READY) {
        log_ev(LOG_WARN, "pg.lost", kv_str("why", db->why),
               kv_int("in_flight", (int64_t)c->inflight));
        c->retry_at_mono_ms = clock_mono_ms() + (int64_t)random_below(50);
        return;
    }
    c->failures = MIN(c->failures + 1, 6u);
    c->retry_at_mono_ms =
        clock_mono_ms() + 1 + (int64_t)random_below(MIN((uint64_t)2000, 50ull << c->failures));
    if (!db->down) {
        db->down = true;
        db->down_since_mono_ms = clock_mono_ms();
        log_ev(LOG_WARN, "pg.unreachable", kv_str("why", db->why));
    }
}

void conn_close(struct pg_conn *c, const char *why)
{
    struct request *rq = c->head;
    enum conn_state was = c->state;

    if (was == CONN_CLOSED)
        return;
    if (why)
        note_loss(c, was, why);
    c->state = CONN_CLOSED;
    c->stale = false;
    c->head = NULL;
    c->tail = &c->head;
    unwatch(c);
    event_del(c->timer);
    PQfinish(TAKE_PTR(c->pq));
    names_release(&c->names);
    while (rq) {
        struct request *next = rq->next;

        finish(c, rq, RQ_LOST);
        rq = next;
    }
    waitq_wake_all(&c->ready);
    c->on_change(c);
}

#define CANCELS_MAX 1 /* at once: to a host that answers nothing each keeps a thread for minutes */
#define CANCEL_MS   300

struct cancel {
    PGcancel *key;
};
static int cancels; /* not freed yet */

static void cancel_free(void *arg)
{
    struct cancel *k = arg;

    PQfreeCancel(k->key);
    free(k);
    cancels--;
}

static void cancel_send(void *arg)
{
    struct cancel *k = arg;
    char words[256];

    PQcancel(k->key, words,
             sizeof words); /* a request only: the server answers neither yes nor no */
}

static rc cancel_run(struct cx *cx, void *arg)
{
    rc r = offload_run(cx, cancel_send, arg, cancel_free);

    if (r == OK || r == E_OVERLOADED)
        cancel_free(arg);
    return r;
}

void conn_abort(struct pg_conn *c)
{
    struct cancel *k;

    if (c->state != CONN_READY)
        return;
    if (c->head && cancels < CANCELS_MAX) { /* PQcancel blocks: a fiber and a thread of its own */
        cancels++;
        k = xcalloc(1, sizeof *k);
        k->key = PQgetCancel(c->pq);
        fiber_detach(fiber_spawn(&(struct fiber_opts){.name = "pg.cancel", .timeout_ms = CANCEL_MS},
                                 cancel_run, k));
    }
    conn_close(c, NULL);
}

void conn_retire(struct pg_conn *c)
{
    if (c->state != CONN_READY)
        return;
    c->stale = true;
    if (!c->head)
        conn_close(c, NULL);
}

void conn_init(struct pg_conn *c, struct pg *db, void (*on_change)(struct pg_conn *c))
{
    *c = (struct pg_conn){.db = db, .on_change = on_change};
    c->tail = &c->head;
}

void conn_release(struct pg_conn *c)
{
    conn_close(c, NULL);
    if (c->timer)
        event_free(TAKE_PTR(c->timer));
    assert(waitq_empty(&c->ready));
}
