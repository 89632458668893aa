/* audit.c - what people did by hand. */
#include "domain/audit.h"
#include "ops/table.h"
#include "ops/verbs.h"
#include <stdio.h>

rc verb_audit_ls(struct cx *cx, struct ops *o)
{
    struct audit *a;
    struct table *t;
    int64_t limit;
    size_t n;

    try(opt_int(cx, o, "limit", 1, 500, 50, &limit));
    try(audit_list(cx, o->db, opt(o, "type"), opt(o, "object"), (int)limit, &a, &n));
    t = table_new("at", "actor", "action", "type", "object", "detail{}", NULL);
    for (size_t i = 0; i < n; i++)
        table_row(t, when(cx, a[i].at_ms), a[i].actor, a[i].action, a[i].object_type,
                  a[i].object_id, a[i].detail);
    table_print(t, o->json);
    if (n == (size_t)limit)
        hint("perhaps more: --limit, --type, --object");
    return OK;
}
