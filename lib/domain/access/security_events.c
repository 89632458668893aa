/* security_events.c - written many at a time, read newest first. */
#include "domain/access/security_events.h"
#include "base/text.h"
#include "domain/access/security_events.sql.h"
#include "domain/row.h"
#include "pg/pg_array.h"
#include <arpa/inet.h>
#include <stdio.h>
#include <string.h>

#define BATCH_MAX MiB(4) /* of one column */

/* Would PostgreSQL take it for an inet? Zones ("fe80::1%eth0") it does not. */
static bool is_address(const char *s)
{
    unsigned char raw[16];

    return s && (inet_pton(AF_INET, s, raw) == 1 || inet_pton(AF_INET6, s, raw) == 1);
}

static bool is_net(const char *s)
{
    char address[64];
    size_t n = strcspn(s, "/");
    int64_t bits;

    if (n >= sizeof(address))
        return false;
    snprintf(address, sizeof(address), "%.*s", (int)n, s);
    return is_address(address) &&
           (!s[n] || parse_int(s + n + 1, 0, strchr(address, ':') ? 128 : 32, &bits));
}

rc security_events_add(struct cx *cx, struct pg *db, const struct security_event *e, size_t n)
{
    _cleanup_(pg_array_release) struct pg_array at = PG_ARRAY(BATCH_MAX);
    _cleanup_(pg_array_release) struct pg_array tenant = PG_ARRAY(BATCH_MAX);
    _cleanup_(pg_array_release) struct pg_array kind = PG_ARRAY(BATCH_MAX);
    _cleanup_(pg_array_release) struct pg_array door = PG_ARRAY(BATCH_MAX);
    _cleanup_(pg_array_release) struct pg_array identity = PG_ARRAY(BATCH_MAX);
    _cleanup_(pg_array_release) struct pg_array source = PG_ARRAY(BATCH_MAX);
    _cleanup_(pg_array_release) struct pg_array route = PG_ARRAY(BATCH_MAX);
    _cleanup_(pg_array_release) struct pg_array detail = PG_ARRAY(BATCH_MAX);
    _cleanup_(pg_array_release) struct pg_array times = PG_ARRAY(BATCH_MAX);
    _cleanup_(pg_result_freep) struct pg_result *res = NULL;

    for (size_t i = 0; i < n; i++) {
        pg_array_t(&at, e[i].at_ms);
        pg_array_s(&tenant, e[i].tenant_id);
        pg_array_s(&kind, e[i].kind);
        pg_array_s(&door, e[i].door);
        pg_array_s(&identity, e[i].identity);
        pg_array_s(&source, is_address(e[i].source) ? e[i].source : NULL);
        pg_array_s(&route, e[i].route);
        pg_array_s(&detail, e[i].detail);
        pg_array_i(&times, e[i].times);
    }
    if (n == 0)
        return OK;
    return pg_do(cx, db, SQL_SECURITY_EVENTS_ADD, &res, pg_a(&at), pg_a(&tenant), pg_a(&kind),
                 pg_a(&door), pg_a(&identity), pg_a(&source), pg_a(&route), pg_a(&detail),
                 pg_a(&times));
}

rc security_event_list(struct cx *cx, struct pg *db, const struct security_filter *f,
                       struct security_event **ret, size_t *ret_n)
{
    _cleanup_(pg_result_freep) struct pg_result *res = NULL;

    if (f->source && !is_net(f->source))
        return fail_at(cx, INVALID_FIELD, "/source",
                       "must be an address or a net such as 10.0.0.0/8");
    try(pg_do(cx, db, SQL_SECURITY_EVENT_LIST, &res, pg_s(f->tenant_id), pg_s(f->kind),
              pg_s(f->source), pg_s(f->identity), pg_t(f->since_ms), pg_i(f->after),
              pg_i(f->limit)));
    struct security_event *list = rows_alloc(cx, res, struct security_event);
    for (int i = 0; i < pg_rows(res); i++) {
        struct row r = ROW(cx, res, i);
        struct security_event *e = &list[i];
        e->id = row_int(&r);
        e->at_ms = row_ms(&r);
        e->tenant_id = row_text(&r);
        e->kind = row_text(&r);
        e->door = row_text(&r);
        e->identity = row_text(&r);
        e->source = row_text(&r);
        e->route = row_text(&r);
        e->detail = row_text(&r);
        e->times = row_int(&r);
    }
    *ret = list;
    *ret_n = (size_t)pg_rows(res);
    return OK;
}

void security_event_json(const struct security_event *e, struct buf *out)
{
    buf_printf(out, "{\"id\":\"%lld\"", (long long)e->id);
    buf_json_time(out, "at", e->at_ms);
    buf_json_field(out, "kind", e->kind);
    buf_json_field(out, "door", e->door);
    buf_json_field(out, "identity", e->identity);
    buf_json_field(out, "source", e->source);
    buf_json_field(out, "route", e->route);
    buf_json_field(out, "detail", e->detail);
    buf_printf(out, ",\"times\":%lld}", (long long)e->times);
}
