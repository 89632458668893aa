/* rows.c - see rows.h. The token of the next claim follows from what PostgreSQL heard last:
 * attempt + 1. */
#include "queue/rows.h"
#include "base/text.h"
#include "queue/options.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void read_row(struct cx *cx, const struct pg_result *res, int r, struct job_new *j,
                     struct push_row *p)
{
    *j = (struct job_new){
        .queue = pg_col(res, r, "queue"),
        .task = pg_col(res, r, "task"),
        .args = pg_col(res, r, "args"),
        .durable = true,
        .priority = atoi(pg_col(res, r, "priority")),
        .run_at_ms = pg_ms(res, r, 8),
        .timeout_ms = strtoll(pg_col(res, r, "timeout_ms"), NULL, 10),
        .max_attempts = atoi(pg_col(res, r, "max_attempts")),
        .subject = pg_col(res, r, "subject"),
        .tenant_id = pg_col(res, r, "tenant_id"),
        .trace = pg_col(res, r, "trace"),
        .options = job_options_parse(cx, pg_col(res, r, "options")),
    };
    snprintf(j->id, sizeof j->id, "%s", pg_col(res, r, "id"));
    p->job = j;
    p->next = (struct lease){
        .generation = atoi(pg_col(res, r, "generation")),
        .claim = atoi(pg_col(res, r, "attempt")) + 1,
        .snoozes = atoi(pg_col(res, r, "snoozes")),
    };
    memcpy(p->next.id, j->id, sizeof j->id);
}

rc engine_push_result(struct cx *cx, struct engine *e, const struct pg_result *res, bool rebuild,
                      int64_t *ret_pushed)
{
    int n = pg_rows(res);
    _cleanup_(freep) struct job_new *jobs = xcalloc((size_t)n + 1, sizeof *jobs);
    _cleanup_(freep) struct push_row *rows = xcalloc((size_t)n + 1, sizeof *rows);
    _cleanup_(freep) bool *done = xcalloc((size_t)n + 1, sizeof *done);

    *ret_pushed = 0;
    for (int i = 0; i < n; i++) {
        const char *queue = pg_col(res, i, "queue");
        size_t k = 0, pushed;
        if (done[i] || !queue)
            continue;
        for (int r = i; r < n && k < QUEUE_BATCH; r++)
            if (!done[r] && str_eq(pg_col(res, r, "queue"), queue)) {
                read_row(cx, res, r, &jobs[k], &rows[k]);
                done[r] = true;
                k++;
            }
        try(engine_push_rows(cx, e, queue, rows, k, rebuild ? PUSH_REBUILD : PUSH_AGAIN, &pushed));
        *ret_pushed += (int64_t)pushed;
    }
    return OK;
}
