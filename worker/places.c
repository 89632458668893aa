/* places.c - see places.h. */
#include "worker/places.h"
#include "base/log.h"
#include "base/text.h"
#include "queue/keys.h"
#include <stdlib.h>
#include <string.h>

rc queues_parse(struct cx *cx, const char *list, char **ret_text, const char ***ret_names,
                size_t *ret_n)
{
    _cleanup_(freep) char *text = xstrdup(list);
    _cleanup_(freep) const char **names = NULL;
    size_t n = 0;
    char *save = NULL;

    for (char *word = strtok_r(text, ",", &save); word; word = strtok_r(NULL, ",", &save)) {
        word = str_trim(word);
        if (!queue_name_valid(word))
            return fail(cx, CONFIG, "worker_queues: '%.70s' is no name of a queue (a-z 0-9 _ . -)",
                        word);
        for (size_t i = 0; i < n; i++)
            if (strcmp(names[i], word) == 0)
                return fail(cx, CONFIG, "worker_queues names '%s' twice", word);
        names = xrealloc(names, (n + 1) * sizeof *names);
        names[n++] = word;
    }
    if (n == 0)
        return fail(cx, CONFIG, "worker_queues names no queue");
    *ret_text = TAKE_PTR(text);
    *ret_names = TAKE_PTR(names);
    *ret_n = n;
    return OK;
}

rc places_open(struct cx *cx, struct pool *p)
{
    _cleanup_(freep) const char **names = NULL;
    _cleanup_(freep) char *text = NULL;

    try(queues_parse(cx, p->settings->worker_queues, &text, &names, &p->nqueues));
    p->queues = xcalloc(p->nqueues, sizeof *p->queues);
    for (size_t i = 0; i < p->nqueues; i++) {
        struct pool_queue *q = &p->queues[i];
        *q = (struct pool_queue){.name = xstrdup(names[i]), .index = i, .hot = true};
        q->next = q->turn = q;
        q->shards = 1;
    }
    p->nplaces = p->nqueues;
    return OK;
}

static void release(struct pool_queue *q)
{
    free((void *)(uintptr_t)q->name);
    free(q->acks);
    free(q->slots);
}

void places_close(struct pool *p)
{
    for (size_t i = 0; i < p->nqueues; i++) {
        struct pool_queue *first = &p->queues[i];
        for (struct pool_queue *q = first->next, *next; q != first; q = next) {
            next = q->next;
            release(q);
            free(q);
        }
        release(first);
    }
    free(p->queues);
}

struct pool_queue *place_after(const struct pool *p, const struct pool_queue *q)
{
    if (!q)
        return &p->queues[0];
    if (q->next != &p->queues[q->index])
        return q->next;
    return q->index + 1 < p->nqueues ? &p->queues[q->index + 1] : NULL;
}

void places_heard(struct pool *p, const struct pool_queue *q, int shards)
{
    struct pool_queue *first = &p->queues[q->index], *last = first;
    char name[PLACE_NAME_MAX + 1];

    if (shards <= first->shards || shards > QUEUE_SHARDS_MAX)
        return;
    log_ev(LOG_INFO, "queue.spread", kv_str("queue", first->name), kv_int("shards", shards));
    while (last->next != first)
        last = last->next;
    for (; first->shards < shards; first->shards++, p->nplaces++) {
        struct pool_queue *more = xcalloc(1, sizeof *more);
        *more = (struct pool_queue){.name = xstrdup(place_name(first->name, first->shards, name)),
                                    .index = first->index,
                                    .shard = first->shards,
                                    .hot = true,
                                    .next = first};
        last->next = more;
        last = more;
    }
}

size_t places_list(struct cx *cx, const struct pool *p, const char ***ret_names,
                   struct pool_queue ***ret_places)
{
    size_t n = 0;

    *ret_names = arena_alloc(&cx->arena, p->nplaces * sizeof **ret_names);
    *ret_places = arena_alloc(&cx->arena, p->nplaces * sizeof **ret_places);
    for
        EACH_PLACE(p, q)
        {
            (*ret_names)[n] = q->name;
            (*ret_places)[n++] = q;
        }
    return n;
}
