/* timeline.c - see timeline.h. A ring without a pointer: the n-th line of an attempt goes into slot
 * 1 + (n - 1) % 199, its progress into slot 0, so that the table bounds itself and a batch that is
 * written twice changes nothing. */
#include "queue/timeline.h"
#include "base/text.h"
#include "pg/pg_array.h"
#include "queue/internal.h"
#include "queue/timeline.sql.h"
#include <assert.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

static rc insert(struct cx *cx, struct pg *db, const struct job_event *events, size_t n)
{
    enum { JOB, GENERATION, ATTEMPT, SLOT, SEQ, AT, LEVEL, BODY, COLUMNS };
    struct pg_array a[COLUMNS];
    struct pg_arg args[COLUMNS];

    for (int c = 0; c < COLUMNS; c++)
        a[c] = PG_ARRAY(MiB(16));
    for (size_t i = 0; i < n; i++) {
        const struct job_event *ev = &events[i];
        pg_array_s(&a[JOB], ev->job_id);
        pg_array_i(&a[GENERATION], ev->generation);
        pg_array_i(&a[ATTEMPT], ev->attempt);
        pg_array_i(&a[SLOT], ev->slot);
        pg_array_i(&a[SEQ], ev->seq);
        pg_array_t(&a[AT], ev->at_ms);
        pg_array_s(&a[LEVEL], ev->level);
        pg_array_s(&a[BODY], ev->body);
    }
    for (int c = 0; c < COLUMNS; c++)
        args[c] = pg_a(&a[c]);
    rc r = pg_query(cx, db, &SQL_TIMELINE_WRITE, NULL, args);
    for (int c = 0; c < COLUMNS; c++)
        pg_array_release(&a[c]);
    return r;
}

rc timeline_write(struct cx *cx, struct pg *db, const struct job_event *events, size_t n)
{
    _cleanup_(pg_array_release) struct pg_array begun = PG_ARRAY(MiB(1));

    assert(n <= JOB_EVENTS_BATCH);
    if (n == 0)
        return OK;
    try(insert(cx, db, events, n));
    for (size_t i = 0; i < n; i++)
        if (events[i].seq == 1 && (events[i].attempt > 1 || events[i].generation > 1))
            pg_array_s(&begun, events[i].job_id);
    return begun.n ? pg_do(cx, db, SQL_TIMELINE_PRUNE, NULL, pg_a(&begun)) : OK;
}

static struct job_event *read_events(struct cx *cx, const char *job_id, const struct pg_result *res)
{
    size_t n = (size_t)pg_rows(res);
    struct job_event *events = arena_alloc(&cx->arena, (n + 1) * sizeof *events);

    for (size_t i = 0; i < n; i++) {
        int r = (int)i;
        events[i] = (struct job_event){
            .generation = (int)pg_int(res, r, 0),
            .attempt = (int)pg_int(res, r, 1),
            .seq = pg_int(res, r, 2),
            .at_ms = pg_ms(res, r, 3),
            .level = arena_strdup(&cx->arena, pg_text(res, r, 4)),
            .body = arena_strdup(&cx->arena, pg_text(res, r, 5)),
        };
        snprintf(events[i].job_id, sizeof events[i].job_id, "%s", job_id);
    }
    return events;
}

static bool read_cursor(const char *s, int64_t out[3])
{
    char word[3][24];
    int end = 0;

    if (sscanf(s, "%11[0-9].%11[0-9].%19[0-9]%n", word[0], word[1], word[2], &end) != 3 || s[end])
        return false;
    return parse_int(word[0], 0, INT32_MAX, &out[0]) && parse_int(word[1], 0, INT32_MAX, &out[1]) &&
           parse_int(word[2], 0, INT64_MAX, &out[2]);
}

rc timeline_list(struct cx *cx, struct engine *e, const char *job_id, const char *after,
                 size_t limit, struct job_event **ret, size_t *ret_n)
{
    _cleanup_(pg_result_freep) struct pg_result *res = NULL;
    int64_t at[3] = {-1, 0, 0};

    *ret = NULL;
    *ret_n = 0;
    if (after && !read_cursor(after, at))
        return fail_at(cx, INVALID_FIELD, "/after", "a cursor is what an earlier page ended with");
    if (!e->db)
        return OK;
    try(pg_do(cx, e->db, SQL_TIMELINE_LIST, &res, pg_s(job_id), pg_i(at[0]), pg_i(at[1]),
              pg_i(at[2]), pg_i((int64_t)limit)));
    *ret = read_events(cx, job_id, res);
    *ret_n = (size_t)pg_rows(res);
    return OK;
}

rc timeline_last(struct cx *cx, struct engine *e, const char *job_id, size_t limit,
                 struct job_event **ret, size_t *ret_n, const char **ret_progress)
{
    _cleanup_(pg_result_freep) struct pg_result *res = NULL, *progress = NULL;

    *ret = NULL;
    *ret_n = 0;
    *ret_progress = NULL;
    if (!e->db)
        return OK;
    try(pg_do(cx, e->db, SQL_TIMELINE_LAST, &res, pg_s(job_id), pg_i((int64_t)limit)));
    if (pg_rows(res) == 0)
        return OK; /* most jobs tell nothing */
    *ret = read_events(cx, job_id, res);
    *ret_n = (size_t)pg_rows(res);
    for (size_t i = 0, j = *ret_n - 1; i < j; i++, j--) {
        struct job_event swap = (*ret)[i];
        (*ret)[i] = (*ret)[j];
        (*ret)[j] = swap;
    }
    try(pg_do(cx, e->db, SQL_TIMELINE_PROGRESS, &progress, pg_s(job_id)));
    if (pg_rows(progress) == 1)
        *ret_progress = arena_strdup(&cx->arena, pg_text(progress, 0, 0));
    return OK;
}

void job_event_json(const struct job_event *ev, struct buf *out)
{
    buf_printf(out, "{\"generation\":%d,\"attempt\":%d,\"seq\":%" PRId64, ev->generation,
               ev->attempt, ev->seq);
    buf_json_time(out, "at", ev->at_ms);
    buf_json_field(out, "kind", ev->level ? "log" : "progress");
    if (ev->level) {
        buf_json_field(out, "level", ev->level);
        buf_json_field(out, "text", ev->body);
    } else {
        buf_printf(out, ",\"progress\":%s", ev->body);
    }
    buf_putc(out, '}');
}

const char *job_event_cursor(const struct job_event *ev, char out[48])
{
    snprintf(out, 48, "%d.%d.%" PRId64, ev->generation, ev->attempt, ev->seq);
    return out;
}
