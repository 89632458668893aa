/* names.c - see names.h. */
#include "queue/names.h"
#include "queue/internal.h"
#include "queue/reconcile.sql.h"
#include <stdlib.h>
#include <string.h>

void names_release(struct names *q)
{
    for (size_t i = 0; i < q->n; i++)
        free(q->name[i]);
    free(q->name);
    *q = (struct names){0};
}

static void add(struct names *q, const char *name)
{
    if (!queue_name_valid(name))
        return; /* written by somebody else: nothing of ours can be there */
    q->name = xrealloc(q->name, (q->n + 1) * sizeof *q->name);
    q->name[q->n++] = xstrdup(name);
}

static int by_name(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

static void sort_once(struct names *q)
{
    size_t kept = 0;

    if (q->n == 0)
        return;
    qsort(q->name, q->n, sizeof *q->name, by_name);
    for (size_t i = 1; i < q->n; i++)
        if (strcmp(q->name[kept], q->name[i]) == 0)
            free(q->name[i]);
        else
            q->name[++kept] = q->name[i];
    q->n = kept + 1;
}

static rc gather(struct cx *cx, struct engine *e, bool all, struct names *q)
{
    _cleanup_(redis_reply_freep) redisReply *listed = NULL;
    _cleanup_(pg_result_freep) struct pg_result *res = NULL;

    try(redis_cmd(cx, e->redis, &listed, "SMEMBERS %s", KEY_QUEUES));
    for (size_t i = 0; i < listed->elements; i++)
        add(q, listed->element[i]->str);
    if (e->db && (all || listed->elements == 0)) {
        try(pg_query(cx, e->db, &SQL_QUEUE_NAMES, &res, PG_NO_ARGS));
        for (int r = 0; r < pg_rows(res); r++)
            add(q, pg_text(res, r, 0));
    }
    for (size_t i = 0; i < e->nqueues; i++)
        add(q, e->queues[i]->queue);
    sort_once(q);
    return OK;
}

static rc names_gather(struct cx *cx, struct engine *e, bool all, struct names *ret)
{
    _cleanup_(names_release) struct names q = {0};

    try(gather(cx, e, all, &q));
    *ret = q;
    q = (struct names){0};
    return OK;
}

rc names_of_queues(struct cx *cx, struct engine *e, struct names *ret)
{
    return names_gather(cx, e, /* all= */ false, ret);
}

rc names_of_all_queues(struct cx *cx, struct engine *e, struct names *ret)
{
    return names_gather(cx, e, /* all= */ true, ret);
}
