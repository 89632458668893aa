/* request_batch.h - accepting requests, many at a time: what the hub gathers (requests.h has the way
 * for one).
 *
 *     request_new_check  --rows-->  requests_insert  --one statement-->  requests + jobs, one commit
 *                                   then  requests_push --> Redis
 *
 * As orders are accepted (orders/order_create.h): whoever is new goes in with its request.run job; a
 * row that lost (same Idempotency-Key, same id) is looked up: the first answer again, or a mismatch.
 * Ids are made before sending, so a batch whose commit is in doubt is sent again and finds itself. If
 * the statement fails for a row's sake, rows go one by one, and only the bad one hears of it. */
#pragma once
#include "domain/agents/requests.h"

enum request_made {
    REQUEST_REFUSED = 0, /* err tells why: UNKNOWN_AGENT, IDEMPOTENCY_MISMATCH, … */
    REQUEST_CREATED,
    REQUEST_REPLAYED, /* the first answer again, under its id; nothing was written */
};
struct request_row {
    struct
        request_new new; /* texts live until requests_insert has returned; request_id is written back */
    enum request_made made; /* out */
    struct err err;         /* out: when refused */
};

/* OK: every row has its outcome. Otherwise (STORE_DOWN, STORE_DOUBT, DEADLINE, …) nothing is known to
 * have been accepted. n up to QUEUE_BATCH. `soon` (or NULL) hears when the commit of all is under way. Parks. */
rc requests_insert(struct cx *cx, struct pg *db, struct request_row *const *rows, size_t n,
                   const struct pg_soon *soon) MW_PARKS;
/* As orders_room, of the queue of requests. Parks. */
rc requests_room(struct cx *cx, struct engine *e, const struct request_new *new) MW_PARKS;
/* Tell Redis of the created ones. A failure may be logged and left to the reconciler. Parks. */
rc requests_push(struct cx *cx, struct engine *e, struct request_row *const *rows,
                 size_t n) MW_PARKS;
