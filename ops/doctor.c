/* doctor.c - what is wrong, or soon will be; and what to do. */
#include "domain/doctor.h"
#include "ops/table.h"
#include "ops/verbs.h"
#include <stdio.h>

static void print_people(const struct finding *f)
{
    printf("%-5s %-20s %s\n", finding_word(f->level), f->check, f->found);
    if (f->meaning)
        printf("      %-20s   means: %s\n", "", f->meaning);
    if (f->todo)
        printf("      %-20s   to do: %s\n", "", f->todo);
}

/* Status 1 when something is bad: a warning alone does not wake anybody. */
rc verb_doctor(struct cx *cx, struct ops *o)
{
    const struct doctor d = {o->settings, o->db, o->redis, o->engine};
    size_t n, count[3] = {0};
    struct finding *f;

    try(doctor_look(cx, &d, &f, &n));
    struct table *t = table_new("level", "check", "found", "meaning", "todo", NULL);
    for (size_t i = 0; i < n; i++) {
        count[f[i].level]++;
        table_row(t, finding_word(f[i].level), f[i].check, f[i].found, f[i].meaning, f[i].todo);
        if (!o->json)
            print_people(&f[i]);
    }
    if (o->json)
        table_print(t, true);
    else
        table_free(t);
    if (count[FINDING_BAD])
        return fail(cx, CONFLICT, "%zu bad, %zu to look at, %zu well", count[FINDING_BAD],
                    count[FINDING_WARN], count[FINDING_OK]);
    if (!o->json)
        printf("\n%zu to look at, %zu well\n", count[FINDING_WARN], count[FINDING_OK]);
    return OK;
}
