/* order_create.c - a batch of orders in one statement (order_create.h draws it).
 *
 *   orders_insert --> send --(skipped rows)--> look up whom they lost to
 *        |              |-- somebody is inserting the same: as a late one, which waits for him
 *        |              `-- in doubt, deadlock: the same rows again, late: their ids make it harmless
 *        `-- a rule of the database refused the batch: each row alone */
#include "domain/orders/order_create.h"
#include "base/log.h"
#include "base/text.h"
#include "domain/orders/order_create.sql.h"
#include "domain/row.h"
#include "domain/surely.h"
#include "pg/pg_array.h"
#include "queue/shape/policy.h"
#include <assert.h>
#include <string.h>

#define BATCH_MAX MiB(16)

static struct arena *arena_of(struct cx *cx, const struct order_new *r)
{
    return r->arena ? r->arena : &cx->arena;
}

static void refuse(struct cx *cx, struct order_new *r)
{
    r->made = ORDER_REFUSED;
    r->err = cx->err;
}

/* What the client is told: the order as it was when it was accepted. */
static void fill(struct cx *cx, struct order_new *r, enum order_made made, const char *id,
                 const char *product_id, int64_t created_ms)
{
    struct arena *a = arena_of(cx, r);

    r->made = made;
    r->order = (struct order){
        .id = arena_strdup(a, id),
        .tenant_id = arena_strdup(a, r->tenant_id),
        .product_id = arena_strdup(a, product_id),
        .package_id = arena_strdup(a, r->package_id),
        .user_identifier = arena_strdup(a, r->user_identifier),
        .extra_field = str_empty(r->extra_field) ? NULL : arena_strdup(a, r->extra_field),
        .quantity = r->quantity,
        .status = ORDER_PENDING,
        .callback_url = arena_strdup(a, r->callback_url),
        .reference = arena_strdup(a, r->reference),
        .version = 1,
        .created_ms = created_ms,
        .updated_ms = created_ms,
    };
}

static const char *text_or_null(const char *s)
{
    return str_empty(s) ? NULL : s;
}

/* ---------------------------------------------------------------- the rows that were skipped */

struct first { /* the order that a row lost to */
    int how;   /* 1: itself, 2: by key, 3: by reference */
    const char *id, *product_id, *package_id, *user_identifier, *extra_field, *callback_url,
        *reference, *body_hash;
    int quantity;
    int64_t created_ms;
};

static bool same_order(const struct order_new *r, const struct first *f)
{
    char package_id[ID_LEN + 1];

    return id_parse(r->package_id, package_id) && str_eq(package_id, f->package_id) &&
           str_eq(r->user_identifier, f->user_identifier) &&
           str_eq(text_or_null(r->extra_field), f->extra_field) &&
           str_eq(r->callback_url, f->callback_url) && r->quantity == f->quantity;
}

static void lost_to(struct cx *cx, struct order_new *r, const struct first *f)
{
    if (f->how == 1) {
        fill(cx, r, ORDER_CREATED, f->id, f->product_id, f->created_ms);
        return;
    }
    if (f->how == 2 && !str_eq(f->body_hash, r->body_hash)) {
        fail(cx, IDEMPOTENCY_MISMATCH,
             "this Idempotency-Key was used with another body, for order %s", f->id);
        refuse(cx, r);
        return;
    }
    if (f->how == 3 && !same_order(r, f)) {
        fail_at(cx, ALREADY_EXISTS, "/reference", "order %s has this reference and other contents",
                f->id);
        refuse(cx, r);
        return;
    }
    fill(cx, r, ORDER_REPLAYED, f->id, f->product_id, f->created_ms);
}

static void judge(struct cx *cx, struct order_new *r, const char *verdict)
{
    if (str_eq(verdict, "unknown"))
        fail_at(cx, UNKNOWN_PACKAGE, "/package_id", "this shop has no such package");
    else if (str_eq(verdict, "product"))
        fail_at(cx, INVALID_FIELD, "/product_id", "the package belongs to another product");
    else if (str_eq(verdict, "unrouted"))
        fail_at(cx, UNROUTED_PACKAGE, "/package_id", "the package has no provider to send it to");
    else
        fail(cx, INTERNAL, "the order was neither inserted nor found");
    refuse(cx, r);
}

