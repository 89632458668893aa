/* orders.c - orders as they are read. The words of the outside contract are made here and nowhere
 * else. */
#include "domain/orders/orders.h"
#include "base/json.h"
#include "base/text.h"
#include "domain/orders/order_row.h"
#include "domain/orders/orders.sql.h"
#include "domain/row.h"
#include <assert.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

static const char *const status_words[] = {
    [ORDER_PENDING] = "pending",         [ORDER_SENDING] = "sending",     [ORDER_SENT] = "sent",
    [ORDER_UNCONFIRMED] = "unconfirmed", [ORDER_COMPLETED] = "completed", [ORDER_FAILED] = "failed",
    [ORDER_CANCELLED] = "cancelled",     [ORDER_REVIEW] = "review",
};
_Static_assert(COUNT(status_words) == ORDER_STATUS_COUNT, "a word for each status");

const char *order_status_word(enum order_status s)
{
    assert(s < ORDER_STATUS_COUNT);
    return status_words[s];
}

bool order_status_parse(const char *word, enum order_status *ret)
{
    for (size_t i = 0; i < COUNT(status_words); i++) {
        if (str_eq(word, status_words[i])) {
            *ret = (enum order_status)i;
            return true;
        }
    }
    return false;
}

/* ["v1…",null,…] as PostgreSQL prints a text[] of sealed PINs. */
static rc read_pins(struct cx *cx, const char *json, const char *const **ret)
{
    *ret = NULL;
    if (!json)
        return OK;
    cJSON *a;
    try(json_parse(cx, json, strlen(json), MiB(1), &a));
    const char **pins =
        arena_alloc(&cx->arena, ((size_t)cJSON_GetArraySize(a) + 1) * sizeof(*pins));
    size_t n = 0;
    for (const cJSON *v = a->child; v; v = v->next)
        pins[n++] = json_text(cx, v);
    *ret = pins;
    return OK;
}

rc order_read(struct cx *cx, const struct pg_result *res, int row, struct order *ret)
{
    struct row r = ROW(cx, res, row);
    struct order o = {0};

    o.id = row_text(&r);
    o.tenant_id = row_text(&r);
    o.product_id = row_text(&r);
    o.package_id = row_text(&r);
    o.user_identifier = row_text(&r);
    o.extra_field = row_text(&r);
    o.quantity = (int)row_int(&r);
    const char *status = row_text(&r);
    if (!order_status_parse(status, &o.status))
        return fail(cx, SCHEMA, "order %s has the unknown status '%s'", o.id, status);
    o.integration_id = row_text(&r);
    o.provider = row_text(&r);
    o.provider_referans = row_text(&r);
    o.external_status = row_text(&r);
    o.pin_sealed = row_text(&r);
    try(read_pins(cx, row_text(&r), &o.pins_sealed));
    o.note = row_text(&r);
    o.cost_amount = row_text(&r);
    o.cost_currency = row_text(&r);
    o.attempts = (int)row_int(&r);
    o.version = (int)row_int(&r);
    o.callback_url = row_text(&r);
    o.reference = row_text(&r);
    o.created_ms = row_ms(&r);
    o.sent_ms = row_ms(&r);
    o.completed_ms = row_ms(&r);
    o.updated_ms = row_ms(&r);
    *ret = o;
    return OK;
}

rc order_load(struct cx *cx, struct pg *db, const char *tenant_id, const char *id,
              struct order *ret)
{
    _cleanup_(pg_result_freep) struct pg_result *res = NULL;
    char uuid[ID_LEN + 1];

    if (!id_parse(id, uuid))
        return fail(cx, NOT_FOUND, "there is no such order");
    try(pg_do(cx, db, SQL_ORDER_LOAD, &res, pg_s(uuid), pg_s(tenant_id)));
    if (pg_rows(res) == 0)
        return fail(cx, NOT_FOUND, "order %s does not exist", uuid);
    return order_read(cx, res, 0, ret);
}

rc order_find(struct cx *cx, struct pg *db, const char *tenant_id, const char *reference,
              struct order *ret)
{
    _cleanup_(pg_result_freep) struct pg_result *res = NULL;

    try(pg_do(cx, db, SQL_ORDER_FIND, &res, pg_s(reference), pg_s(tenant_id)));
    if (pg_rows(res) == 0)
        return fail(cx, NOT_FOUND, "no order has this reference");
    return order_read(cx, res, 0, ret);
}

/* ---------------------------------------------------------------- lists */

/* The smallest UUIDv7 of a moment; an hour is left for clocks that differ between the hub and
 * PostgreSQL. */
static const char *id_floor(struct cx *cx, int64_t since_ms)
{
    if (since_ms <= 0)
        return NULL;
    uint64_t ms = (uint64_t)MAX(since_ms - 3600 * 1000, 0) & 0xffffffffffffULL;
    return arena_printf(&cx->arena, "%08llx-%04llx-7000-8000-000000000000",
                        (unsigned long long)(ms >> 16), (unsigned long long)(ms & 0xffff));
}

static rc check_filter(struct cx *cx, const struct order_filter *f)
{
    enum order_status s;
    char id[ID_LEN + 1];

    if (f->status && !order_status_parse(f->status, &s))
        return fail_at(cx, INVALID_FIELD, "/status", "there is no such status");
    if (f->package_id && !id_parse(f->package_id, id))
        return fail_at(cx, INVALID_FIELD, "/package_id", "this is not an id");
    if (f->after && !id_parse(f->after, id))
        return fail_at(cx, INVALID_FIELD, "/after", "this is not a cursor");
    if (f->limit < 0 || f->limit > 500)
        return fail_at(cx, INVALID_FIELD, "/limit", "must be 1 to 500");
    return OK;
}

