/* result.c - parameters in, rows and failures out. struct pg_result is libpq's PGresult under our
 * name. */
#include "base/clock.h"
#include "base/text.h"
#include "pg/db.h"
#include <assert.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---------------------------------------------------------------- parameters */

struct pg_arg pg_s(const char *s)
{
    return (struct pg_arg){.s = s, .len = s ? strlen(s) : 0};
}

struct pg_arg pg_i(int64_t n)
{
    struct pg_arg a = {0};

    snprintf(a.num, sizeof a.num, "%" PRId64, n);
    return a;
}

struct pg_arg pg_b(bool b)
{
    return (struct pg_arg){.s = b ? "t" : "f", .len = 1};
}

struct pg_arg pg_t(int64_t ms)
{
    struct pg_arg a = {0};

    if (ms)
        clock_format(ms, a.num);
    return a;
}

struct pg_arg pg_bytes(const void *p, size_t n)
{
    return (struct pg_arg){.s = p, .len = n, .bytes = true};
}

/* ---------------------------------------------------------------- rows */

static const PGresult *rows(const struct pg_result *r)
{
    return (const PGresult *)r;
}

int pg_rows(const struct pg_result *r)
{
    return PQntuples(rows(r));
}

int64_t pg_affected(const struct pg_result *r)
{
    return atoll(PQcmdTuples((PGresult *)r));
}

const char *pg_text(const struct pg_result *r, int row, int col)
{
    assert(row >= 0 && row < PQntuples(rows(r)) && col >= 0 && col < PQnfields(rows(r)));
    return PQgetisnull(rows(r), row, col) ? NULL : PQgetvalue(rows(r), row, col);
}

size_t pg_row_bytes(const struct pg_result *r, int row)
{
    size_t n = 0;

    for (int col = 0; col < PQnfields(rows(r)); col++)
        n += (size_t)PQgetlength(rows(r), row, col);
    return n;
}

const char *pg_col(const struct pg_result *r, int row, const char *name)
{
    int col = PQfnumber(rows(r), name);

    assert(col >= 0);
    return pg_text(r, row, col);
}

int64_t pg_int(const struct pg_result *r, int row, int col)
{
    const char *s = pg_text(r, row, col);

    return s ? strtoll(s, NULL, 10) : 0;
}

bool pg_bool(const struct pg_result *r, int row, int col)
{
    return str_eq(pg_text(r, row, col), "t");
}

int64_t pg_ms(const struct pg_result *r, int row, int col)
{
    const char *s = pg_text(r, row, col);
    int64_t ms = 0;

    if (s && !clock_parse(s, &ms))
        assert(!"the column is no timestamptz");
    return ms;
}

const unsigned char *pg_get_bytes(struct cx *cx, const struct pg_result *r, int row, int col,
                                  size_t *ret_len)
{
    const char *s = pg_text(r, row, col);
    size_t n;

    *ret_len = 0;
    if (!s)
        return NULL;
    assert(s[0] == '\\' && s[1] == 'x'); /* bytea_output is hex in every session */
    n = (strlen(s) - 2) / 2;
    unsigned char *p = arena_alloc(&cx->arena, n + 1);
    if (!hex_decode(s + 2, p, n))
        assert(!"the column is no bytea");
    *ret_len = n;
    return p;
}

void pg_result_freep(struct pg_result **r)
{
    PQclear((PGresult *)TAKE_PTR(*r));
}

/* ---------------------------------------------------------------- failures */

/* The first row whose state is a prefix decides. */
static const struct {
    const char *state;
    rc code;
    enum verdict verdict;
} failures[] = {
    {"40001", E_PG_RETRY, VERDICT_AGAIN}, /* serialization failure */
    {"40P01", E_PG_RETRY, VERDICT_AGAIN}, /* deadlock */
    {"55P03", E_PG_RETRY,
     VERDICT_FINAL}, /* lock_timeout: five more seconds each would be no help */
    {"57014", E_DEADLINE, VERDICT_FINAL}, /* statement_timeout, or cancelled by an operator */
    {"23505", E_PG_UNIQUE, VERDICT_FINAL},
    {"23", E_PG_CONSTRAINT, VERDICT_FINAL},
    {"P0001", E_PG_CONSTRAINT, VERDICT_FINAL}, /* RAISE in a trigger */
    {"26000", E_PG_RETRY, VERDICT_STALE},      /* our idea of what is prepared here was wrong */
    {"25006", E_STORE_DOWN, VERDICT_STALE},    /* a server that has become a standby */
    {"53", E_STORE_DOWN, VERDICT_FINAL},       /* disk full, out of memory, too many connections */
    {"57P", E_STORE_DOWN, VERDICT_FINAL},      /* shutting down, starting up */
    {"58", E_STORE_DOWN, VERDICT_FINAL},       /* the server's disk */
    {"", E_PG, VERDICT_FINAL},
};

rc pg_failure(struct cx *cx, const PGresult *error, const struct sql *q, enum verdict *ret)
{
    const char *state = PQresultErrorField(error, PG_DIAG_SQLSTATE);
    const char *words = PQresultErrorField(error, PG_DIAG_MESSAGE_PRIMARY);
    const char *rule = PQresultErrorField(error, PG_DIAG_CONSTRAINT_NAME);
    const char *where = PQresultErrorField(error, PG_DIAG_SOURCE_FUNCTION);
    size_t i = 0;
    rc r;

    state = state ? state : "";
    words = words ? words : "no words";
    while (!starts_with(state, failures[i].state))
        i++;
    *ret = failures[i].verdict;
    r = failures[i].code;
    if (str_eq(state, "0A000") &&
        str_eq(where, "RevalidateCachedQuery")) { /* "cached plan must not change" */
        *ret = VERDICT_STALE;
        r = E_PG_RETRY;
    }
    /* A value that cannot be read is quoted in the words, and may be a secret. */
    int len = starts_with(state, "22") ? (int)strcspn(words, "\"") : (int)strlen(words);
    fail_rc(cx, r, "%s: %.*s (SQLSTATE %s)", q ? q->name : "commit", len, words, state);
    snprintf(cx->err.rule, sizeof cx->err.rule, "%s", rule ? rule : "");
    return r;
}

const char *pg_constraint(const struct cx *cx)
{
    return cx->err.code == E_PG_UNIQUE || cx->err.code == E_PG_CONSTRAINT ? cx->err.rule : "";
}
