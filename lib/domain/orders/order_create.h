/* order_create.h - accepting orders, many at a time.
 *
 *     request fibers              gatherer                              PostgreSQL
 *     order_new_check  --rows-->  orders_insert  --one statement-->     product_orders + jobs, one commit
 *     <------- outcome of each row                then  orders_push --> Redis
 *
 * The statement inserts whoever is new with its order.dispatch job and says who was; a row that
 * lost (same Idempotency-Key, same reference, same id) is looked up: it is the first answer again,
 * or a mismatch. When two insert the same at once the batch is sent as a late one, which waits for
 * whoever was first (ON CONFLICT DO NOTHING). Ids are made before sending, so a batch whose commit
 * is in doubt is simply sent again, late: what was committed is found to be its own. If the statement fails as
 * a whole for a row's sake, rows run one by one, and only the bad one hears of it.
 *
 * An Idempotency-Key and a reference lead to one order for ever (both are columns of the order). */
#pragma once
#include "base/id.h"
#include "domain/orders/orders.h"
#include "queue/queue.h"
#include "secure/digest.h"

#define ORDER_TEXT_MAX      255 /* characters of user_identifier and of extra_field */
#define ORDER_QUANTITY_MAX  100
#define ORDER_URL_MAX       2048
#define ORDER_REFERENCE_MAX 128
#define IDEMPOTENCY_KEY_MAX 255

enum order_made {
    ORDER_REFUSED = 0, /* err tells why: UNKNOWN_PACKAGE, UNROUTED_PACKAGE, IDEMPOTENCY_MISMATCH,
                          ALREADY_EXISTS, INVALID_FIELD, … */
    ORDER_CREATED,
    ORDER_REPLAYED, /* the first answer again; nothing was written */
};

struct order_new {
    /* in; texts live until orders_insert has returned */
    const char *tenant_id;
    const char *product_id; /* NULL: the package's; else it must be the package's */
    const char *package_id;
    const char *user_identifier, *extra_field; /* extra_field NULL or "": none */
    int quantity;
    const char *callback_url, *reference, *idempotency_key, *trace; /* NULL: none */
    char body_hash[DIGEST_HEX_LEN + 1]; /* sha256_hex of the body; needed with idempotency_key */
    struct arena *arena; /* for the texts of `order`; NULL: that of orders_insert's cx */

    /* out */
    enum order_made made;
    struct err err;     /* when refused: code, pointer, words */
    struct order order; /* CREATED and REPLAYED: as it was accepted (pending) */
    /* in and out: "" is made here; the same ids again are the same order */
    char id[ID_LEN + 1], job_id[ID_LEN + 1];
};

/* Everything that can be judged without the database: required fields, lengths in characters,
 * UTF-8, control and invisible (direction, zero-width) characters, quantity, callback_url's form,
 * UUIDs, key and reference. INVALID_FIELD or BAD_UTF8 with the pointer (names of POST /v1/orders).
 * Does not park. orders_insert assumes that it passed. */
rc order_new_check(struct cx *cx, const struct order_new *o);

/* OK: every row has its outcome (r->made, r->err). Otherwise (STORE_DOWN, STORE_DOUBT, DEADLINE, …)
 * nothing is known to have been accepted, and every row may be answered 503; sent again with the
 * same Idempotency-Key it is found. n up to QUEUE_BATCH. `soon` (or NULL) hears when the commit of all is under way. Parks. */
rc orders_insert(struct cx *cx, struct pg *db, struct order_new *const *rows, size_t n,
                 const struct pg_soon *soon) MW_PARKS;
/* Does the queue of orders take this one? QUEUE_FULL when an operator has bounded or drains it, before anything is
 * stored; an order that was accepted before is let through: it is answered again. Asks nobody while that queue has no
 * bounds (engine_room). Parks. */
rc orders_room(struct cx *cx, struct engine *e, const struct order_new *o) MW_PARKS;
/* Tell Redis of the created ones. A failure may be logged and left to the reconciler. Parks. */
rc orders_push(struct cx *cx, struct engine *e, struct order_new *const *rows, size_t n) MW_PARKS;

/* The jobs of an order. args is {"order_id":"…"} for both. */
#define ORDER_QUEUE         "orders"
#define ORDER_DISPATCH_TASK "order.dispatch"
#define ORDER_CHECK_TASK    "order.check"
