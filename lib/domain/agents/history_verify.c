/* history_verify.c - is the chain whole? (command_history.h)
 *
 *   head H ── rows 1..H, a piece at a time ── last link = head's hash? ── rows beyond the head?
 *                  |
 *                  `-- hash(prev_hash, columns) = hash?   prev_hash = the row before's hash?   seq = the one before + 1?
 *
 * The walk goes on behind a fault, with what the row says of itself: so each fault is told once. */
#include "base/text.h"
#include "domain/agents/command_history.h"
#include "domain/agents/command_history.sql.h"
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#define PIECE 1000
#define NONE  "00000000-0000-0000-0000-000000000000"

struct walk {
    const struct history_anchor *anchor;
    void (*report)(void *arg, const struct history_fault *f);
    void *arg;
    struct history_verdict *v;
    int64_t seq; /* the last row seen */
    char job_id[ID_LEN + 1];
    unsigned char hash[DIGEST_LEN]; /* what it says of itself */
};

static void tell(struct walk *w, enum history_fault_kind kind, int64_t seq, int64_t last_seq,
                 const char *job_id, const char *words)
{
    w->v->faults++;
    if (w->report)
        w->report(w->arg, &(struct history_fault){kind, seq, last_seq, job_id, words});
}

static void tell_missing(struct walk *w, int64_t from, int64_t to)
{
    char words[160];

    if (from == to)
        snprintf(words, sizeof(words), "row %" PRId64 " is missing", from);
    else
        snprintf(words, sizeof(words), "rows %" PRId64 " to %" PRId64 " are missing", from, to);
    tell(w, HISTORY_MISSING, from, to, NULL, words);
}

static void tell_row(struct walk *w, enum history_fault_kind kind, int64_t seq, const char *job_id,
                     const char *what)
{
    char words[200];

    snprintf(words, sizeof(words), "row %" PRId64 " (job %s) %s", seq, job_id, what);
    tell(w, kind, seq, 0, job_id, words);
}

/* ---------------------------------------------------------------- one row */

/* bytea as it comes: \\x and hex digits. Not into the arena: there are millions of rows. */
static bool hash_read(const struct pg_result *res, int row, int col, unsigned char *out)
{
    const char *s = pg_text(res, row, col);

    return s && strlen(s) == 2 + DIGEST_HEX_LEN && hex_decode(s + 2, out, DIGEST_LEN);
}

static void check_anchor(struct walk *w, int64_t seq, const char *job_id, const unsigned char *hash)
{
    char hex[DIGEST_HEX_LEN + 1];

    if (!w->anchor || w->anchor->seq != seq)
        return;
    if (strcasecmp(hex_encode(hash, DIGEST_LEN, hex), w->anchor->hash) != 0)
        tell_row(w, HISTORY_ANCHOR, seq, job_id, "is another one than the anchor says");
}

/* hash = SHA-256(prev_hash || material)? */
static bool own_hash_holds(const unsigned char *prev, const char *material,
                           const unsigned char *hash)
{
    unsigned char digest[DIGEST_LEN];
    _cleanup_(buf_release) struct buf b = BUF(MiB(64));

    buf_append(&b, prev, DIGEST_LEN);
    buf_puts(&b, material);
    sha256_bytes(b.p, b.len, digest);
    return buf_ok(&b) && memcmp(digest, hash, DIGEST_LEN) == 0;
}

