/* security.c - what the doors refused. */
#include "base/clock.h"
#include "base/text.h"
#include "domain/access/security_events.h"
#include "ops/table.h"
#include "ops/tenant.h"
#include "ops/verbs.h"

rc verb_security_ls(struct cx *cx, struct ops *o)
{
    struct security_filter f = {.kind = opt(o, "kind"), .source = opt(o, "source")};
    const char *after = opt(o, "after");
    struct security_event *e;
    struct table *t;
    int64_t limit;
    size_t n;

    try(opt_int(cx, o, "limit", 1, 500, 50, &limit));
    f.limit = (int)limit;
    try(opt_time(cx, o, "since", &f.since_ms));
    if (after && !parse_int(after, 1, INT64_MAX, &f.after))
        return fail(cx, USAGE, "--after must be a number that the page before named");
    try(tenant_if_named(cx, o, &f.tenant_id));
    try(security_event_list(cx, o->db, &f, &e, &n));
    t = table_new("at", "kind", "door", "source", "identity", "route", "times#", "detail", "id+",
                  "tenant_id+", NULL);
    for (size_t i = 0; i < n; i++)
        table_row(t, when(cx, e[i].at_ms), e[i].kind, e[i].door, e[i].source, e[i].identity,
                  e[i].route, number(cx, e[i].times), e[i].detail, number(cx, e[i].id),
                  e[i].tenant_id);
    table_print(t, o->json);
    if (n == (size_t)limit)
        hint("perhaps more: --after %lld", (long long)e[n - 1].id);
    return OK;
}
