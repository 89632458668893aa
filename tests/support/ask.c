/* ask.c - one blocking question to PostgreSQL or Redis, for tests that look from outside.
 *
 * One connection per process and url is kept; Check's forked tests make their own. Answers are
 * copied into 32 buffers used in turn, so that a test can compare two without freeing anything. */
#include "base/buf.h"
#include "tests/support/stores.h"
#include <hiredis/hiredis.h>
#include <libpq-fe.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define ANSWER_MAX MiB(4)

static const char *keep(char *text)
{
    static char *texts[32];
    static unsigned turn;
    char **slot = &texts[turn++ % COUNT(texts)];
    free(*slot);
    return *slot = text;
}

static char *format(const char *fmt, va_list ap)
{
    char *text = NULL;
    if (vasprintf(&text, fmt, ap) < 0)
        abort();
    return text;
}

/* ---------------------------------------------------------------- PostgreSQL */

static struct pg_kept {
    PGconn *c;
    pid_t pid;
    char url[192];
} pg_kept[8];

static void no_notice(void *arg, const char *words)
{
    (void)arg, (void)words;
}

/* A connection that answers now, or NULL with the words. */
static struct pg_kept *pg_at(const char *url, const char **ret_error)
{
    static unsigned turn;
    struct pg_kept *k = NULL;
    for (size_t i = 0; i < COUNT(pg_kept) && !k; i++)
        if (pg_kept[i].c && pg_kept[i].pid == getpid() && strcmp(pg_kept[i].url, url) == 0)
            k = &pg_kept[i];
    if (!k) {
        k = &pg_kept[turn++ % COUNT(pg_kept)];
        /* A parent's connection is left open: closing it would say goodbye in the parent's name. */
        if (k->c && k->pid == getpid())
            PQfinish(k->c);
        *k = (struct pg_kept){.c = PQconnectdb(url), .pid = getpid()};
        snprintf(k->url, sizeof(k->url), "%s", url);
        PQsetNoticeProcessor(k->c, no_notice, NULL);
    }
    if (PQstatus(k->c) != CONNECTION_OK) {
        if (ret_error)
            *ret_error = keep(xstrdup(PQerrorMessage(k->c)));
        PQfinish(k->c);
        *k = (struct pg_kept){0};
        return NULL;
    }
    return k;
}

static PGresult *pg_ask(const char *url, const char *sql, const char **ret_error)
{
    /* Twice: a kept connection may have died with its server since. */
    for (int round = 0; round < 2; round++) {
        struct pg_kept *k = pg_at(url, ret_error);
        if (!k)
            continue;
        PGresult *r = PQexec(k->c, sql);
        ExecStatusType s = PQresultStatus(r);
        if (s == PGRES_TUPLES_OK || s == PGRES_COMMAND_OK)
            return r;
        if (ret_error)
            *ret_error = keep(xstrdup(PQerrorMessage(k->c)));
        PQclear(r);
        if (PQstatus(k->c) == CONNECTION_OK)
            return NULL;
    }
    return NULL;
}

static const char *first_of(PGresult *r)
{
    if (PQntuples(r) == 0 || PQnfields(r) == 0)
        return NULL;
    return keep(xstrdup(PQgetvalue(r, 0, 0)));
}

const char *pg_try(const char *url, const char **ret_error, const char *sql, ...)
{
    va_list ap;
    va_start(ap, sql);
    _cleanup_(freep) char *text = format(sql, ap);
    va_end(ap);
    PGresult *r = pg_ask(url, text, ret_error);
    const char *answer = r ? first_of(r) : NULL;
    PQclear(r);
    return answer;
}

static PGresult *pg_must(const char *url, const char *sql, va_list ap)
{
    _cleanup_(freep) char *text = format(sql, ap);
    const char *error = "";
    PGresult *r = pg_ask(url, text, &error);
    if (!r)
        ck_abort_msg("%s\n%s", text, error);
    return r;
}

const char *pg_one(const char *url, const char *sql, ...)
{
    va_list ap;
    va_start(ap, sql);
    PGresult *r = pg_must(url, sql, ap);
    va_end(ap);
    const char *answer = first_of(r);
    PQclear(r);
    return answer;
}

