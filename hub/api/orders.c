/* orders.c - placing, reading and taking back orders.
 *
 * A tenant's key sees its tenant's orders; another's reads as not found. */
#include "domain/orders/orders.h"
#include "base/text.h"
#include "domain/orders/order_flow.h"
#include "hub/api/api.h"
#include "hub/gather.h"
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

    *ret = (struct order_new){.tenant_id = q->who.tenant_id, .trace = cx->trace};
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

static rc place(struct cx *cx, struct request *q, const struct names *n)
{
    struct order_new o;
    enum order_made made;
    char id[ID_LEN + 1];
    rc r = read_order(cx, q, n, &o);

    if (r == OK)
        r = gather_order(cx, q->hub->gather, &o, &made, id, &q->out);
    if (r != OK && n != &names_v1)
        rename_pointer(cx, n);
    try(r);
    reply_header(q, "Location", arena_printf(&cx->arena, "/v1/orders/%s", id));
    if (made == ORDER_REPLAYED)
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
