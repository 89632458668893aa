/* explain.c - see explain.h. PostgreSQL is asked first: whether Redis answers at all is one of the facts.
 *
 * A new reason is a function more in `checks`, at the place where it matters: what stands further up is the headline. */
#include "queue/explain.h"
#include "base/clock.h"
#include "base/json.h"
#include "base/text.h"
#include "queue/internal.h"
#include "queue/shape/limits.h"
#include "queue/shape/policy.h"
#include "queue/shards.h"
#include "queue/workers.h"
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#define REDIS_MS 2000 /* it is waited for so long */

struct facts {
    const struct job_info *job;
    struct queue_setting setting; /* without PostgreSQL: as far as Redis knows */
    bool redis;                   /* it answered */
    const char *redis_error;      /* if not */
    bool of_all;                  /* who asks may know of the jobs of all tenants */
    bool epoch, cancel;
    enum { UNKNOWN, READY, LEASED, SCHEDULED, HELD } where;
    int64_t now_ms, at_ms; /* when the lease is over, the job is due, the key is looked at again */
    int64_t higher, before, tenants;
    struct lease token;
    const char *key;               /* that holds it back */
    struct limit_state own, whole; /* of that key; of the queue, if that is another */
    struct worker_info *workers;   /* NULL: the register could not be read */
    size_t nworkers;
};

static void add(struct explanation *x, bool hinders, int64_t until_ms, const char *code,
                const char *text)
{
    if (x->n < FINDINGS_MAX)
        x->list[x->n++] = (struct finding){code, text, until_ms, hinders, NULL, 0};
}
#define say(...)       arena_printf(&cx->arena, __VA_ARGS__)
#define HINDERS(...)   add(x, true, __VA_ARGS__)
#define NO_HINDER(...) add(x, false, __VA_ARGS__)

static const char *at(struct cx *cx, int64_t ms)
{
    return clock_format(ms, arena_alloc(&cx->arena, CLOCK_TEXT_LEN + 1));
}

static const char *last_error(struct cx *cx, const struct job_info *j)
{
    if (!j->last_error && !j->last_error_code)
        return "no error is on record";
    return say("%s%s%s%s", j->last_error ? j->last_error : "", j->last_error_code ? " (" : "",
               j->last_error_code ? j->last_error_code : "", j->last_error_code ? ")" : "");
}

/* ---------------------------------------------------------------- the checks */

static void ended(struct cx *cx, const struct facts *f, struct explanation *x)
{
    const struct job_info *j = f->job;
    const char *when = at(cx, j->finished_ms);

    if (!j->finished_ms)
        return;
    if (str_eq(j->state, "completed"))
        HINDERS(0, "completed", say("It was completed at %s, attempt %d.", when, j->attempts_used));
    else if (str_eq(j->last_error_code, "expired"))
        HINDERS(
            0, "expired",
            say("Nobody had begun it by its expires_at, so it was cancelled at %s. If it is still "
                "wanted, enqueue it anew.",
                when));
    else if (str_eq(j->state, "cancelled"))
        HINDERS(0, "cancelled",
                say("It was cancelled at %s. 'mihwar job retry %s' brings it back.", when, j->id));
    else if (j->durable)
        HINDERS(0, "dead",
                say("It was given up at %s, attempts: %d; last error: %s. When the cause is gone: "
                    "'mihwar job retry %s'.",
                    when, j->attempts_used, last_error(cx, j), j->id));
    else
        HINDERS(
            0, "dead",
            say("It was given up at %s; last error: %s. When the cause is gone, replay its dead "
                "letter: 'mihwar dlq ls', 'mihwar dlq replay ID'.",
                when, last_error(cx, j)));
}

static bool lives(const struct facts *f)
{
    return !f->job->finished_ms;
}
static bool waits(const struct facts *f)
{
    return lives(f) && f->where != LEASED;
}

/* Workers show only those that run longest. */
static const char *carried_out_by(struct cx *cx, const struct facts *f)
{
    for (size_t i = 0; i < f->nworkers; i++)
        for (size_t k = 0; k < f->workers[i].noldest; k++)
            if (str_eq(f->workers[i].oldest[k].id, f->job->id))
                return say(" on %s since %s", f->workers[i].name,
                           at(cx, f->workers[i].oldest[k].started_ms));
    return "";
}

