/* orders.c - placing, reading and taking back orders.
 *
 * A tenant's key sees its tenant's orders; another's reads as not found. */
#include "domain/orders/orders.h"
#include "base/text.h"
#include "base/trace.h"
#include "domain/orders/order_create.h"
#include "domain/orders/order_flow.h"
#include "hub/api/api.h"
#include "rt/spans.h"
#include <string.h>

/* The fields of an order under the names of one of the two contracts. */
struct names {
    const char *product, *package, *user, *extra, *quantity, *callback, *reference;
    const char *all[8]; /* what may be sent; NULL-terminated */
};
static const struct names names_v1 = {"product_id",
                                      "package_id",
                                      "user_identifier",
                                      "extra_field",
                                      "quantity",
                                      "callback_url",
                                      "reference",
                                      {"product_id", "package_id", "user_identifier", "extra_field",
                                       "quantity", "callback_url", "reference"}};
/* The earlier system's front ends may send more than these; what is not known there is ignored, as
 * it was. */
static const struct names names_dj = {
    "productId", "packageId", "userIdentifier", "extraField", NULL, NULL, NULL, {NULL}};

static rc text_opt(struct cx *cx, const cJSON *o, const char *name, size_t max, const char **ret)
{
    *ret = NULL;
    return name ? json_str_opt(cx, o, name, max, ret) : OK;
}

/* A failure of order_new_check speaks of POST /v1/orders; say it in the caller's names. */
static void rename_pointer(struct cx *cx, const struct names *n)
{
    const char *const pairs[][2] = {{"/product_id", n->product},
                                    {"/package_id", n->package},
                                    {"/user_identifier", n->user},
                                    {"/extra_field", n->extra}};

    for (size_t i = 0; i < COUNT(pairs); i++) {
        if (strcmp(cx->err.pointer, pairs[i][0]) == 0) {
            snprintf(cx->err.pointer, sizeof cx->err.pointer, "/%s", pairs[i][1]);
            return;
        }
    }
}

static rc read_order(struct cx *cx, struct request *q, const struct names *n, struct order_new *ret)
{
    cJSON *body;
    int64_t quantity = 1;

    *ret = (struct order_new){.tenant_id = q->who.tenant_id, .trace = trace_text(cx)};
    try(request_idempotency_key(cx, q, &ret->idempotency_key));
    try(request_object(cx, q, &body));
    if (n->all[0])
        try(json_only(cx, body, n->all));
    try(text_opt(cx, body, n->product, ORDER_TEXT_MAX, &ret->product_id));
    try(json_str(cx, body, n->package, ORDER_TEXT_MAX, &ret->package_id));
    try(json_str(cx, body, n->user, ORDER_TEXT_MAX, &ret->user_identifier));
    try(text_opt(cx, body, n->extra, ORDER_TEXT_MAX, &ret->extra_field));
    try(text_opt(cx, body, n->callback, ORDER_URL_MAX, &ret->callback_url));
    try(text_opt(cx, body, n->reference, ORDER_REFERENCE_MAX, &ret->reference));
    if (n->quantity)
        try(json_int_opt(cx, body, n->quantity, 1, ORDER_QUANTITY_MAX, &quantity));
    ret->quantity = (int)quantity;
    if (ret->idempotency_key)
        sha256_hex(q->body, q->body_len, ret->body_hash);
    return order_new_check(cx, ret);
}

/* ------------------------------------------------------------------ gathered (hub/gather.h) */

static void take(struct arena *a, void *row, const void *given)
{
    const struct order_new *o = given;
    struct order_new *r = row;

    *r = *o;
    r->tenant_id = arena_strdup(a, o->tenant_id);
    r->product_id = arena_strdup(a, o->product_id);
    r->package_id = arena_strdup(a, o->package_id);
    r->user_identifier = arena_strdup(a, o->user_identifier);
    r->extra_field = arena_strdup(a, o->extra_field);
    r->callback_url = arena_strdup(a, o->callback_url);
    r->reference = arena_strdup(a, o->reference);
    r->idempotency_key = arena_strdup(a, o->idempotency_key);
    r->trace = arena_strdup(a, o->trace);
}

static rc insert(struct cx *cx, struct pg *db, void *rows, size_t n, const struct pg_soon *soon)
{
    return orders_insert(cx, db, rows, n, soon);
}

