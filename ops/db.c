/* db.c - the schema: bring it up to date, say where it stands. */
#include "domain/audit.h"
#include "ops/table.h"
#include "ops/verbs.h"
#include "pg/migrate.h"
#include <stdio.h>

rc verb_db_migrate(struct cx *cx, struct ops *o)
{
    int applied = 0;

    try(migrate_run(cx, o->db, &applied));
    if (applied)
        try(audit_note(
            cx, o->db,
            &(struct audit){.actor = o->actor,
                            .action = "db.migrate",
                            .object_type = "schema",
                            .object_id = number(cx, (int64_t)migration_count),
                            .detail = arena_printf(&cx->arena, "{\"steps\":%d}", applied)}));
    if (o->json)
        printf("{\"applied\":%d}\n", applied);
    else if (applied)
        printf("%d step%s applied; the schema is current\n", applied, applied == 1 ? "" : "s");
    else
        printf("the schema is current\n");
    return OK;
}

static void add_row(int step, const char *name, const char *state, const char *at, void *arg)
{
    char text[16];

    snprintf(text, sizeof text, "%d", step);
    table_row(arg, text, name, state, at);
}

rc verb_db_status(struct cx *cx, struct ops *o)
{
    struct table *t = table_new("step#", "name", "state", "at", NULL);
    rc r = migrate_status(cx, o->db, add_row, t);

    if (r == OK)
        table_print(t, o->json);
    else
        table_free(t);
    return r;
}
