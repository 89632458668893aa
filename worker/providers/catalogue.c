/* catalogue.c - rows of a list, one by one, under a ceiling. */
#include "worker/providers/catalogue.h"

void catalogue_read(struct cx *cx, const cJSON *list, catalogue_row_fn *read, const cJSON *config,
                    int64_t took_ms, struct catalogue_answer *ret)
{
    int n = cJSON_GetArraySize(list);

    if (n > CATALOGUE_ROWS) {
        ret->answer.note = arena_printf(
            &cx->arena, "the catalogue has %d rows, %d are read at most", n, CATALOGUE_ROWS);
        return;
    }
    ret->rows = arena_alloc(&cx->arena, ((size_t)n + 1) * sizeof *ret->rows);
    for (const cJSON *o = list->child; o; o = o->next) {
        if (read(cx, config, o, &ret->rows[ret->n]))
            ret->n++;
        else
            ret->skipped++;
    }
    ret->ok = true;
    ret->answer = (struct answer){.row = "catalogue", .healthy = true, .took_ms = took_ms};
}