/* rows[i] was skipped with verdicts[i]. */
static rc look_up(struct cx *cx, struct pg *db, struct order_new **rows, const char **verdicts,
                  size_t n)
{
    _cleanup_(pg_array_release) struct pg_array ids = PG_ARRAY(BATCH_MAX),
                                                tenants = PG_ARRAY(BATCH_MAX);
    _cleanup_(pg_array_release) struct pg_array keys = PG_ARRAY(BATCH_MAX),
                                                refs = PG_ARRAY(BATCH_MAX);
    _cleanup_(pg_result_freep) struct pg_result *res = NULL;

    for (size_t i = 0; i < n; i++) {
        pg_array_s(&ids, rows[i]->id);
        pg_array_s(&tenants, rows[i]->tenant_id);
        pg_array_s(&keys, rows[i]->idempotency_key);
        pg_array_s(&refs, rows[i]->reference);
    }
    try(pg_do(cx, db, SQL_ORDERS_FIRST, &res, pg_a(&ids), pg_a(&tenants), pg_a(&keys),
              pg_a(&refs)));
    int hit = 0;
    for (size_t i = 0; i < n; i++) {
        if (hit >= pg_rows(res) || pg_int(res, hit, 0) != (int64_t)i + 1) {
            judge(cx, rows[i], verdicts[i]);
            continue;
        }
        struct row c = {.cx = cx, .res = res, .row = hit++, .col = 1};
        struct first f = {.how = (int)row_int(&c)};
        f.id = row_text(&c);
        f.product_id = row_text(&c);
        f.package_id = row_text(&c);
        f.user_identifier = row_text(&c);
        f.extra_field = row_text(&c);
        f.quantity = (int)row_int(&c);
        f.callback_url = row_text(&c);
        f.reference = row_text(&c);
        f.body_hash = row_text(&c);
        f.created_ms = row_ms(&c);
        lost_to(cx, rows[i], &f);
    }
    return OK;
}

/* ---------------------------------------------------------------- the batch */

struct columns { /* the parameters of orders_insert, in its order */
    struct pg_array id, job_id, tenant, package, product, user, extra, quantity, callback,
        reference, key, hash, trace;
    bool keyless; /* nobody has a key or a reference */
};

static void columns_init(struct columns *c)
{
    for (struct pg_array *a = &c->id; a <= &c->trace; a++)
        *a = PG_ARRAY_OF(PG_TEXTS, BATCH_MAX);
    c->id.of = c->job_id.of = c->tenant.of = c->package.of = c->product.of = PG_UUIDS;
    c->quantity.of = PG_INT4S;
    c->keyless = true;
}

static void columns_release(struct columns *c)
{
    for (struct pg_array *a = &c->id; a <= &c->trace; a++)
        pg_array_release(a);
}

static void columns_add(struct columns *c, const struct order_new *r)
{
    pg_array_s(&c->id, r->id);
    pg_array_s(&c->job_id, r->job_id);
    pg_array_s(&c->tenant, r->tenant_id);
    pg_array_s(&c->package, r->package_id);
    pg_array_s(&c->product, r->product_id);
    pg_array_s(&c->user, r->user_identifier);
    pg_array_s(&c->extra, text_or_null(r->extra_field));
    pg_array_i(&c->quantity, r->quantity);
    pg_array_s(&c->callback, r->callback_url);
    pg_array_s(&c->reference, r->reference);
    pg_array_s(&c->key, r->idempotency_key);
    pg_array_s(&c->hash, r->idempotency_key ? r->body_hash : NULL);
    pg_array_s(&c->trace, r->trace);
    c->keyless = c->keyless && !r->idempotency_key && !r->reference;
}

static rc insert(struct cx *cx, struct pg *db, struct columns *c, bool late,
                 const struct pg_soon *soon, struct pg_result **ret)
{
    if (c->keyless && !late)
        return pg_query_soon(cx, db, &SQL_ORDERS_INSERT_KEYLESS, ret,
                             PG_ARGS(pg_a(&c->id), pg_a(&c->job_id), pg_a(&c->tenant),
                                     pg_a(&c->package), pg_a(&c->product), pg_a(&c->user),
                                     pg_a(&c->extra), pg_a(&c->quantity), pg_a(&c->callback),
                                     pg_a(&c->trace)),
                             soon);
    return pg_query_soon(cx, db, late ? &SQL_ORDERS_INSERT_LATE : &SQL_ORDERS_INSERT, ret,
                         PG_ARGS(pg_a(&c->id), pg_a(&c->job_id), pg_a(&c->tenant),
                                 pg_a(&c->package), pg_a(&c->product), pg_a(&c->user),
                                 pg_a(&c->extra), pg_a(&c->quantity), pg_a(&c->callback),
                                 pg_a(&c->reference), pg_a(&c->key), pg_a(&c->hash),
                                 pg_a(&c->trace)),
                         soon);
}

