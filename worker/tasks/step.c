/* step.c - arguments, transactions, words. */
#include "worker/tasks/step.h"
#include "base/buf.h"
#include "base/clock.h"
#include "base/log.h"
#include "rt/fiber.h"

#define FACT_TRIES_MS (60 * 1000)

rc args_id(struct cx *cx, const struct job *job, const char *name, char *out)
{
    cJSON *args;

    try(json_parse(cx, job->args, job->args_len, JOB_ARGS_MAX, &args));
    if (!cJSON_IsObject(args))
        return fail(cx, INVALID_FIELD, "the arguments are not an object");
    return json_id(cx, args, name, out);
}

static rc enqueue(struct cx *cx, struct pg_tx *tx, struct job_new *j, void *arg)
{
    return job_enqueue(cx, arg, tx, j);
}

struct order_step step_of(struct job *job, struct pg_tx *tx)
{
    return (struct order_step){
        .tx = tx,
        .seal = job_env(job)->seal,
        .actor = job->task,
        .enqueue = enqueue,
        .arg = job,
    };
}

struct fact {
    struct job *job;
    fact_fn fn;
    void *arg;
};

static rc in_job(struct cx *cx, struct pg_tx *tx, void *arg)
{
    struct fact *f = arg;
    struct order_step st = step_of(f->job, tx);

    return f->fn(cx, &st, f->arg);
}

/* Without the job: what is enqueued here waits for the reconciler's push. */
static rc without_job(struct cx *cx, struct pg_tx *tx, void *arg)
{
    struct fact *f = arg;
    struct order_step st = step_of(f->job, tx);

    st.enqueue = NULL;
    st.arg = NULL;
    return f->fn(cx, &st, f->arg);
}

static bool store_is_away(rc r)
{
    return r == E_STORE_DOWN || r == E_STORE_DOUBT || r == E_PG_RETRY;
}

rc store_fact(struct cx *cx, struct job *job, fact_fn fn, void *arg)
{
    struct fact f = {job, fn, arg};
    int64_t until = clock_mono_ms() + FACT_TRIES_MS, nap = 100;
    bool stale = false;

    for (;;) {
        rc r =
            stale ? pg_tx_run(cx, job_env(job)->db, without_job, &f) : job_tx(cx, job, in_job, &f);
        if (r == E_STALE_ATTEMPT && !stale) {
            stale = true;
            continue;
        }
        if (r == OK && stale)
            return fail(cx, STALE_ATTEMPT,
                        "another attempt holds the job now; what the provider answered was stored");
        if (!store_is_away(r) || clock_mono_ms() >= until)
            return r;
        log_fail(LOG_WARN, "order.answer_not_stored_yet", cx, r, kv_int("again_ms", nap));
        try(fiber_sleep(cx, nap));
        nap = MIN(nap * 2, 5000);
    }
}

struct provider_words words_of(struct cx *cx, const struct provider *p, const struct answer *a)
{
    return (struct provider_words){
        .external_id = a->provider_order_id,
        .external_status = a->code,
        .note = a->note,
        .cost = a->cost,
        .currency = a->cost ? provider_currency(p) : NULL,
        .verbatim = a->verbatim,
    };
}

const char *pins_of(struct cx *cx, const struct answer *a)
{
    _cleanup_(buf_release) struct buf b = BUF(SEAL_MAX);

    for (size_t i = 0; i < a->npins; i++)
        buf_printf(&b, "%s%s", i ? "\n" : "", a->pins[i]);
    return a->npins ? arena_strdup(&cx->arena, buf_str(&b)) : NULL;
}
