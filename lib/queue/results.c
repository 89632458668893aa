/* results.c - see results.h. */
#include "queue/results.h"
#include "base/clock.h"
#include "queue/end.h"
#include "queue/internal.h"
#include "queue/shards.h"
#include "queue/view.sql.h"
#include <inttypes.h>
#include <string.h>

#define RESULT_MAX MiB(16)

static void print_end(const struct job *j, const struct job_end *end, struct buf *out)
{
    _cleanup_(freep) char *error = end->error ? text_cleaned(end->error, strlen(end->error)) : NULL;

    buf_printf(out, "{\"attempts\":%d,\"max_attempts\":%d,\"priority\":%d", j->attempt,
               j->max_attempts, j->priority);
    buf_json_field(out, "state", job_outcome_word(end->outcome));
    buf_json_field(out, "task", j->task);
    buf_json_field(out, "subject", j->subject);
    buf_json_field(out, "tenant_id", j->tenant_id);
    buf_json_field(out, "trace", j->trace);
    buf_json_field(out, "error_code", end->error_code);
    buf_json_field(out, "error", error);
    buf_json_time(out, "created_at", id_time_ms(j->lease.id) ? id_time_ms(j->lease.id) : j->due_ms);
    buf_json_time(out, "finished_at", clock_ms());
    buf_printf(out, ",\"args\":%.*s", (int)j->args_len, j->args);
    buf_printf(out, ",\"result\":%s}", end->result ? end->result : "null");
}

rc engine_keep_result(struct cx *cx, struct engine *e, const struct job *j,
                      const struct job_end *end)
{
    _cleanup_(redis_reply_freep) redisReply *reply = NULL;
    _cleanup_(buf_release) struct buf text = BUF(RESULT_MAX);
    _cleanup_(call_release) struct call c = {0};
    const struct queue_keys *k;

    if (j->durable || !j->options || !j->options->result_ttl_ms || end->outcome == JOB_RETRY ||
        end->outcome == JOB_SNOOZED)
        return OK;
    print_end(j, end, &text);
    if (!buf_ok(&text))
        return fail(cx, BUFFER_FULL, "the result of job %s is too large to be kept", j->lease.id);
    try(engine_keys(cx, e, j->place, &k));
    call_begin(&c, e, &SCRIPT_KEEP, k, KEYS_OF(QK_JOBS, QK_LEASE), false, 3);
    call_token(&c, &j->lease);
    call_int(&c, j->options->result_ttl_ms);
    call_bytes(&c, text.p, text.len);
    try(call_run(cx, &c, REDIS_REPLY_INTEGER, &reply));
    if (reply->integer == 0)
        return fail(cx, STALE_ATTEMPT, "job %s is no longer held under claim %d", j->lease.id,
                    j->lease.claim);
    if (reply->integer == 2 && e->db)
        return pg_do(cx, e->db, SQL_END_TELL, NULL, pg_s(j->lease.id));
    return OK;
}

rc engine_await_result(struct cx *cx, struct engine *e, const char *queue, const char *job_id,
                       int64_t wait_ms)
{
    const struct queue_keys *k;
    const char *jobs, *place;

    try(shards_find(cx, e, queue, job_id, &place));
    try(engine_keys(cx, e, place, &k));
    jobs = k->name[QK_JOBS];
    const char *key = arena_printf(&cx->arena, "%.*sresult:%s:await",
                                   (int)(strlen(jobs) - strlen("jobs")), jobs, job_id);
    return redis_cmd(cx, e->redis, NULL, "SET %s 1 PX %lld", key, (long long)wait_ms);
}