static void running(struct cx *cx, const struct facts *f, struct explanation *x)
{
    const struct job_info *j = f->job;

    if (!lives(f) || f->where != LEASED)
        return;
    if (f->at_ms <= f->now_ms)
        HINDERS(
            0, "lease_over",
            say("Its worker has gone silent: the lease was over at %s. The next claim of a worker "
                "of queue %s takes it up again; if none comes, start a worker.",
                at(cx, f->at_ms), j->queue));
    else
        HINDERS(0, "running",
                say("It is running%s: attempt %d, leased until %s if its worker does not extend "
                    "it%s%s.",
                    carried_out_by(cx, f), f->token.claim - f->token.snoozes, at(cx, f->at_ms),
                    j->progress ? "; progress " : "", j->progress ? j->progress : ""));
}

static void cancel_asked(struct cx *cx, const struct facts *f, struct explanation *x)
{
    if (!lives(f) || (!f->cancel && !f->job->cancel_requested))
        return;
    if (f->where == LEASED)
        HINDERS(0, "cancel_requested",
                say("Its cancellation is asked for: it ends at its next wait."));
    else
        HINDERS(0, "cancel_requested",
                say("Its cancellation is asked for: it ends without being carried out once more."));
}

static void expired(struct cx *cx, const struct facts *f, struct explanation *x)
{
    int64_t ms = f->job->options ? f->job->options->expires_at_ms : 0;

    if (waits(f) && ms && ms <= f->now_ms)
        HINDERS(0, "expired",
                say("Its expires_at, %s, has passed: it will not be begun any more, and ends as "
                    "cancelled in a moment. If it is still wanted, enqueue it anew.",
                    at(cx, ms)));
}

static void redis_away(struct cx *cx, const struct facts *f, struct explanation *x)
{
    if (lives(f) && !f->redis)
        HINDERS(0, "redis_down",
                say("Redis does not answer, so nothing is handed out: %s", f->redis_error));
}

static void paused(struct cx *cx, const struct facts *f, struct explanation *x)
{
    if (waits(f) && f->setting.paused)
        HINDERS(0, "paused",
                say("Queue %s is paused: 'mihwar queue resume %s'.", f->job->queue, f->job->queue));
}

static void scheduled(struct cx *cx, const struct facts *f, struct explanation *x)
{
    const struct job_info *j = f->job;
    int64_t due = f->where == SCHEDULED ? f->at_ms : f->where == UNKNOWN ? j->run_at_ms : 0;
    const char *when = at(cx, due);
    int used = f->token.claim - f->token.snoozes - 1;
    bool put_off = j->nattempts && str_eq(j->attempts[j->nattempts - 1].outcome, "snoozed");

    if (!waits(f) || due <= f->now_ms)
        return;
    if (used > 0 && !put_off)
        HINDERS(due, "retry",
                say("It is tried again at %s, attempt %d; last error: %s", when, used + 1,
                    last_error(cx, j)));
    else if (f->token.claim > 1)
        HINDERS(due, "put_off", say("It was begun and has put itself off until %s.", when));
    else
        HINDERS(due, "scheduled", say("It is due at %s: nobody takes it before.", when));
}

static void not_in_redis(struct cx *cx, const struct facts *f, struct explanation *x)
{
    if (!waits(f) || !f->redis || f->where != UNKNOWN)
        return;
    if (!f->epoch)
        HINDERS(
            0, "rebuilding",
            say("Redis has not been told of queue %s, or was emptied: the next claim of a worker, "
                "or beat, pushes all its jobs. If that takes more than half a minute, is beat "
                "running?",
                f->job->queue));
    else
        HINDERS(
            0, "not_in_redis",
            say("It is committed but Redis does not know it yet: beat pushes it within moments. If "
                "not, is beat running?"));
}