static rc check_row(struct cx *cx, struct walk *w, const struct pg_result *res, int row)
{
    int64_t seq = pg_int(res, row, 0);
    const char *job_id = pg_text(res, row, 1);
    unsigned char prev[DIGEST_LEN], hash[DIGEST_LEN];

    if (!hash_read(res, row, 2, prev) || !hash_read(res, row, 3, hash))
        return fail(cx, SCHEMA, "row %" PRId64 " of the history has no hash", seq);
    w->v->rows++;
    if (seq == w->seq) {
        tell_row(w, HISTORY_EXTRA, seq, job_id, "is a second one of its number");
        memcpy(w->job_id, job_id, ID_LEN);
        return OK;
    }
    if (seq != w->seq + 1)
        tell_missing(w, w->seq + 1, seq - 1);
    else if (memcmp(prev, w->hash, DIGEST_LEN) != 0 && w->seq == 0)
        tell_row(w, HISTORY_CHANGED, seq, job_id, "does not begin the chain");
    else if (memcmp(prev, w->hash, DIGEST_LEN) != 0)
        tell_row(w, HISTORY_REWRITTEN, w->seq, w->job_id,
                 "is not the one that the next was built on");
    if (!own_hash_holds(prev, pg_text(res, row, 4), hash))
        tell_row(w, HISTORY_CHANGED, seq, job_id, "was changed");
    check_anchor(w, seq, job_id, hash);
    w->seq = seq;
    memcpy(w->job_id, job_id, ID_LEN);
    memcpy(w->hash, hash, DIGEST_LEN);
    if (!w->v->first_seq)
        w->v->first_seq = seq;
    w->v->last_seq = seq;
    return OK;
}

/* ---------------------------------------------------------------- all of them */

static rc check_piece(struct cx *cx, struct pg *db, struct walk *w, int64_t head, bool *ret_more)
{
    _cleanup_(pg_result_freep) struct pg_result *res = NULL;

    try(pg_do(cx, db, SQL_HISTORY_CHAIN, &res, pg_i(w->seq), pg_s(w->job_id), pg_i(head),
              pg_i(PIECE)));
    for (int i = 0; i < pg_rows(res); i++)
        try(check_row(cx, w, res, i));
    *ret_more = pg_rows(res) == PIECE;
    return OK;
}

static void check_head(struct walk *w, int64_t head, const unsigned char *hash)
{
    char words[200];

    if (w->seq < head) {
        tell_missing(w, w->seq + 1, head);
    } else if (memcmp(hash, w->hash, DIGEST_LEN) != 0) {
        snprintf(words, sizeof(words),
                 "the head was built on another row %" PRId64 " (job %s): one of them was changed",
                 head, w->job_id);
        tell(w, HISTORY_HEAD, head, 0, w->job_id, words);
    }
    if (w->anchor && w->anchor->seq > head) {
        snprintf(words, sizeof(words), "the head is at %" PRId64 ", the anchor was at %" PRId64,
                 head, w->anchor->seq);
        tell(w, HISTORY_HEAD, head, 0, NULL, words);
    }
}

static rc check_beyond(struct cx *cx, struct pg *db, struct walk *w)
{
    _cleanup_(pg_result_freep) struct pg_result *res = NULL;

    try(pg_query(cx, db, &SQL_HISTORY_BEYOND, &res, PG_NO_ARGS));
    for (int i = 0; i < pg_rows(res); i++)
        tell_row(w, HISTORY_EXTRA, pg_int(res, i, 0), pg_text(res, i, 1),
                 "is not known to the head");
    return OK;
}

rc history_verify(struct cx *cx, struct pg *db, const struct history_anchor *anchor,
                  void (*report)(void *arg, const struct history_fault *f), void *arg,
                  struct history_verdict *ret)
{
    _cleanup_(pg_result_freep) struct pg_result *res = NULL;
    struct walk w = {.anchor = anchor, .report = report, .arg = arg, .v = ret, .job_id = NONE};
    unsigned char hash[DIGEST_LEN];
    bool more = true;

    *ret = (struct history_verdict){0};
    try(pg_query(cx, db, &SQL_HISTORY_HEAD, &res, PG_NO_ARGS));
    if (pg_rows(res) != 1)
        return fail(cx, SCHEMA, "the history has no head");
    int64_t head = pg_int(res, 0, 0);
    if (!hash_read(res, 0, 1, hash))
        return fail(cx, SCHEMA, "the head of the history has no hash");
    while (more)
        try(check_piece(cx, db, &w, head, &more));
    check_head(&w, head, hash);
    try(check_beyond(cx, db, &w));
    hex_encode(hash, DIGEST_LEN, ret->head);
    return OK;
}
