/* order.c - orders: what became of them, and the decision about those that nobody else can decide.
 */
#include "base/clock.h"
#include "base/text.h"
#include "domain/audit.h"
#include "domain/orders/order_flow.h"
#include "ops/table.h"
#include "ops/tenant.h"
#include "ops/verbs.h"
#include <stdio.h>
#include <string.h>

static struct table *order_table(struct cx *cx, const struct order *o, size_t n)
{
    struct table *t =
        table_new("id", "status", "provider", "referans", "external_status+", "user_identifier",
                  "quantity#", "cost", "created_at", "sent_at+", "completed_at", "note", NULL);

    for (size_t i = 0; i < n; i++)
        table_row(t, o[i].id, order_status_word(o[i].status), o[i].provider, o[i].provider_referans,
                  o[i].external_status, o[i].user_identifier, number(cx, o[i].quantity),
                  o[i].cost_amount
                      ? arena_printf(&cx->arena, "%s %s", o[i].cost_amount, o[i].cost_currency)
                      : NULL,
                  when(cx, o[i].created_ms), when(cx, o[i].sent_ms), when(cx, o[i].completed_ms),
                  o[i].note);
    return t;
}

rc verb_order_ls(struct cx *cx, struct ops *o)
{
    struct order_filter f = {.status = opt(o, "status"), .after = opt(o, "after")};
    char next[ID_LEN + 1];
    struct order *orders;
    int64_t limit;
    size_t n;

    try(opt_int(cx, o, "limit", 1, 500, 50, &limit));
    f.limit = (int)limit;
    try(opt_time(cx, o, "since", &f.since_ms));
    try(tenant_if_named(cx, o, &f.tenant_id));
    try(order_list(cx, o->db, &f, &orders, &n, next));
    table_print(order_table(cx, orders, n), o->json);
    if (*next)
        hint("more: --after %s", next);
    return OK;
}

/* By id, or by the reference that a provider or the shop knows it under. */
static rc find(struct cx *cx, struct ops *o, struct order *ret)
{
    char id[ID_LEN + 1];

    if (id_parse(o->argv[0], id))
        return order_load(cx, o->db, NULL, id, ret);
    return order_find(cx, o->db, NULL, o->argv[0], ret);
}

static struct table *placement_table(struct cx *cx, const struct placement *p, size_t n)
{
    struct table *t =
        table_new("unit#", "provider", "referans", "status", "calls#", "asked#", "external_status",
                  "note", "created_at", "sent_at", "ended_at", NULL);

    for (size_t i = 0; i < n; i++)
        table_row(t, number(cx, p[i].unit), p[i].provider, p[i].referans,
                  placement_status_word(p[i].status), number(cx, p[i].calls),
                  number(cx, p[i].asked), p[i].external_status, p[i].note,
                  when(cx, p[i].created_ms), when(cx, p[i].sent_ms), when(cx, p[i].ended_ms));
    return t;
}

static struct table *event_table(struct cx *cx, const struct order_event *e, size_t n)
{
    struct table *t =
        table_new("at", "event", "status", "unit", "provider", "referans", "actor", "detail", NULL);

    for (size_t i = 0; i < n; i++)
        table_row(t, when(cx, e[i].at_ms), e[i].kind, e[i].status,
                  e[i].unit ? number(cx, e[i].unit) : NULL, e[i].provider, e[i].referans,
                  e[i].actor, e[i].detail);
    return t;
}

rc verb_order_show(struct cx *cx, struct ops *o)
{
    struct order ord;
    struct placement *p;
    struct order_event *e;
    size_t np, ne;

    try(find(cx, o, &ord));
    try(placement_list(cx, o->db, ord.id, &p, &np));
    try(order_events(cx, o->db, ord.id, -1, 500, &e, &ne));
    if (o->json)
        printf("{\"order\":");
    table_print_one(order_table(cx, &ord, 1), o->json);
    printf(o->json ? ",\"placements\":" : "\n");
    table_print(placement_table(cx, p, np), o->json);
    printf(o->json ? ",\"events\":" : "\n");
    table_print(event_table(cx, e, ne), o->json);
    if (o->json)
        printf("}\n");
    return OK;
}

rc verb_order_resolve(struct cx *cx, struct ops *o)
{
    static const struct {
        const char *word;
        enum order_decision decision;
    } words[] = {{"completed", DECIDE_COMPLETED}, {"failed", DECIDE_FAILED}, {"ask", DECIDE_ASK}};
    const char *as, *note, *pin;
    struct order ord;
    int64_t unit;
    size_t i = 0;

    try(opt_needed(cx, o, "as", &as));
    try(opt_needed(cx, o, "note", &note));
    try(opt_text(cx, o, "pin", &pin));
    try(opt_int(cx, o, "unit", 1, 100, 0, &unit));
    while (i < COUNT(words) && strcmp(words[i].word, as) != 0)
        i++;
    if (i == COUNT(words))
        return fail(cx, USAGE, "--as is completed, failed or ask");
    try(find(cx, o, &ord));
    try(order_resolve(cx, o->db, o->engine, o->keys, o->actor, ord.id, (int)unit, words[i].decision,
                      pin, note, &ord));
    table_print_one(order_table(cx, &ord, 1), o->json);
    return OK;
}

rc verb_order_cancel(struct cx *cx, struct ops *o)
{
    struct order ord;

    try(find(cx, o, &ord));
    try(order_cancel(cx, o->db, /* engine= */ NULL, o->actor, ord.tenant_id, ord.id, &ord));
    try(audit_note(cx, o->db,
                   &(struct audit){.tenant_id = ord.tenant_id,
                                   .actor = o->actor,
                                   .action = "order.cancel",
                                   .object_type = "order",
                                   .object_id = ord.id}));
    table_print_one(order_table(cx, &ord, 1), o->json);
    return OK;
}
