/* refusals.h - every refusal on record, without anybody waiting for it.
 *
 *   refusal_note --> folded with one alike of the same second (times + 1), or a row more
 *                        |                                   full: counted, written as one row 'dropped'
 *                        `--> one fiber --at once, then each second, or when half full--> security_events, many in one statement
 *
 * Alike: same door, source, kind and route; and the same identity and detail where the identity is proven
 * (`known`): guesses make up a new one each time. A batch that cannot be written is tried again; where its end was in doubt a
 * row may stand twice. A process that is killed takes the last second with it. */
#pragma once
#include "hub/metrics.h"
#include "hub/request.h"
#include "pg/pg.h"

struct refusal {
    const char *kind; /* "forbidden": [a-z_]+ */
    enum door_kind door;
    const char *source;    /* address */
    const char *route;     /* "POST /v1/orders"; NULL: none */
    const char *identity;  /* who it claimed or proved to be; no secret; NULL */
    const char *tenant_id; /* NULL or "": nobody's */
    const char *detail;    /* why; NULL */
    bool known;  /* identity is proven, or a row here: it and the detail tell rows apart */
    bool slowed; /* for being too many: the detail does not */
};

#define REFUSALS_MAX 1024 /* rows that wait */

struct refusals;
/* Spawns the fiber that writes; it ends when it is cancelled. `add` is security_events_add (a test has
 * its own). */
struct security_event;
typedef rc (*refusals_add_fn)(struct cx *cx, struct pg *db, const struct security_event *e,
                              size_t n);
struct refusals *refusals_new(struct pg *db, struct metrics *m, refusals_add_fn add);
struct refusals *refusals_free(struct refusals *r); /* its fiber has ended */
/* Copied. Does not park. */
void refusal_note(struct refusals *r, const struct refusal *e);
/* Waits until everything noted so far is written, until cx's deadline. Parks. */
rc refusals_flush(struct cx *cx, struct refusals *r) MW_PARKS;