/* In the order in which admit.lua asks: a breaker, how many at once, the rate. */
static const char *limit_says(struct cx *cx, const char *of, const struct limit_state *l)
{
    if (str_eq(l->breaker, "open"))
        return say("; the breaker of %s is open%s", of,
                   l->open_ms ? say(" for %" PRId64 " s more", (l->open_ms + 999) / 1000) : "");
    if (str_eq(l->breaker, "half"))
        return say("; the breaker of %s lets a few begin to see how they end", of);
    if (l->at_once && l->under_way >= l->at_once)
        return say("; %" PRId64 " of %" PRId64 " at once are under way of %s", l->under_way,
                   l->at_once, of);
    if (l->wait_ms > 0)
        return say("; the rate of %s lets the next begin in %" PRId64 " ms", of, l->wait_ms);
    return "";
}

/* Who has the slots of a limit that is full: "queue|id:…" each. A slot of another queue is named with it. */
static void add_holders(struct cx *cx, const struct facts *f, const struct limit_state *l,
                        struct finding *to, const char **text)
{
    if (!f->of_all || !l->at_once || l->under_way < l->at_once || *l->breaker)
        return;
    for (size_t i = 0; i < l->nslots && to->njobs < FINDING_JOBS; i++) {
        const char *bar = strchr(l->slots[i], '|');
        struct lease t;
        if (!bar || !token_parse(bar + 1, strlen(bar + 1), &t))
            continue;
        const char *id = to->jobs[to->njobs++] = arena_strdup(&cx->arena, t.id);
        const char *queue = arena_strndup(&cx->arena, l->slots[i], (size_t)(bar - l->slots[i]));
        bool here = str_eq(queue, f->job->queue);
        *text = say("%s%s%s%s%s", *text, **text ? ", " : "", id, here ? "" : " of queue ",
                    here ? "" : queue);
    }
}

/* The time at which a held key is looked at again says nothing: it is looked at every second. */
static void held(struct cx *cx, const struct facts *f, struct explanation *x)
{
    int64_t ms = MAX(MAX(f->own.wait_ms, f->own.open_ms), MAX(f->whole.wait_ms, f->whole.open_ms));
    bool whole = str_eq(f->key, LIMIT_QUEUE);
    struct finding by = {.jobs = arena_alloc(&cx->arena, FINDING_JOBS * sizeof *by.jobs)};
    const char *holders = "";

    if (!waits(f) || f->where != HELD)
        return;
    add_holders(cx, f, &f->own, &by, &holders);
    if (!whole)
        add_holders(cx, f, &f->whole, &by, &holders);
    HINDERS(ms ? f->now_ms + ms : 0, "held",
            say("A limit of queue %s holds it back%s%s%s, %" PRId64
                " before it%s%s%s%s. See 'mihwar limit ls'.",
                f->job->queue, whole ? "" : " (key ", whole ? "" : f->key, whole ? "" : ")",
                f->before, limit_says(cx, whole ? "the queue" : "the key", &f->own),
                whole ? "" : limit_says(cx, "the queue", &f->whole), *holders ? "; by " : "",
                holders));
    x->list[x->n - 1].jobs = by.jobs;
    x->list[x->n - 1].njobs = by.njobs;
}

static void workers(struct cx *cx, const struct facts *f, struct explanation *x)
{
    const struct job_info *j = f->job;
    size_t serve = 0, know = 0, claim = 0, free = 0;

    if (!waits(f) || !f->workers)
        return;
    for (size_t i = 0; i < f->nworkers; i++) {
        const struct worker_info *w = &f->workers[i];
        bool serves = worker_serves(w, j->queue), knows = serves && worker_knows(w, j->task);
        bool claims = knows && !w->draining;
        serve += serves;
        know += knows;
        claim += claims;
        free += claims && w->running < w->concurrency;
    }
    if (serve == 0)
        HINDERS(
            0, "no_worker",
            say("No living worker serves queue %s ('mihwar worker ls'): start one with it among "
                "its worker_queues.",
                j->queue));
    else if (know == 0)
        HINDERS(0, "unknown_task",
                say("No living worker of queue %s knows task %s ('mihwar worker ls --json'): start "
                    "one that has it, or look how it is spelt.",
                    j->queue, j->task));
    else if (claim == 0)
        HINDERS(
            0, "workers_draining",
            say("All workers of queue %s that know task %s are draining: they claim nothing more "
                "('mihwar worker resume NAME').",
                j->queue, j->task));
    else if (free == 0)
        HINDERS(
            0, "busy",
            say("All slots of the %zu workers that serve queue %s and know task %s are taken: it "
                "goes on when a job ends; more workers or a higher worker_concurrency help.",
                claim, j->queue, j->task));
}

