/* command_history.h - the black box: read, and proved to be whole. Written only by requests_end.
 *
 *   row n:   hash = SHA-256(hash of row n-1, all columns of row n)      head: (n, hash of row n)
 *
 * Verifying walks the chain in C, from the columns as they are now. Who changes a row breaks its own hash; who
 * mends that hash breaks the next link; who mends all of it must also mend the head; and who does even that (a
 * superuser, with triggers off) is found by an anchor: a (seq, hash) kept elsewhere. */
#pragma once
#include "base/buf.h"
#include "base/id.h"
#include "pg/pg.h"
#include "secure/digest.h"

struct history_row {
    int64_t seq;
    const char *job_id, *request_id, *tenant_id;
    const char *agent_id, *requested_by_user_id; /* NULL: none */
    const char *requested_by, *command, *payload, *status;
    const char *response; /* NULL: none */
    int64_t created_ms, completed_ms, archived_ms;
};
struct history_filter {
    const char *tenant_id;      /* NULL: all */
    const char *agent_id;       /* NULL: any */
    const char *command;        /* NULL: any */
    const char *status;         /* completed, failed, timeout; NULL: any */
    const char *job_id;         /* NULL: any */
    int64_t since_ms, until_ms; /* created in [since, until); 0: open */
    int64_t after;              /* the cursor: the last seq of the page before; 0: first page */
    int limit;                  /* 1..500; 0: 50 */
};
/* Newest first. *ret_next 0: no further page. INVALID_FIELD (/status, /job_id, /limit). Parks. */
rc history_list(struct cx *cx, struct pg *db, const struct history_filter *f,
                struct history_row **ret, size_t *ret_n, int64_t *ret_next) MW_PARKS;
rc history_row_json(struct cx *cx, const struct history_row *h, struct buf *out);

enum history_fault_kind {
    HISTORY_CHANGED, /* the row's columns do not give its hash */
    HISTORY_REWRITTEN, /* the row's hash is not the one that its successor (or the head) was built on */
    HISTORY_MISSING, /* rows from seq to last_seq are not there */
    HISTORY_EXTRA,   /* a second row of that seq, or one that the head does not know */
    HISTORY_HEAD,    /* the head names a row that is not there, or was set back */
    HISTORY_ANCHOR,  /* the row is another one than the anchor says */
};
struct history_fault {
    enum history_fault_kind kind;
    int64_t seq, last_seq; /* last_seq: MISSING only */
    const char *job_id;    /* NULL: not known; lives as long as the call */
    const char *words;     /* one sentence that names the row */
};
struct history_verdict {
    int64_t rows, first_seq, last_seq; /* read; 0: the history is empty */
    int64_t faults;
    char head[DIGEST_HEX_LEN + 1]; /* the last link's hash: the anchor to keep elsewhere */
};
struct history_anchor {
    int64_t seq;
    const char *hash; /* hex */
};
/* Reads everything in pieces; no lock is held, rows added meanwhile are left for the next time. report is called for
 * each fault in the order of seq (NULL: only counted). anchor NULL: none. An OK says that it was read, not that it is whole:
 * ret->faults does. Parks. */
rc history_verify(struct cx *cx, struct pg *db, const struct history_anchor *anchor,
                  void (*report)(void *arg, const struct history_fault *f), void *arg,
                  struct history_verdict *ret) MW_PARKS;

/* Partitions of this month and the next two. *ret_made: how many were made. Parks. */
rc history_partitions(struct cx *cx, struct pg *db, int64_t *ret_made) MW_PARKS;