static rc send_batch(struct cx *cx, struct pg *db, struct order_new *const *rows, size_t n,
                     bool late, const struct pg_soon *soon)
{
    _cleanup_(columns_release) struct columns c;
    _cleanup_(pg_result_freep) struct pg_result *res = NULL;

    columns_init(&c);
    for (size_t i = 0; i < n; i++)
        columns_add(&c, rows[i]);
    try(insert(cx, db, &c, late, soon, &res));
    assert((size_t)pg_rows(res) == n);

    int64_t created_ms = pg_ms(res, 0, 2); /* of all of them: the transaction's now() */
    struct order_new **skipped = arena_alloc(&cx->arena, n * sizeof(*skipped));
    const char **verdicts = arena_alloc(&cx->arena, n * sizeof(*verdicts));
    size_t nskipped = 0;
    for (size_t i = 0; i < n; i++) {
        struct row r = ROW(cx, res, (int)i);
        const char *verdict = row_text(&r), *product_id = row_text(&r);
        if (str_eq(verdict, "ok")) {
            fill(cx, rows[i], ORDER_CREATED, rows[i]->id, product_id, created_ms);
        } else {
            skipped[nskipped] = rows[i];
            verdicts[nskipped++] = verdict;
        }
    }
    return nskipped ? look_up(cx, db, skipped, verdicts, nskipped) : OK;
}

struct batch {
    struct pg *db;
    struct order_new *const *rows;
    size_t n;
    bool late; /* it may meet what is there, or is being made: itself included */
    const struct pg_soon *soon;
};

static rc send_rows(struct cx *cx, void *arg)
{
    struct batch *b = arg;

    if (!b->late) {
        b->late = true;
        rc r = send_batch(cx, b->db, b->rows, b->n, /* late= */ false, b->soon);
        if (r != E_PG_UNIQUE)
            return r;
    }
    return send_batch(cx, b->db, b->rows, b->n, /* late= */ true, NULL);
}

static rc send_surely(struct cx *cx, struct pg *db, struct order_new *const *rows, size_t n,
                      bool late, const struct pg_soon *soon)
{
    return surely(cx, send_rows, &(struct batch){db, rows, n, late, soon}, surely_of_a_row);
}

rc orders_insert(struct cx *cx, struct pg *db, struct order_new *const *rows, size_t n,
                 const struct pg_soon *soon)
{
    if (n == 0)
        return OK;
    for (size_t i = 0; i < n; i++) {
        if (!rows[i]->id[0])
            id_new(rows[i]->id);
        if (!rows[i]->job_id[0])
            id_new(rows[i]->job_id);
    }
    rc r = send_surely(cx, db, rows, n, /* late= */ false, soon);
    if (!surely_of_a_row(r))
        return r;
    if (n > 1)
        log_fail(LOG_WARN, "orders.one_by_one", cx, r, kv_int("rows", (int64_t)n));
    for (size_t i = 0; i < n; i++) {
        r = n > 1 ? send_surely(cx, db, &rows[i], 1, /* late= */ true, NULL) : r;
        if (r != OK)
            refuse(
                cx,
                rows[i]); /* with the store's code when it is the store: a 503 for this row alone */
    }
    return OK;
}

rc orders_push(struct cx *cx, struct engine *e, struct order_new *const *rows, size_t n)
{
    struct job_new *jobs = arena_alloc(&cx->arena, (n + 1) * sizeof(*jobs));
    size_t created = 0;

    for (size_t i = 0; i < n; i++) {
        const struct order_new *r = rows[i];
        if (r->made != ORDER_CREATED)
            continue;
        struct job_new *j = &jobs[created++];
        *j = (struct job_new){
            .queue = ORDER_QUEUE,
            .task = ORDER_DISPATCH_TASK,
            .args = arena_join(&cx->arena, "{\"order_id\" : \"", r->id, "\"}"),
            .durable = true,
            .priority = JOB_PRIORITY,
            .subject = r->id,
            .tenant_id = r->tenant_id,
            .trace = r->trace,
            .unique_key = arena_join(&cx->arena, ORDER_DISPATCH_TASK, ":", r->id),
        };
        memcpy(j->id, r->job_id, sizeof(j->id));
    }
    return created ? engine_push(cx, e, jobs, created) : OK;
}

rc orders_room(struct cx *cx, struct engine *e, const struct order_new *o)
{
    _cleanup_(pg_result_freep) struct pg_result *res = NULL;
    const struct job_new j = {.queue = ORDER_QUEUE,
                              .task = ORDER_DISPATCH_TASK,
                              .durable = true,
                              .priority = JOB_PRIORITY,
                              .tenant_id = o->tenant_id};
    rc r = engine_room(cx, e, &j, 1);

    if (r != E_QUEUE_FULL || (!o->idempotency_key && !o->reference))
        return r;
    struct err full = cx->err;
    try(pg_do(cx, engine_db(e), SQL_ORDER_KNOWN, &res, pg_s(o->tenant_id), pg_s(o->idempotency_key),
              pg_s(o->reference)));
    if (pg_bool(res, 0, 0))
        return OK;
    cx->err = full;
    return r;
}
