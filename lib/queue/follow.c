/* follow.c - see follow.h. Both what was shown and what is read come in the same order, so that one walk over both
 * tells what is new. */
#include "queue/follow.h"
#include "queue/follow.sql.h"
#include "queue/internal.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define FIRST_MS 60000
#define FIRST_N  200
#define PAGE     2000

struct mark {
    int64_t us;
    char id[ID_LEN + 1];
    int generation, attempt;
};
struct marks {
    struct mark *at;
    size_t n, room;
};

struct follow {
    struct engine *e;
    const char *queue, *task;
    int64_t from_us;
    struct marks shown; /* at from_us or later */
};

struct follow *follow_free(struct follow *f)
{
    if (!f)
        return NULL;
    free(f->shown.at);
    free(f);
    return NULL;
}

static void marks_add(struct marks *m, const struct mark *new)
{
    if (m->n == m->room) {
        m->room = MAX(m->room * 2, (size_t)64);
        m->at = xrealloc(m->at, m->room * sizeof *m->at);
    }
    m->at[m->n++] = *new;
}

static int marks_compare(const struct mark *a, const struct mark *b)
{
    int by_id = strcmp(a->id, b->id);

    if (a->us != b->us)
        return a->us < b->us ? -1 : 1;
    if (by_id)
        return by_id;
    return a->generation != b->generation ? a->generation - b->generation : a->attempt - b->attempt;
}

static rc ask_horizon(struct cx *cx, struct follow *f, int64_t *ret)
{
    _cleanup_(pg_result_freep) struct pg_result *res = NULL;

    try(pg_query(cx, f->e->db, &SQL_FOLLOW_HORIZON, &res, PG_NO_ARGS));
    *ret = pg_int(res, 0, 0);
    return OK;
}

rc follow_new(struct cx *cx, struct engine *e, const char *queue, const char *task,
              struct follow **ret)
{
    _cleanup_(pg_result_freep) struct pg_result *res = NULL;
    struct follow f = {.e = e, .queue = queue, .task = task};

    try(ask_horizon(cx, &f, &f.from_us));
    try(pg_do(cx, e->db, SQL_FOLLOW_START, &res, pg_i(FIRST_MS), pg_s(queue), pg_s(task),
              pg_i(FIRST_N)));
    if (pg_text(res, 0, 0))
        f.from_us = MIN(f.from_us, pg_int(res, 0, 0));
    *ret = xmalloc(sizeof **ret);
    **ret = f;
    return OK;
}

/* ---------------------------------------------------------------- a round */

struct round {
    struct mark at;     /* the last one read */
    size_t old;         /* of f->shown: the first that is not before it */
    int64_t horizon_us; /* kept in mind for the next round: what is at it or later */
    struct marks remember;
    void (*tell)(const struct ended_attempt *a, void *arg);
    void *arg;
};

static void take(const struct follow *f, struct round *w, const struct ended_attempt *a, int64_t us)
{
    bool known = false;

    w->at = (struct mark){.us = us, .generation = a->end.generation, .attempt = a->end.attempt};
    memcpy(w->at.id, a->job_id, sizeof w->at.id);
    while (!known && w->old < f->shown.n && marks_compare(&f->shown.at[w->old], &w->at) <= 0)
        known = marks_compare(&f->shown.at[w->old++], &w->at) == 0;
    if (!known)
        w->tell(a, w->arg);
    if (us >= w->horizon_us)
        marks_add(&w->remember, &w->at);
}

static rc read_page(struct cx *cx, struct follow *f, struct round *w, int *ret_n)
{
    _cleanup_(pg_result_freep) struct pg_result *res = NULL;

    try(pg_do(cx, f->e->db, SQL_FOLLOW_PAGE, &res, pg_i(w->at.us), pg_s(w->at.id),
              pg_i(w->at.generation), pg_i(w->at.attempt), pg_s(f->queue), pg_s(f->task),
              pg_i(PAGE)));
    *ret_n = pg_rows(res);
    for (int i = 0; i < *ret_n; i++) {
        struct ended_attempt a = {
            .queue = pg_text(res, i, 9),
            .task = pg_text(res, i, 10),
            .end = {.generation = (int)pg_int(res, i, 1),
                    .attempt = (int)pg_int(res, i, 2),
                    .outcome = pg_text(res, i, 3),
                    .error_code = pg_text(res, i, 4),
                    .error = pg_text(res, i, 5),
                    .worker = pg_text(res, i, 6),
                    .started_ms = pg_ms(res, i, 7),
                    .finished_ms = pg_ms(res, i, 8)},
        };
        snprintf(a.job_id, sizeof a.job_id, "%s", pg_text(res, i, 0));
        take(f, w, &a, pg_int(res, i, 11));
    }
    return OK;
}

rc follow_round(struct cx *cx, struct follow *f,
                void (*tell)(const struct ended_attempt *a, void *arg), void *arg)
{
    struct round w = {.at = {.us = f->from_us, .id = "00000000-0000-0000-0000-000000000000"},
                      .tell = tell,
                      .arg = arg};
    int n = PAGE;
    /* asked for before the rows: what begins from here on is younger */
    rc r = ask_horizon(cx, f, &w.horizon_us);

    while (r == OK && n == PAGE)
        r = read_page(cx, f, &w, &n);
    if (r != OK) {
        free(w.remember.at);
        return r;
    }
    free(f->shown.at);
    f->shown = w.remember;
    f->from_us = MAX(f->from_us, w.horizon_us);
    return OK;
}
