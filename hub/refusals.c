/* refusals.c - two halves: one is filled while the other is written. */
#include "hub/refusals.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/text.h"
#include "domain/access/security_events.h"
#include "rt/waitq.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define FOLD_MS  1000  /* alike ones of this time are one row; so often it is written */
#define RETRY_MS 1000  /* after a batch that could not be written */
#define WRITE_MS 10000 /* one try to write */
#define BATCH    256   /* rows of one statement */

struct row {
    uint64_t alike; /* of what makes two the same */
    int64_t at_ms, times;
    enum door_kind door;
    char kind[41], source[64], route[129], tenant_id[ID_LEN + 1];
    char identity[301], detail[301];
};

struct half {
    struct row *rows; /* REFUSALS_MAX */
    size_t n, written;
    int64_t dropped; /* came when it was full */
};

struct refusals {
    struct pg *db;
    struct metrics *metrics;
    refusals_add_fn add;
    struct half halves[2], *filling, *writing; /* writing NULL: nothing is */
    bool hurry;                                /* somebody waits for the end (flush) */
    int64_t round_mono_ms;                     /* when the last round began; 0: none has */
    struct fiber *fiber;                       /* keep_writing */
    struct waitq flushed;
};

/* ---------------------------------------------------------------- noting */

static uint64_t mix(uint64_t h, const char *s)
{
    for (; s && *s; s++)
        h = (h ^ (unsigned char)*s) * UINT64_C(1099511628211);
    return (h ^ 0xff) * UINT64_C(1099511628211);
}

static uint64_t alike_of(const struct refusal *e)
{
    uint64_t h = UINT64_C(14695981039346656037) + (uint64_t)e->door;

    h = mix(mix(mix(h, e->kind), e->source), e->route);
    h = e->known ? mix(h, e->identity) : h;
    return e->known && !e->slowed ? mix(h, e->detail) : h;
}

/* Also UTF-8 that a visitor sent, or a part of it: PostgreSQL takes only whole characters. */
static void keep(char *out, size_t size, const char *s)
{
    size_t n = s ? utf8_cut(s, size - 1) : 0;

    if (n && !utf8_valid(s, n)) {
        n = 0;
        for (; s[n] && n < size - 1; n++)
            out[n] = s[n] >= 0x20 && s[n] < 0x7f ? s[n] : '?';
    } else if (n) {
        memcpy(out, s, n);
    }
    out[n] = '\0';
}

static bool is_same(const struct row *w, const struct refusal *e)
{
    return w->door == e->door && str_eq(w->kind, e->kind) &&
           str_eq(w->source, e->source ? e->source : "");
}

void refusal_note(struct refusals *r, const struct refusal *e)
{
    struct half *h = r->filling;
    uint64_t alike = alike_of(e);
    int64_t now = clock_ms();

    metric_add(r->metrics, METRIC_REFUSALS, 1);
    for (size_t i = h->n; i-- > 0;) {
        struct row *w = &h->rows[i];
        if (w->alike == alike && now - w->at_ms < FOLD_MS && is_same(w, e)) {
            w->times++;
            if (w->identity[0] && !str_eq(w->identity, e->identity ? e->identity : ""))
                keep(w->identity, sizeof w->identity, "several");
            return;
        }
    }
    if (h->n == REFUSALS_MAX) {
        h->dropped++;
        metric_add(r->metrics, METRIC_REFUSALS_DROPPED, 1);
        return;
    }
    struct row *w = &h->rows[h->n++];
    *w = (struct row){.alike = alike, .at_ms = now, .times = 1, .door = e->door};
    keep(w->kind, sizeof w->kind, e->kind);
    keep(w->source, sizeof w->source, e->source);
    keep(w->route, sizeof w->route, e->route);
    keep(w->tenant_id, sizeof w->tenant_id, e->tenant_id);
    keep(w->identity, sizeof w->identity, e->identity);
    keep(w->detail, sizeof w->detail, e->detail);
    if (h->n == 1 || h->n == REFUSALS_MAX / 2)
        fiber_wake(r->fiber);
}

/* ---------------------------------------------------------------- writing */

static const char *or_null(const char *s)
{
    return *s ? s : NULL;
}

/* A fiber of its own for each round, so that its memory ends with it. What was written is not written
 * again when a later part fails. */