rc order_list(struct cx *cx, struct pg *db, const struct order_filter *f, struct order **ret,
              size_t *ret_n, char *next)
{
    _cleanup_(pg_result_freep) struct pg_result *res = NULL;
    int limit = f->limit > 0 ? f->limit : 50;

    try(check_filter(cx, f));
    try(pg_do(cx, db, SQL_ORDER_LIST, &res, pg_s(f->tenant_id), pg_s(f->status),
              pg_s(f->package_id), pg_t(f->since_ms), pg_t(f->until_ms), pg_i(limit + 1),
              pg_s(f->after), pg_s(id_floor(cx, f->since_ms))));

    size_t n = (size_t)MIN(pg_rows(res), limit);
    struct order *list = rows_alloc(cx, res, struct order);
    for (size_t i = 0; i < n; i++)
        try(order_read(cx, res, (int)i, &list[i]));
    next[0] = '\0';
    if (pg_rows(res) > limit)
        snprintf(next, ID_LEN + 1, "%s", list[n - 1].id);
    *ret = list;
    *ret_n = n;
    return OK;
}

/* ---------------------------------------------------------------- shown */

const char *order_pin_context(struct cx *cx, const char *order_id, int unit)
{
    return arena_printf(&cx->arena, "order_pin:%s:%d", order_id, unit);
}

static rc put_pin(struct cx *cx, const struct seal_keys *seal, const struct order *o, int unit,
                  const char *sealed, struct buf *out)
{
    const char *pin = NULL;
    if (sealed && seal)
        try(open_text(cx, seal, order_pin_context(cx, o->id, unit), sealed, &pin));
    buf_json_str(out, pin);
    return OK;
}

#define JSON_MOSTLY 768 /* bytes of an order */

rc order_json(struct cx *cx, const struct seal_keys *seal, const struct order *o, struct buf *out)
{
    buf_room(out, JSON_MOSTLY);
    buf_puts(out, "{\"id\":");
    buf_json_str(out, o->id);
    buf_json_field(out, "tenant_id", o->tenant_id);
    buf_json_field(out, "product_id", o->product_id);
    buf_json_field(out, "package_id", o->package_id);
    buf_json_field(out, "user_identifier", o->user_identifier);
    buf_json_field(out, "extra_field", o->extra_field);
    buf_puts(out, ",\"quantity\":");
    buf_int(out, o->quantity);
    buf_json_field(out, "status", order_status_word(o->status));
    buf_json_field(out, "provider", o->provider);
    buf_json_field(out, "provider_referans", o->provider_referans);
    buf_puts(out, ",\"pin_code\":");
    try(put_pin(cx, seal, o, 1, o->pin_sealed, out));
    if (o->quantity > 1) {
        buf_puts(out, ",\"pin_codes\":[");
        for (int u = 1; o->pins_sealed && u <= o->quantity; u++) {
            buf_puts(out, u > 1 ? "," : "");
            try(put_pin(cx, seal, o, u, o->pins_sealed[u - 1], out));
        }
        buf_putc(out, ']');
    }
    buf_json_field(out, "note", o->note);
    if (o->cost_amount) {
        buf_puts(out, ",\"cost\":{\"amount\":");
        buf_json_str(out, o->cost_amount);
        buf_json_field(out, "currency", o->cost_currency);
        buf_putc(out, '}');
    } else {
        buf_puts(out, ",\"cost\":null");
    }
    buf_puts(out, ",\"attempts\":");
    buf_int(out, o->attempts);
    buf_json_time(out, "created_at", o->created_ms);
    buf_json_time(out, "sent_at", o->sent_ms);
    buf_json_time(out, "completed_at", o->completed_ms);
    buf_putc(out, '}');
    if (!buf_ok(out))
        return fail(cx, BUFFER_FULL, "order %s does not fit into the answer", o->id);
    return OK;
}

/* ---------------------------------------------------------------- timeline */

rc order_events(struct cx *cx, struct pg *db, const char *order_id, int64_t after_id, int limit,
                struct order_event **ret, size_t *ret_n)
{
    _cleanup_(pg_result_freep) struct pg_result *res = NULL;

    try(pg_do(cx, db, SQL_ORDER_EVENTS, &res, pg_s(order_id), pg_i(after_id), pg_i(limit)));
    struct order_event *list = rows_alloc(cx, res, struct order_event);
    for (int i = 0; i < pg_rows(res); i++) {
        struct row r = ROW(cx, res, i);
        struct order_event *e = &list[i];
        e->id = row_int(&r);
        e->at_ms = row_ms(&r);
        e->kind = row_text(&r);
        e->status = row_text(&r);
        e->unit = (int)row_int(&r);
        e->provider = row_text(&r);
        e->referans = row_text(&r);
        e->detail = row_text(&r);
        e->actor = row_text(&r);
    }
    *ret = list;
    *ret_n = (size_t)pg_rows(res);
    return OK;
}

rc order_event_json(struct cx *cx, const struct order_event *e, struct buf *out)
{
    buf_printf(out, "{\"id\":%" PRId64, e->id);
    buf_json_time(out, "at", e->at_ms);
    buf_json_field(out, "kind", e->kind);
    buf_json_field(out, "status", e->status);
    if (e->unit)
        buf_printf(out, ",\"unit\":%d", e->unit);
    buf_json_field(out, "provider", e->provider);
    buf_json_field(out, "provider_referans", e->referans);
    buf_json_field(out, "detail", e->detail);
    buf_json_field(out, "actor", e->actor);
    buf_putc(out, '}');
    if (!buf_ok(out))
        return fail(cx, BUFFER_FULL, "the timeline does not fit into the answer");
    return OK;
}
