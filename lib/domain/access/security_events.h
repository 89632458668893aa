/* security_events.h - what was refused: to whom, from where, on which route, why.
 *
 * Append-only, written in batches by the hubs (hub/refusals.h folds alike ones); deleted by retention
 * when older than a day at least. Nothing secret is ever in one: a credential is named by its prefix. */
#pragma once
#include "base/buf.h"
#include "pg/pg.h"

struct security_event {
    int64_t id, at_ms;
    const char *tenant_id; /* NULL: nobody's, it is not known whose */
    const char *kind;      /* "no_credentials", "forbidden", …: docs/operations.md has the list */
    const char *door;      /* "web", "mtls" */
    const char *identity;  /* who it claimed or proved to be; NULL: nobody */
    const char *source;    /* address; NULL: not known */
    const char *route;     /* "POST /v1/orders"; NULL: none */
    const char *detail;    /* why; NULL: nothing to add */
    int64_t times;         /* how many alike this row stands for */
};

/* All of them in one statement; id is not read. A source that is no address is left out. Parks. */
rc security_events_add(struct cx *cx, struct pg *db, const struct security_event *e,
                       size_t n) MW_PARKS;

struct security_filter {
    const char *tenant_id;                /* NULL: of all, and of nobody */
    const char *kind, *source, *identity; /* NULL: any. source: an address, or a net (10.0.0.0/8) */
    int64_t since_ms;                     /* 0: from the beginning */
    int64_t after;                        /* 0, or the id of the last one seen: older ones follow */
    int limit;
};
/* Newest first. *ret is in cx's arena. INVALID_FIELD (/source). Parks. */
rc security_event_list(struct cx *cx, struct pg *db, const struct security_filter *f,
                       struct security_event **ret, size_t *ret_n) MW_PARKS;
void security_event_json(const struct security_event *e, struct buf *out);
