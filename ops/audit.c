/* audit.c - what people did by hand; and whether the black box of commands is as it was written. */
#include "domain/audit.h"
#include "base/text.h"
#include "domain/agents/command_history.h"
#include "ops/table.h"
#include "ops/verbs.h"
#include <stdio.h>
#include <string.h>

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

/* ------------------------------------------------------------------ the chain */

#define FAULTS_SHOWN 100

struct faults {
    struct cx *cx;
    struct table *table;
    const char *first;
    int64_t n;
};

static void take_fault(void *arg, const struct history_fault *f)
{
    struct faults *all = arg;

    if (!all->first)
        all->first = arena_strdup(&all->cx->arena, f->words);
    if (all->n++ < FAULTS_SHOWN)
        table_row(all->table, number(all->cx, f->seq), f->job_id, f->words);
}

/* "SEQ:HASH", as an earlier run printed it. */
static rc read_anchor(struct cx *cx, const char *text, struct history_anchor *ret)
{
    const char *colon = strchr(text, ':');
    const char *seq = arena_strndup(&cx->arena, text, colon ? (size_t)(colon - text) : 0);
    char hash[DIGEST_LEN];

    if (!colon || !parse_int(seq, 1, INT64_MAX, &ret->seq) ||
        !hex_decode(colon + 1, hash, sizeof hash))
        return fail(cx, USAGE, "--anchor is SEQ:HASH, as an earlier 'audit verify' printed it");
    ret->hash = colon + 1;
    return OK;
}

static void print_verdict(struct cx *cx, const struct ops *o, const struct history_verdict *v,
                          struct faults *faults)
{
    const char *anchor =
        v->last_seq ? arena_printf(&cx->arena, "%lld:%s", (long long)v->last_seq, v->head) : NULL;
    struct table *t =
        table_new("whole?", "rows#", "first_seq#", "last_seq#", "faults#", "anchor", NULL);

    table_row(t, v->faults ? "no" : "yes", number(cx, v->rows), number(cx, v->first_seq),
              number(cx, v->last_seq), number(cx, v->faults), anchor);
    if (o->json)
        printf("{\"verdict\":");
    table_print_one(t, o->json);
    if (o->json)
        printf(",\"faults\":");
    else if (faults->n)
        printf("\n");
    if (o->json || faults->n)
        table_print(faults->table, o->json);
    else
        table_free(faults->table);
    if (o->json)
        printf("}\n");
}

/* Exit status 0 says that every link holds. The anchor (a seq and its hash) is to be noted where nobody who
 * can write to the database can write. */
rc verb_audit_verify(struct cx *cx, struct ops *o)
{
    struct faults faults = {.cx = cx};
    struct history_anchor anchor;
    struct history_verdict v;
    const char *given = opt(o, "anchor");

    if (given)
        try(read_anchor(cx, given, &anchor));
    cx->deadline_mono_ms = 0; /* as long as the history is */
    faults.table = table_new("seq#", "job_id", "fault", NULL);
    rc r = history_verify(cx, o->db, given ? &anchor : NULL, take_fault, &faults, &v);
    if (r != OK) {
        table_free(faults.table);
        return r;
    }
    print_verdict(cx, o, &v, &faults);
    if (v.faults)
        return fail(cx, CONFLICT, "the command history is not as it was written: %s", faults.first);
    return OK;
}
