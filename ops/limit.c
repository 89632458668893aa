/* limit.c - limits of keys and queues, and their breakers. */
#include "base/json.h"
#include "base/text.h"
#include "domain/audit.h"
#include "ops/table.h"
#include "ops/verbs.h"
#include "queue/shape/limits.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char *ms_text(struct cx *cx, int64_t ms)
{
    return ms % 1000 ? arena_printf(&cx->arena, "%lldms", (long long)ms)
                     : arena_printf(&cx->arena, "%llds", (long long)ms / 1000);
}

static const char *rate_text(struct cx *cx, const struct limit *l)
{
    return l->rate ? arena_printf(&cx->arena, "%lld/%s, burst %lld", (long long)l->rate,
                                  ms_text(cx, l->per_ms), (long long)l->burst)
                   : NULL;
}

static const char *breaker_text(struct cx *cx, const struct limit *l, const struct limit_state *s)
{
    if (!l->percent)
        return NULL;
    if (l->forced)
        return arena_printf(&cx->arena, "%s, by an operator", l->forced);
    if (s && strcmp(s->breaker, "open") == 0)
        return arena_printf(&cx->arena, "open for %s", ms_text(cx, s->open_ms));
    return s && *s->breaker ? "half open" : "closed";
}

rc verb_limit_ls(struct cx *cx, struct ops *o)
{
    struct limit_row *rows;
    struct table *t;
    size_t n;

    try(limits_list(cx, o->engine, opt(o, "queue"), &rows, &n));
    t = table_new("queue", "key", "rate", "at_once#", "breaker", "held#", "under_way#", "shared",
                  NULL);
    for (size_t i = 0; i < n; i++) {
        const struct limit *l = &rows[i].limit;
        struct limit_state s = {0}, *seen = NULL;
        if (strcmp(l->key, LIMIT_ANY) != 0) {
            try(limit_look(cx, o->engine, rows[i].queue, l->key, &s));
            seen = &s;
        }
        table_row(t, rows[i].queue, l->key, rate_text(cx, l),
                  l->concurrency ? number(cx, l->concurrency) : NULL, breaker_text(cx, l, seen),
                  seen ? number(cx, s.held) : NULL, seen ? number(cx, s.under_way) : NULL,
                  rows[i].shared);
    }
    table_print(t, o->json);
    return OK;
}

/* "10/1s": so many in so long; "10/s" is 10/1s. */
static rc read_rate(struct cx *cx, struct ops *o, struct limit *l)
{
    const char *text = opt(o, "rate");
    char count[24];

    if (!text)
        return OK;
    const char *slash = strchr(text, '/');
    size_t n = slash ? (size_t)(slash - text) : 0;
    if (n == 0 || n >= sizeof count)
        return fail(cx, USAGE, "--rate is so many in so long, such as 10/1s or 100/1m");
    memcpy(count, text, n);
    count[n] = 0;
    const char *per =
        slash[1] >= '0' && slash[1] <= '9' ? slash + 1 : arena_printf(&cx->arena, "1%s", slash + 1);
    if (!parse_int(count, 1, 1000000, &l->rate) || !parse_duration_ms(per, &l->per_ms) ||
        l->per_ms < 1 || l->per_ms > 86400000)
        return fail(cx, USAGE, "--rate is so many in so long, such as 10/1s or 100/1m, not '%s'",
                    text);
    return opt_int(cx, o, "burst", 1, 1000000, 1, &l->burst);
}

static rc read_breaker(struct cx *cx, struct ops *o, struct limit *l)
{
    int64_t percent;

    try(opt_int(cx, o, "breaker", 1, 100, 0, &percent));
    try(opt_int(cx, o, "least", 1, 1000000, 20, &l->least));
    try(opt_int(cx, o, "probes", 1, 1000, 3, &l->probes));
    try(opt_duration(cx, o, "window", 60000, &l->window_ms));
    try(opt_duration(cx, o, "open", 30000, &l->open_ms));
    l->percent = (int)percent;
    return OK;
}

static rc note(struct cx *cx, struct ops *o, const char *action)
{
    return audit_note(
        cx, o->db,
        &(struct audit){.actor = o->actor,
                        .action = action,
                        .object_type = "limit",
                        .object_id = arena_printf(&cx->arena, "%s/%s", o->argv[0], o->argv[1])});
}

/* Through the same door as the API, so that both refuse the same things. */
static rc checked(struct cx *cx, const struct limit *l, struct limit *ret)
{
    _cleanup_(buf_release) struct buf text = BUF(KiB(4));
    cJSON *o;

    buf_putc(&text, '{');
    limit_write(l, &text);
    buf_putc(&text, '}');
    try(json_parse(cx, buf_str(&text), text.len, KiB(4), &o));
    return limit_read(cx, o, ret);
}

rc verb_limit_set(struct cx *cx, struct ops *o)
{
    const char *queues[LIMIT_QUEUES_MAX];
    char *list = arena_strdup(&cx->arena, o->argv[0]), *save = NULL;
    struct limit l = {0};
    size_t n = 0;

    for (char *w = strtok_r(list, ",", &save); w; w = strtok_r(NULL, ",", &save)) {
        if (n == COUNT(queues))
            return fail(cx, USAGE, "at most %d queues share a limit", LIMIT_QUEUES_MAX);
        queues[n++] = w;
    }
    if (strlen(o->argv[1]) > LIMIT_KEY_MAX)
        return fail(cx, USAGE, "a limit's key has at most %d characters", LIMIT_KEY_MAX);
    strcpy(l.key, o->argv[1]);
    try(read_rate(cx, o, &l));
    try(opt_int(cx, o, "concurrency", 1, 1000000, 0, &l.concurrency));
    try(read_breaker(cx, o, &l));
    try(checked(cx, &l, &l));
    try(limit_set(cx, o->engine, queues, n, &l));
    try(note(cx, o, "limit.set"));
    if (!o->json)
        printf("%s of %s is limited%s\n", l.key, o->argv[0], n > 1 ? ", all of them together" : "");
    return o->json ? verb_limit_ls(cx, o) : OK;
}

rc verb_limit_rm(struct cx *cx, struct ops *o)
{
    try(limit_remove(cx, o->engine, o->argv[0], o->argv[1]));
    try(note(cx, o, "limit.remove"));
    if (o->json)
        printf("{\"queue\":\"%s\",\"key\":\"%s\",\"removed\":true}\n", o->argv[0], o->argv[1]);
    else
        printf("%s of %s is free; what was held goes on\n", o->argv[1], o->argv[0]);
    return OK;
}

rc verb_limit_breaker(struct cx *cx, struct ops *o)
{
    const char *word = o->argv[2];

    if (!str_eq(word, "open") && !str_eq(word, "closed") && !str_eq(word, "auto"))
        return fail(cx, USAGE, "a breaker is open, closed or auto (by itself), not '%s'", word);
    try(limit_force(cx, o->engine, o->argv[0], o->argv[1], str_eq(word, "auto") ? NULL : word));
    try(note(cx, o, "limit.force"));
    if (o->json)
        printf("{\"queue\":\"%s\",\"key\":\"%s\",\"breaker\":\"%s\"}\n", o->argv[0], o->argv[1],
               word);
    else
        printf("the breaker %s of %s is %s\n", o->argv[1], o->argv[0],
               str_eq(word, "auto") ? "left to itself again" : word);
    return OK;
}
