/* provider_refresh.c - what a provider says of itself: our balance there, and its catalogue.
 *
 * Both are questions: a failed one is retried a few times and left to the next round. The result of the job is what was learned. */
#include "worker/tasks/provider_refresh.h"
#include "base/buf.h"
#include "base/log.h"
#include "domain/shop/catalog.h"
#include "worker/tasks/step.h"

/* Let in, or the job is snoozed until *ret_later_ms. */
static rc enter(struct cx *cx, struct job *job, struct provider **ret, struct provider_entry *e,
                char *id)
{
    try(args_id(cx, job, "integration_id", id));
    try(provider_get(cx, job_env(job)->providers, id, ret));
    return provider_enter(cx, *ret, e);
}

static rc failed(struct cx *cx, const struct answer *a)
{
    const char *words = a->note ? a->note : answer_kind_name(a->kind);

    if (a->kind == ANSWER_NOT_SENT)
        return fail(cx, UPSTREAM_NOT_SENT, "%s", words);
    if (a->kind == ANSWER_TROUBLE)
        return fail(cx, UPSTREAM_REFUSED, "%s", words);
    return fail(cx, UPSTREAM_UNCLEAR, "%s", words);
}

static rc run_balance(struct cx *cx, struct job *job)
{
    _cleanup_(provider_put) struct provider *p = NULL;
    _cleanup_(provider_leave) struct provider_entry e = {0};
    struct balance_answer b;
    char id[ID_LEN + 1];

    try(enter(cx, job, &p, &e, id));
    if (e.later_ms)
        return job_snooze(cx, job, e.later_ms, NULL, NULL);
    try(provider_balance(cx, &e, &b));
    provider_leave(&e);
    if (!b.ok)
        return failed(cx, &b.answer);
    try(integration_balance(cx, job_env(job)->db, id, b.balance, b.debt));
    job_result(job, b.debt ? arena_printf(&cx->arena, "{\"balance\":\"%s\",\"debt\":\"%s\"}",
                                          b.balance, b.debt)
                           : arena_printf(&cx->arena, "{\"balance\":\"%s\"}", b.balance));
    return job_complete(cx, job, NULL, NULL);
}

static rc run_catalogue(struct cx *cx, struct job *job)
{
    _cleanup_(provider_put) struct provider *p = NULL;
    _cleanup_(provider_leave) struct provider_entry e = {0};
    struct catalogue_answer c;
    char id[ID_LEN + 1];
    int64_t collisions = 0;

    try(enter(cx, job, &p, &e, id));
    if (e.later_ms)
        return job_snooze(cx, job, e.later_ms, NULL, NULL);
    try(provider_catalogue(cx, &e, &c));
    provider_leave(&e);
    if (!c.ok)
        return failed(cx, &c.answer);
    struct catalogue_item *items = arena_alloc(&cx->arena, (c.n + 1) * sizeof *items);
    for (size_t i = 0; i < c.n; i++)
        items[i] = (struct catalogue_item){
            .external_id = c.rows[i].id,
            .product = c.rows[i].product,
            .kupur = c.rows[i].kupur,
            .name = c.rows[i].name,
            .game = c.rows[i].game,
            .price = c.rows[i].price,
            .raw = c.rows[i].raw,
        };
    try(catalogue_put(cx, job_env(job)->db, id, items, c.n, &collisions));
    log_ev(LOG_INFO, "provider.catalogue", kv_str("provider", provider_name(p)),
           kv_int("rows", (int64_t)c.n), kv_int("skipped", (int64_t)c.skipped),
           kv_int("collisions", collisions));
    job_result(job, arena_printf(&cx->arena, "{\"rows\":%zu,\"skipped\":%zu,\"collisions\":%lld}",
                                 c.n, c.skipped, (long long)collisions));
    return job_complete(cx, job, NULL, NULL);
}

struct task task_provider_balance = {
    .name = "provider.balance",
    .queue = "default",
    .run = run_balance,
    .max_attempts = 3,
    .timeout_ms = 5 * 60 * 1000,
    .backoff = {.base_ms = 5000, .cap_ms = 60 * 1000, .factor = 2, .jitter = JITTER_EQUAL},
    .durable = true,
};

struct task task_provider_catalogue = {
    .name = "provider.catalogue",
    .queue = "default",
    .run = run_catalogue,
    .max_attempts = 3,
    .timeout_ms = 10 * 60 * 1000,
    .backoff = {.base_ms = 5000, .cap_ms = 60 * 1000, .factor = 2, .jitter = JITTER_EQUAL},
    .durable = true,
};
