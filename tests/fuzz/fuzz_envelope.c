/* fuzz_envelope.c - a text that says it is a job: refused, or read so that writing it again gives the same job. */
#include "queue/envelope.h"
#include "queue/options.h"
#include "tests/fuzz/fuzz.h"

static bool same(const char *a, const char *b)
{
    return a == b || (a && b && strcmp(a, b) == 0);
}

FUZZ(data, n)
{
    _cleanup_(freep) char *body = fuzz_text(data, n);
    _cleanup_(buf_release) struct buf again = BUF(MiB(4));
    struct job j = {0}, k = {0};
    int generation, same_generation;

    if (!envelope_read(body, n, &j, &generation))
        return 0;
    FUZZ_MUST(j.task && j.priority >= 0 && j.priority <= 9 && generation >= 0);
    FUZZ_MUST(j.args >= body && j.args + j.args_len == body + n);
    if (!memchr(j.args, 0, j.args_len)) {
        const struct job_new w = {.task = j.task,
                                  .args = j.args,
                                  .priority = j.priority,
                                  .max_attempts = j.max_attempts,
                                  .timeout_ms = j.timeout_ms,
                                  .subject = j.subject,
                                  .tenant_id = j.tenant_id,
                                  .trace = j.trace,
                                  .options = j.options};
        envelope_write(&again, &w, generation, j.due_ms);
        FUZZ_MUST(envelope_read(again.p, again.len, &k, &same_generation));
        FUZZ_MUST(generation == same_generation && j.priority == k.priority &&
                  j.max_attempts == k.max_attempts && j.timeout_ms == k.timeout_ms);
        FUZZ_MUST(same(j.task, k.task) && same(j.subject, k.subject) && same(j.trace, k.trace) &&
                  same(j.tenant_id, k.tenant_id) && same(j.args, k.args));
        if (j.options && k.options)
            FUZZ_MUST(memcmp(j.options, k.options, sizeof *j.options) == 0);
    }
    free((void *)j.options);
    free((void *)k.options);
    return 0;
}