static void behind(struct cx *cx, const struct facts *f, struct explanation *x)
{
    const char *order =
        f->setting.policy.weighted ? ", which get their share by weight" : ", which go first";

    if (!waits(f) || f->where != READY)
        return;
    if (f->higher > 0)
        HINDERS(0, "higher_priority",
                say("%" PRId64
                    " ready jobs of queue %s%s have a higher priority than its %d%s. More "
                    "workers, or a higher priority for such jobs.",
                    f->higher, f->job->queue, f->setting.policy.fair ? " and of its tenant" : "",
                    f->job->priority, order));
    if (f->before > 0)
        HINDERS(0, "behind",
                say("%" PRId64 " ready jobs of the same priority came before it.", f->before));
    if (f->tenants > 0)
        HINDERS(0, "shared",
                say("%" PRId64
                    " other tenants have ready jobs in queue %s: they take turns with its "
                    "tenant, by weight.",
                    f->tenants, f->job->queue));
}

static void draining(struct cx *cx, const struct facts *f, struct explanation *x)
{
    if (waits(f) && f->setting.draining)
        NO_HINDER(0, "draining",
                  say("Queue %s is being drained: it takes nothing more, what is in it is carried "
                      "out.",
                      f->job->queue));
}

static void nothing(struct cx *cx, const struct facts *f, struct explanation *x)
{
    for (size_t i = 0; i < x->n; i++)
        if (x->list[i].hinders)
            return;
    HINDERS(0, "next",
            say("Nothing stands before it: the next free slot of a worker of queue %s takes it.",
                f->job->queue));
}

static void (*const checks[])(struct cx *, const struct facts *, struct explanation *) = {
    ended,     running,      cancel_asked, expired, redis_away, paused,  held,
    scheduled, not_in_redis, workers,      behind,  draining,   nothing,
};

/* ---------------------------------------------------------------- the facts */

static rc ask_redis(struct cx *cx, struct engine *e, struct facts *f)
{
    _cleanup_(redis_reply_freep) redisReply *r = NULL;
    _cleanup_(call_release) struct call c = {0};
    const struct queue_keys *k;
    const char *place;

    try(shards_find(cx, e, f->job->queue, f->job->id, &place));
    try(engine_keys(cx, e, place, &k));
    call_begin(&c, e, &SCRIPT_EXPLAIN, k,
               KEYS_OF(QK_JOBS, QK_LEASE, QK_SCHED, QK_GATE, QK_EPOCH, QK_CANCEL), true, 3);
    call_now(&c);
    call_bytes(&c, f->job->id, ID_LEN);
    call_token(&c, &f->token);
    try(call_run(cx, &c, REDIS_REPLY_ARRAY, &r));
    if (!reply_has(r, 11) || r->element[8]->type != REDIS_REPLY_STRING ||
        r->element[9]->type != REDIS_REPLY_STRING)
        return fail(cx, REDIS, "explain.lua answered with %zu elements", r->elements);
    f->now_ms = reply_int(r, 0);
    f->epoch = reply_int(r, 1) != 0;
    f->where = (int)reply_int(r, 2);
    f->at_ms = reply_int(r, 3);
    f->higher = reply_int(r, 4);
    f->before = reply_int(r, 5);
    f->tenants = reply_int(r, 6);
    f->cancel = reply_int(r, 7) != 0;
    (void)token_parse(r->element[8]->str, r->element[8]->len, &f->token);
    f->key = arena_strndup(&cx->arena, r->element[9]->str, r->element[9]->len);
    if (!e->db)
        f->setting.paused = reply_int(r, 10) != 0;
    if (f->where == HELD)
        try(limit_look(cx, e, f->job->queue, f->key, &f->own));
    if (f->where == HELD && !str_eq(f->key, LIMIT_QUEUE))
        try(limit_look(cx, e, f->job->queue, LIMIT_QUEUE, &f->whole));
    return workers_list(cx, e, &f->workers, &f->nworkers);
}

