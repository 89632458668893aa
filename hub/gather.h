/* gather.h - what is posted in great numbers: while one commit is under way, the next one gathers.
 *
 *   fiber A --.                     .--> A: created
 *   fiber B ---+--> [ waiting ] --- one transaction ---> B: unknown package   (it fails alone)
 *   fiber C --'     <= 256 rows     `--> C: created
 *                                        then: one push to Redis for the batch
 *
 * One PostgreSQL round trip and one fsync carry what arrived during the last one, half of those who are here at most
 * (decision 0005): no added delay when the house is quiet. The reply leaves after the commit. A caller that gave up
 * while its row was on the way leaves the row behind: it belongs to the batch.
 *
 * What is gathered is a kind (orders, requests): it copies a row, keeps a batch, and says what became
 * of each. */
#pragma once
#include "hub/hub.h"
#include "hub/metrics.h"

enum gathered { GATHERED_REFUSED, GATHERED_CREATED, GATHERED_REPLAYED };

struct gather_kind {
    const char *name;     /* of a batch's fiber: "orders.commit" */
    const char *noun;     /* "order" */
    size_t row_size, max; /* of a row; of its answer in JSON */
    enum metric batches, rows;
    /* Copies `given` into `row`, its texts into the arena. */
    void (*take)(struct arena *a, void *row, const void *given);
    /* Keeps what is new, in one commit, and says when that is under way; OK: every row has its outcome. Parks. */
    rc (*insert)(struct cx *cx, struct pg *db, void *rows, size_t n,
                 const struct pg_soon *soon) MW_PARKS;
    /* What became of a row: *ret_err when it was refused, otherwise its id and its answer. */
    enum gathered (*outcome)(struct cx *cx, const void *row, struct err *ret_err, char *ret_id,
                             struct buf *out);
    /* Tells Redis of those that were created. Parks. */
    rc (*push)(struct cx *cx, struct engine *e, void *rows, size_t n) MW_PARKS;
};

struct gather;

struct gather *gather_new(struct hub *hub, const struct gather_kind *kind);
/* Batches under way go on; whoever waits for the next one, or comes, hears that nothing was
 * accepted. */
void gather_stop(struct cx *cx, struct gather *g);
/* Nobody may wait, no batch may be under way. NULL in, NULL out. */
struct gather *gather_free(struct gather *g);
/* `row` (checked) is the kind's; it and what it points to are copied. On OK *ret_replayed tells
 * whether it was there already, ret_id (ID_LEN + 1 bytes) its id, and its answer is appended to
 * `out`. A refused row is returned as its failure. STORE_DOWN: nothing was accepted. DEADLINE,
 * CANCELLED, STORE_DOUBT: it may have been accepted; the same Idempotency-Key tells. Parks. */
rc gather_row(struct cx *cx, struct gather *g, const void *row, bool *ret_replayed, char *ret_id,
              struct buf *out) MW_PARKS;