static rc push(struct cx *cx, struct engine *e, void *rows, size_t n)
{
    return orders_push(cx, e, rows, n);
}

static enum gathered outcome(struct cx *cx, const void *row, struct err *ret_err, char *ret_id,
                             struct buf *out)
{
    const struct order_new *r = row;

    if (r->made == ORDER_REFUSED) {
        *ret_err = r->err;
        return GATHERED_REFUSED;
    }
    memcpy(ret_id, r->order.id, ID_LEN + 1);    /* of a replay: the first one's */
    (void)order_json(cx, NULL, &r->order, out); /* fails only when `out` is full, which is seen */
    return r->made == ORDER_REPLAYED ? GATHERED_REPLAYED : GATHERED_CREATED;
}

const struct gather_kind gather_orders = {
    .name = "orders.commit",
    .noun = "order",
    .row_size = sizeof(struct order_new),
    .max = KiB(64),
    .batches = METRIC_GATHER_BATCHES,
    .rows = METRIC_GATHER_ORDERS,
    .take = take,
    .insert = insert,
    .outcome = outcome,
    .push = push,
};

/* ------------------------------------------------------------------ the calls */

static rc place(struct cx *cx, struct request *q, const struct names *n)
{
    struct order_new o;
    bool replayed;
    char id[ID_LEN + 1];
    struct span span;

    span_begin(cx, &span, SPAN_PRODUCER, "job.enqueue");
    rc r = read_order(cx, q, n, &o);
    if (r == OK)
        r = orders_room(cx, q->hub->engine, &o);
    if (r == OK)
        r = gather_row(cx, q->hub->gather, &o, &replayed, id, &q->out);
    span_end(cx, &span, r == OK, SPAN_FACTS({"job.task", "order.dispatch"}));
    if (r != OK && n != &names_v1)
        rename_pointer(cx, n);
    try(r);
    reply_header(q, "Location", arena_join(&cx->arena, "/v1/orders/", id, ""));
    if (replayed)
        reply_header(q, "Idempotency-Replayed", "true");
    return reply_json(cx, q, 201);
}

rc orders_post(struct cx *cx, struct request *q)
{
    return place(cx, q, &names_v1);
}

rc orders_post_dj(struct cx *cx, struct request *q)
{
    return place(cx, q, &names_dj);
}

rc orders_list(struct cx *cx, struct request *q)
{
    struct order_filter f = {.tenant_id = q->who.tenant_id,
                             .status = request_query(cx, q, "status"),
                             .package_id = request_query(cx, q, "package_id"),
                             .after = request_query(cx, q, "after")};
    struct order *o;
    size_t n;
    char next[ID_LEN + 1];

    try(request_limit(cx, q, &f.limit));
    try(request_time(cx, q, "since", &f.since_ms));
    try(request_time(cx, q, "until", &f.until_ms));
    try(order_list(cx, q->hub->db, &f, &o, &n, next));
    buf_puts(&q->out, "{\"data\":[");
    for (size_t i = 0; i < n; i++) {
        buf_puts(&q->out, i ? "," : "");
        try(order_json(cx, q->hub->keys, &o[i], &q->out));
    }
    buf_puts(&q->out, "],\"next\":");
    buf_json_str(&q->out, next[0] ? next : NULL);
    buf_puts(&q->out, "}");
    return reply_json(cx, q, 200);
}

rc orders_get(struct cx *cx, struct request *q)
{
    struct order o;
    char id[ID_LEN + 1];

    try(request_param_id(cx, q, 0, "order", id));
    try(order_load(cx, q->hub->db, q->who.tenant_id, id, &o));
    try(order_json(cx, q->hub->keys, &o, &q->out));
    return reply_json(cx, q, 200);
}

rc orders_cancel(struct cx *cx, struct request *q)
{
    struct order o;
    char id[ID_LEN + 1];

    try(request_param_id(cx, q, 0, "order", id));
    try(order_cancel(cx, q->hub->db, q->hub->engine, request_actor(cx, q), q->who.tenant_id, id,
                     &o));
    try(order_json(cx, q->hub->keys, &o, &q->out));
    return reply_json(cx, q, 200);
}
