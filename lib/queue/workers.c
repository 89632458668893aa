/* workers.c - see workers.h. */
#include "queue/workers.h"
#include "base/text.h"
#include "queue/counts.h"
#include "queue/internal.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define CARD_MAX KiB(256)

/* ---------------------------------------------------------------- for the process itself */

rc workers_beat(struct cx *cx, struct engine *e, const struct worker_beat *b, bool *ret_drain)
{
    _cleanup_(redis_reply_freep) redisReply *reply = NULL;
    _cleanup_(freep) const char **argv = xmalloc((b->ncount + 8) * sizeof *argv);
    char card[sizeof KEY_WORKER_OF + WORKER_NAME_MAX], batch[24];
    int n = 0;

    snprintf(card, sizeof card, "%s%s", KEY_WORKER_OF, b->name);
    snprintf(batch, sizeof batch, "%lld", (long long)b->batch);
    argv[n++] = card;
    argv[n++] = KEY_WORKERS_SEEN;
    argv[n++] = KEY_WORKERS_WISHES;
    argv[n++] = KEY_COUNTS;
    argv[n++] = b->name;
    argv[n++] = STR_OF(WORKERS_KEEP_MS);
    argv[n++] = b->card ? b->card : "";
    argv[n++] = batch;
    for (size_t i = 0; i < b->ncount; i++)
        argv[n++] = b->count[i];
    try(redis_eval(cx, e->redis, &reply, &SCRIPT_WORKERS_BEAT, n, argv, NULL));
    if (!reply_has(reply, 2) || reply->element[1]->type != REDIS_REPLY_STRING)
        return fail(cx, REDIS, "workers_beat.lua gave no answer");
    *ret_drain = strcmp(reply->element[1]->str, "drain") == 0;
    return OK;
}

/* ---------------------------------------------------------------- a card */

static const char *text_of(const cJSON *o, const char *name)
{
    const cJSON *v = cJSON_GetObjectItemCaseSensitive(o, name);

    return cJSON_IsString(v) ? v->valuestring : "";
}

static double number_of(const cJSON *o, const char *name)
{
    const cJSON *v = cJSON_GetObjectItemCaseSensitive(o, name);

    return cJSON_IsNumber(v) ? v->valuedouble : 0;
}

static size_t items_of(const cJSON *o, const char *name, const cJSON **ret)
{
    *ret = cJSON_GetObjectItemCaseSensitive(o, name);
    return cJSON_IsArray(*ret) ? (size_t)cJSON_GetArraySize(*ret) : 0;
}

static void read_lists(struct cx *cx, const cJSON *o, struct worker_info *w)
{
    const cJSON *list, *v;
    size_t n = items_of(o, "queues", &list), i = 0;

    w->queues = arena_alloc(&cx->arena, (n + 1) * sizeof *w->queues);
    for (v = n ? list->child : NULL; v; v = v->next)
        w->queues[w->nqueues++] = (struct worker_queue){text_of(v, "name"), number_of(v, "busy"),
                                                        number_of(v, "rate_per_s")};
    n = items_of(o, "tasks", &list);
    w->tasks = arena_alloc(&cx->arena, (n + 1) * sizeof *w->tasks);
    for (v = n ? list->child : NULL; v; v = v->next)
        w->tasks[w->ntasks++] = cJSON_IsString(v) ? v->valuestring : "";
    n = items_of(o, "oldest", &list);
    w->oldest = arena_alloc(&cx->arena, (n + 1) * sizeof *w->oldest);
    for (v = n ? list->child : NULL; v; v = v->next, i++)
        w->oldest[w->noldest++] = (struct worker_job){
            .id = text_of(v, "id"),
            .task = text_of(v, "task"),
            .queue = text_of(v, "queue"),
            .attempt = (int)number_of(v, "attempt"),
            .started_ms = (int64_t)number_of(v, "started_ms"),
        };
}

static void read_card(struct cx *cx, const redisReply *text, struct worker_info *w)
{
    cJSON *o;

    w->silent = true;
    w->kind = w->host = w->version = "";
    if (text->len == 0 || json_parse(cx, text->str, (size_t)text->len, CARD_MAX, &o) != OK ||
        !cJSON_IsObject(o))
        return;
    w->silent = false;
    w->card = o;
    w->kind = text_of(o, "kind");
    w->host = text_of(o, "host");
    w->version = text_of(o, "version");
    w->pid = (int64_t)number_of(o, "pid");
    w->child = (int64_t)number_of(o, "child");
    w->started_ms = (int64_t)number_of(o, "started_ms");
    w->concurrency = (int64_t)number_of(o, "concurrency");
    w->running = (int64_t)number_of(o, "running");
    w->rss_bytes = (int64_t)number_of(o, "rss_bytes");
    w->draining = cJSON_IsTrue(cJSON_GetObjectItemCaseSensitive(o, "draining"));
    read_lists(cx, o, w);
}

/* ---------------------------------------------------------------- for those who ask */