int64_t pg_one_int(const char *url, const char *sql, ...)
{
    va_list ap;
    va_start(ap, sql);
    PGresult *r = pg_must(url, sql, ap);
    va_end(ap);
    const char *answer = first_of(r);
    PQclear(r);
    return answer && answer[0] ? atoll(answer) : -1;
}

char *pg_table(const char *url, const char *sql, ...)
{
    struct buf b = BUF(ANSWER_MAX);
    va_list ap;
    va_start(ap, sql);
    PGresult *r = pg_must(url, sql, ap);
    va_end(ap);
    for (int row = 0; row < PQntuples(r); row++)
        for (int col = 0; col < PQnfields(r); col++) {
            buf_puts(&b, PQgetvalue(r, row, col));
            buf_putc(&b, col + 1 < PQnfields(r) ? '|' : '\n');
        }
    PQclear(r);
    return buf_take(&b);
}

/* ---------------------------------------------------------------- Redis */

static struct redis_kept {
    redisContext *c;
    pid_t pid;
    char url[128];
} redis_kept[4];

static struct redis_kept *redis_at(const char *url)
{
    static unsigned turn;
    struct redis_kept *k = NULL;
    struct timeval limit = {.tv_sec = 5};
    char host[64];
    int port;
    for (size_t i = 0; i < COUNT(redis_kept) && !k; i++)
        if (redis_kept[i].c && redis_kept[i].pid == getpid() && strcmp(redis_kept[i].url, url) == 0)
            k = &redis_kept[i];
    if (!k) {
        k = &redis_kept[turn++ % COUNT(redis_kept)];
        if (k->c)
            redisFree(k->c); /* closes our copy of the descriptor only */
        *k = (struct redis_kept){.pid = getpid()};
        snprintf(k->url, sizeof(k->url), "%s", url);
        if (strncmp(url, "unix:", 5) == 0)
            k->c = redisConnectUnixWithTimeout(url + 5, limit);
        else if (sscanf(url, "redis://%63[^:]:%d", host, &port) == 2)
            k->c = redisConnectWithTimeout(host, port, limit);
        else
            support_die("%s is no Redis URL for tests", url);
        if (k->c && !k->c->err)
            redisSetTimeout(k->c, limit);
    }
    if (!k->c || k->c->err) {
        if (k->c)
            redisFree(k->c);
        *k = (struct redis_kept){0};
        return NULL;
    }
    return k;
}

static bool put(struct buf *b, const redisReply *r)
{
    switch (r->type) {
    case REDIS_REPLY_INTEGER:
        return buf_printf(b, "%lld", r->integer);
    case REDIS_REPLY_NIL:
        return false;
    case REDIS_REPLY_ARRAY:
        for (size_t i = 0; i < r->elements; i++) {
            if (i)
                buf_putc(b, '\n');
            put(b, r->element[i]);
        }
        return true;
    default:
        return buf_append(b, r->str, r->len);
    }
}

static redisReply *redis_ask(const char *url, const char *fmt, va_list ap)
{
    for (int round = 0; round < 2; round++) {
        struct redis_kept *k = redis_at(url);
        va_list again;
        va_copy(again, ap);
        redisReply *r = k ? redisvCommand(k->c, fmt, again) : NULL;
        va_end(again);
        if (r)
            return r;
        if (k) {
            redisFree(k->c);
            *k = (struct redis_kept){0};
        }
    }
    return NULL;
}

static const char *text_of(redisReply *r)
{
    struct buf b = BUF(ANSWER_MAX);
    bool there = put(&b, r);
    char *text = buf_take(&b);
    if (there)
        return keep(text);
    free(text);
    return NULL;
}

const char *redis_try(const char *url, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    redisReply *r = redis_ask(url, fmt, ap);
    va_end(ap);
    const char *answer = r && r->type != REDIS_REPLY_ERROR ? text_of(r) : NULL;
    if (r)
        freeReplyObject(r);
    return answer;
}

const char *redis_one(const char *url, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    redisReply *r = redis_ask(url, fmt, ap);
    va_end(ap);
    if (!r)
        ck_abort_msg("%s: Redis does not answer", fmt);
    if (r->type == REDIS_REPLY_ERROR)
        ck_abort_msg("%s: %s", fmt, r->str);
    const char *answer = text_of(r);
    freeReplyObject(r);
    return answer;
}