static rc write_half(struct cx *cx, void *arg)
{
    struct refusals *r = arg;
    struct half *h = r->writing;
    struct security_event *e = arena_alloc(&cx->arena, (BATCH + 1) * sizeof *e);

    while (h->written < h->n || h->dropped) {
        size_t n = MIN((size_t)BATCH, h->n - h->written), all = n;
        for (size_t i = 0; i < n; i++) {
            const struct row *w = &h->rows[h->written + i];
            e[i] = (struct security_event){
                .at_ms = w->at_ms,
                .tenant_id = or_null(w->tenant_id),
                .kind = w->kind,
                .door = door_kind_word(w->door),
                .identity = or_null(w->identity),
                .source = or_null(w->source),
                .route = or_null(w->route),
                .detail = or_null(w->detail),
                .times = w->times,
            };
        }
        if (h->written + n == h->n && h->dropped)
            e[all++] = (struct security_event){
                .at_ms = clock_ms(),
                .kind = "dropped",
                .door = door_kind_word(DOOR_WEB),
                .detail = "refusals that are not on record: too many different ones at once",
                .times = h->dropped,
            };
        try(r->add(cx, r->db, e, all)); /* parks */
        h->written += n;
        if (all > n)
            h->dropped = 0;
    }
    return OK;
}

static rc write_one_round(struct cx *cx, struct refusals *r)
{
    rc told = OK;

    if (!r->writing) {
        r->round_mono_ms = clock_mono_ms();
        r->writing = r->filling;
        r->filling = r->writing == &r->halves[0] ? &r->halves[1] : &r->halves[0];
    }
    struct fiber *f = fiber_spawn(
        &(struct fiber_opts){.name = "hub.refusals", .timeout_ms = WRITE_MS}, write_half, r);
    try(fiber_join(cx, f, &told));
    if (told != OK) {
        log_fail(LOG_WARN, "refusals.not_written", cx, told,
                 kv_int("rows", (int64_t)(r->writing->n - r->writing->written)),
                 kv_str("next", "tried again"));
        return fiber_sleep(cx, RETRY_MS);
    }
    r->writing->n = r->writing->written = 0;
    r->writing = NULL;
    return OK;
}

/* Until it is time: a second after the last round began, so that whoever was left alone for long is written at once and a flood
 * once a second; or it is half full, or somebody waits. */
static rc gather(struct cx *cx, struct refusals *r)
{
    while (r->filling->n == 0)
        try(fiber_park(cx));
    int64_t until = r->round_mono_ms + FOLD_MS;
    while (!r->hurry && r->filling->n < REFUSALS_MAX / 2 && clock_mono_ms() < until) {
        struct cx_deadline d = cx_deadline_within(cx, until - clock_mono_ms());
        rc why = fiber_park(cx);
        cx_deadline_restore(&d);
        if (why != OK && why != E_DEADLINE)
            return why;
    }
    return OK;
}

static rc keep_writing(struct cx *cx, void *arg)
{
    struct refusals *r = arg;

    r->fiber = cx->fiber;
    for (;;) {
        if (!r->writing)
            try(gather(cx, r));
        try(write_one_round(cx, r));
        if (!r->writing && r->filling->n == 0) {
            r->hurry = false;
            waitq_wake_all(&r->flushed);
        }
    }
}

rc refusals_flush(struct cx *cx, struct refusals *r)
{
    while (r->writing || r->filling->n) {
        r->hurry = true;
        fiber_wake(r->fiber);
        try(waitq_wait(cx, &r->flushed));
    }
    return OK;
}

/* ---------------------------------------------------------------- life */

struct refusals *refusals_new(struct pg *db, struct metrics *m, refusals_add_fn add)
{
    struct refusals *r = xcalloc(1, sizeof *r);

    r->db = db;
    r->metrics = m;
    r->add = add;
    for (size_t i = 0; i < COUNT(r->halves); i++)
        r->halves[i].rows = xcalloc(REFUSALS_MAX, sizeof(struct row));
    r->filling = &r->halves[0];
    r->fiber = fiber_spawn(&(struct fiber_opts){.name = "hub.refusals"}, keep_writing, r);
    fiber_detach(r->fiber);
    return r;
}

struct refusals *refusals_free(struct refusals *r)
{
    for (size_t i = 0; r && i < COUNT(r->halves); i++)
        free(r->halves[i].rows);
    free(r);
    return NULL;
}
