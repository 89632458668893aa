/* order_look.c - orders and their placements read for many who ask at once: two statements for all that came while the
 * last ones were under way.
 *
 * The rows are shared: each who asked finds his own by its id, copies it into his arena, and lets go of them. */
#include "base/id.h"
#include "domain/orders/order_gather.h"
#include "domain/orders/order_row.h"
#include "domain/orders/orders.sql.h"
#include "domain/orders/placements.sql.h"
#include "pg/pg_array.h"
#include "rt/batcher.h"
#include <stdlib.h>
#include <string.h>

#define LOOKS_MAX     128
#define LOOKS_AT_ONCE 2
#define LOOKS_WORTH   16
#define LOOKS_MS      10000

struct seen {
    struct pg_result *orders, *placements;
    size_t readers;
};

struct look {
    struct batch_item item;
    char id[ID_LEN + 1];
    struct seen *seen; /* NULL: not answered */
};

static void seen_leave(struct seen *s)
{
    if (!s || --s->readers > 0)
        return;
    pg_result_freep(&s->orders);
    pg_result_freep(&s->placements);
    free(s);
}

static void free_look(struct batch_item *item)
{
    struct look *l = (struct look *)item;

    seen_leave(l->seen);
    free(l);
}

int rows_of(const struct pg_result *res, int col, const char *id, int *ret_n)
{
    int low = 0, high = pg_rows(res), n = 0;

    while (low < high) {
        int middle = low + (high - low) / 2;
        if (memcmp(pg_text(res, middle, col), id, ID_LEN) < 0)
            low = middle + 1;
        else
            high = middle;
    }
    while (low + n < pg_rows(res) && memcmp(pg_text(res, low + n, col), id, ID_LEN) == 0)
        n++;
    *ret_n = n;
    return low;
}

static rc look(struct cx *cx, struct pg *db, struct batch_item **items, size_t n, struct seen *s)
{
    _cleanup_(pg_array_release) struct pg_array ids = PG_ARRAY(KiB(64));

    for (size_t i = 0; i < n; i++)
        pg_array_s(&ids, ((struct look *)items[i])->id);
    try(pg_do(cx, db, SQL_ORDERS_LOOK, &s->orders, pg_a(&ids)));
    return pg_do(cx, db, SQL_PLACEMENTS_OF_ORDERS, &s->placements, pg_a(&ids));
}

static void carry(struct cx *cx, struct batcher *b, void *arg, struct batch_item **items, size_t n)
{
    struct seen *s = xcalloc(1, sizeof *s);

    s->readers = 1; /* this batch, until it has handed them out */
    rc r = look(cx, arg, items, n, s);
    batch_on_its_way_back(b);
    for (size_t i = 0; i < n; i++) {
        if (r == OK) {
            ((struct look *)items[i])->seen = s;
            s->readers++;
        }
        batch_done(items[i], r, &cx->err);
    }
    seen_leave(s);
}

struct batcher *order_looks_new(struct pg *db)
{
    return batcher_new(&(struct batcher_opts){.name = "orders.look",
                                              .max = LOOKS_MAX,
                                              .at_once = LOOKS_AT_ONCE,
                                              .worth = LOOKS_WORTH,
                                              .timeout_ms = LOOKS_MS,
                                              .carry = carry,
                                              .free_item = free_look,
                                              .arg = db});
}

static rc read_rows(struct cx *cx, const struct look *l, struct order *ret,
                    struct placement **ret_p, size_t *ret_n)
{
    int n, row = rows_of(l->seen->orders, 0, l->id, &n);

    if (n == 0)
        return fail(cx, NOT_FOUND, "order %s does not exist", l->id);
    try(order_read(cx, l->seen->orders, row, ret));
    row = rows_of(l->seen->placements, 1, l->id, &n);
    *ret_n = (size_t)n;
    return placements_read_some(cx, l->seen->placements, row, n, ret_p);
}

rc order_looks_wait(struct cx *cx, struct batcher *looks, const char *order_id, struct order *ret,
                    struct placement **ret_placements, size_t *ret_n)
{
    struct look *l = xcalloc(1, sizeof *l);
    bool left;

    if (!id_parse(order_id, l->id)) {
        free(l);
        return fail(cx, NOT_FOUND, "there is no such order");
    }
    rc r = batch_wait(cx, looks, &l->item, &left);
    if (r == OK)
        r = read_rows(cx, l, ret, ret_placements, ret_n);
    batch_leave(looks, &l->item);
    return r;
}