static rc gather(struct cx *cx, struct engine *e, struct facts *f)
{
    const struct job_info *j = f->job;

    f->now_ms = clock_ms();
    f->token = (struct lease){.generation = j->generation,
                              .claim = j->attempts_used + j->snoozes + 1,
                              .snoozes = j->snoozes};
    memcpy(f->token.id, j->id, sizeof f->token.id);
    if (e->db)
        try(engine_setting(cx, e, j->queue, &f->setting));
    _cleanup_(cx_deadline_restore) _unused_ struct cx_deadline d = cx_deadline_within(cx, REDIS_MS);
    rc r = ask_redis(cx, e, f);
    if (r == E_CANCELLED)
        return r;
    f->redis = r == OK;
    if (r != OK)
        f->redis_error = say("%s", cx->err.text);
    return OK;
}

/* What PostgreSQL does not know may be a broker job: Redis is asked, but not for long. */
static rc load(struct cx *cx, struct engine *e, const char *id, const char *tenant_id,
               struct job_info *ret)
{
    rc r = job_load_stored(cx, e, id, tenant_id, ret);

    if (r != E_NOT_FOUND)
        return r;
    _cleanup_(cx_deadline_restore) _unused_ struct cx_deadline d = cx_deadline_within(cx, REDIS_MS);
    r = job_load(cx, e, id, tenant_id, ret);
    return r == E_DEADLINE || r == E_STORE_DOWN || r == E_STORE_DOUBT
               ? fail(cx, STORE_DOWN,
                      "PostgreSQL does not know job %s, and Redis, which alone knows broker jobs, "
                      "does not answer",
                      id)
               : r;
}

rc engine_explain(struct cx *cx, struct engine *e, const char *id, const char *tenant_id,
                  struct explanation **ret)
{
    struct explanation *x = arena_alloc(&cx->arena, sizeof *x);
    struct facts f = {.job = &x->job, .of_all = !tenant_id};

    *x = (struct explanation){0};
    try(load(cx, e, id, tenant_id, &x->job));
    if (!x->job.finished_ms)
        try(gather(cx, e, &f));
    if (f.where == LEASED)
        x->job.state = "leased";
    for (size_t i = 0; i < COUNT(checks); i++)
        checks[i](cx, &f, x);
    for (size_t i = x->n; i-- > 0;)
        if (x->list[i].hinders)
            x->headline = &x->list[i];
    *ret = x;
    return OK;
}

/* ---------------------------------------------------------------- JSON */

static void put_finding(struct buf *out, const struct finding *f)
{
    buf_printf(out, "{\"hinders\":%s", f->hinders ? "true" : "false");
    buf_json_field(out, "code", f->code);
    buf_json_field(out, "text", f->text);
    buf_json_time(out, "until", f->until_ms);
    buf_puts(out, ",\"jobs\":[");
    for (size_t i = 0; i < f->njobs; i++)
        buf_printf(out, "%s\"%s\"", i ? "," : "", f->jobs[i]);
    buf_puts(out, "]}");
}

void explanation_json(const struct explanation *x, struct buf *out)
{
    buf_printf(out, "{\"id\":\"%s\"", x->job.id);
    buf_json_field(out, "state", x->job.state);
    buf_json_field(out, "task", x->job.task);
    buf_json_field(out, "queue", x->job.queue);
    buf_json_field(out, "code", x->headline->code);
    buf_json_field(out, "text", x->headline->text);
    buf_puts(out, ",\"findings\":[");
    for (size_t i = 0; i < x->n; i++) {
        buf_puts(out, i ? "," : "");
        put_finding(out, &x->list[i]);
    }
    buf_puts(out, "]}");
}