rc workers_list(struct cx *cx, struct engine *e, struct worker_info **ret, size_t *ret_n)
{
    _cleanup_(redis_reply_freep) redisReply *reply = NULL;
    const char *argv[] = {KEY_WORKERS_SEEN, KEY_WORKERS_WISHES, KEY_WORKER_OF, STR_OF(WORKERS_MAX),
                          STR_OF(WORKERS_SILENT_MS)};

    try(redis_eval(cx, e->redis, &reply, &SCRIPT_WORKERS_LIST, COUNT(argv), argv, NULL));
    if (reply->type != REDIS_REPLY_ARRAY || reply->elements % 4)
        return fail(cx, REDIS, "workers_list.lua gave no answer");
    struct worker_info *w = arena_alloc(&cx->arena, (reply->elements / 4 + 1) * sizeof *w);
    for (size_t i = 0; i < reply->elements / 4; i++) {
        redisReply **four = reply->element + i * 4;
        w[i] = (struct worker_info){.name = arena_strdup(&cx->arena, four[0]->str),
                                    .age_ms = four[1]->integer,
                                    .drain = strcmp(four[3]->str, "drain") == 0};
        read_card(cx, four[2], &w[i]);
    }
    *ret = w;
    *ret_n = reply->elements / 4;
    return OK;
}

rc workers_wish(struct cx *cx, struct engine *e, const char *name, bool drain)
{
    _cleanup_(redis_reply_freep) redisReply *seen = NULL;

    try(redis_cmd(cx, e->redis, &seen, "ZSCORE %s %s", KEY_WORKERS_SEEN, name));
    if (seen->type == REDIS_REPLY_NIL)
        return fail(cx, NOT_FOUND, "there is no worker '%s'", name);
    if (drain)
        return redis_cmd(cx, e->redis, NULL, "HSET %s %s drain", KEY_WORKERS_WISHES, name);
    return redis_cmd(cx, e->redis, NULL, "HDEL %s %s", KEY_WORKERS_WISHES, name);
}

bool worker_serves(const struct worker_info *w, const char *queue)
{
    bool found = !queue && w->nqueues > 0;

    for (size_t i = 0; i < w->nqueues && !found; i++)
        found = strcmp(w->queues[i].name, queue) == 0;
    return found && !w->silent;
}

bool worker_knows(const struct worker_info *w, const char *task)
{
    for (size_t i = 0; i < w->ntasks; i++)
        if (strcmp(w->tasks[i], task) == 0)
            return true;
    return false;
}

rc workers_know(struct cx *cx, struct engine *e, const char *queue, const char *task, bool *ret)
{
    struct worker_info *w;
    size_t n;

    try(workers_list(cx, e, &w, &n));
    *ret = false;
    for (size_t i = 0; i < n; i++)
        *ret |= worker_serves(&w[i], queue) && worker_knows(&w[i], task);
    return OK;
}

/* ---------------------------------------------------------------- as it is shown */

const char *worker_state(const struct worker_info *w)
{
    return w->silent ? "silent" : w->draining ? "draining" : "up";
}

static void print_number(struct buf *out, const struct worker_info *w, const char *name, int64_t n)
{
    if (w->silent)
        buf_printf(out, ",\"%s\":null", name);
    else
        buf_printf(out, ",\"%s\":%lld", name, (long long)n);
}

static void print_lists(struct buf *out, const struct worker_info *w)
{
    buf_puts(out, ",\"queues\":[");
    for (size_t i = 0; i < w->nqueues; i++) {
        buf_puts(out, i ? ",{\"name\":" : "{\"name\":");
        buf_json_str(out, w->queues[i].name);
        buf_printf(out, ",\"busy\":%.3f,\"rate_per_s\":%.3f}", w->queues[i].busy,
                   w->queues[i].rate_per_s);
    }
    buf_puts(out, "],\"tasks\":[");
    for (size_t i = 0; i < w->ntasks; i++) {
        buf_puts(out, i ? "," : "");
        buf_json_str(out, w->tasks[i]);
    }
    buf_puts(out, "],\"oldest\":[");
    for (size_t i = 0; i < w->noldest; i++) {
        const struct worker_job *j = &w->oldest[i];
        buf_puts(out, i ? ",{\"id\":" : "{\"id\":");
        buf_json_str(out, j->id);
        buf_json_field(out, "task", j->task);
        buf_json_field(out, "queue", j->queue);
        buf_printf(out, ",\"attempt\":%d", j->attempt);
        buf_json_time(out, "started_at", j->started_ms);
        buf_puts(out, "}");
    }
    buf_puts(out, "]");
}

void worker_print(struct buf *out, const struct worker_info *w)
{
    buf_puts(out, "{\"name\":");
    buf_json_str(out, w->name);
    buf_json_field(out, "state", worker_state(w));
    buf_printf(out, ",\"draining\":%s,\"drain_wished\":%s,\"age_ms\":%lld",
               w->draining ? "true" : "false", w->drain ? "true" : "false", (long long)w->age_ms);
    buf_json_field(out, "host", w->silent ? NULL : w->host);
    buf_json_field(out, "version", w->silent ? NULL : w->version);
    print_number(out, w, "pid", w->pid);
    print_number(out, w, "child", w->child);
    buf_json_time(out, "started_at", w->started_ms);
    print_number(out, w, "concurrency", w->concurrency);
    print_number(out, w, "running", w->running);
    print_number(out, w, "resident_bytes", w->rss_bytes);
    print_lists(out, w);
    buf_puts(out, "}");
}
