/* gather.h - POST /v1/orders: while one commit is under way, the next one gathers.
 *
 *   fiber A --.                     .--> A: created
 *   fiber B ---+--> [ waiting ] --- one transaction ---> B: unknown package   (it fails alone)
 *   fiber C --'     <= 256 rows     `--> C: created
 *                                        then: one push to Redis for the batch
 *
 * One PostgreSQL round trip and one fsync carry as many orders as arrived during the last one: no
 * timer, no added delay when the house is quiet. The reply leaves after the commit. A caller that
 * gave up while its row was on the way leaves the row behind: it belongs to the batch. */
#pragma once
#include "domain/orders/order_create.h"
#include "hub/hub.h"

struct gather;

struct gather *gather_new(struct hub *hub);
/* Batches under way go on; whoever waits for the next one, or comes, hears that nothing was
 * accepted. */
void gather_stop(struct cx *cx, struct gather *g);
/* Nobody may wait, no batch may be under way. */
struct gather *gather_free(struct gather *g);
/* `row` (checked by order_new_check) and what it points to are copied. On OK *ret_made is CREATED
 * or REPLAYED, ret_id (ID_LEN + 1 bytes) the order's id, and its JSON is appended to `out`. A
 * refused row is returned as its failure. STORE_DOWN: nothing was accepted. DEADLINE, CANCELLED,
 * STORE_DOUBT: it may have been accepted; the same Idempotency-Key tells. Parks. */
rc gather_order(struct cx *cx, struct gather *g, const struct order_new *row,
                enum order_made *ret_made, char *ret_id, struct buf *out) MW_PARKS;
