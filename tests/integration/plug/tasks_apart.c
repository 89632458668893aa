/* tasks_apart.c - tasks that block, leak and crash: on a thread, in a process of their own. */
#include <mihwar.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

static int has(struct mw_job *job, const char *word)
{
    return strstr(mw_job_args(job), word) != NULL;
}

static void block(long ms)
{
    struct timespec t = {ms / 1000, ms % 1000 * 1000000};

    while (nanosleep(&t, &t) != 0)
        ;
}

/* What every kind can do. */
static int common(struct mw_job *job)
{
    char result[512], id[MW_ID_SIZE];
    struct mw_new child = {.task = "mihwar.noop", .args = "{\"by\":1}", .unique = MW_UNIQUE_FINISH};

    mw_log(job, MW_WARN, "pid %d says hello", (int)getpid());
    mw_progress(job, "{\"percent\":50}");
    if (has(job, "fail"))
        return mw_job_attempt(job) == 1 ? mw_fail(job, "own_code", "the %s words", "own") : 0;
    if (has(job, "refuse"))
        return mw_refuse(job, "too_bad", "never");
    if (has(job, "snooze") && strstr(mw_job_token(job), ":1.1.0"))
        return mw_snooze(job, 20);
    if (has(job, "nap"))
        return mw_sleep(job, 60000);
    if (has(job, "ask")) {
        child.queue = mw_job_queue(job);
        if (mw_job_enqueue(job, &child, id) != 0)
            return -1;
    }
    if (has(job, "heir"))
        return mw_result(job, mw_job_previous(job) ? mw_job_previous(job) : "\"nothing\"");
    snprintf(result, sizeof result, "{\"job\":\"%s\",\"token\":\"%s\",\"task\":\"%s\",\"left\":%s}",
             mw_job_id(job), mw_job_token(job), mw_job_task(job),
             mw_job_left_ms(job) > 0 && mw_job_left_ms(job) <= 60000 ? "true" : "false");
    return mw_result(job, result);
}

static int blocking(struct mw_job *job)
{
    if (has(job, "long")) { /* longer than its lease */
        block(3000);
        return mw_result(job, "\"was long\"");
    }
    if (has(job, "stuck")) /* nobody can end it */
        for (;;)
            block(1000);
    if (has(job, "heeds")) {
        while (!mw_job_cancelled(job))
            block(10);
        return mw_fail(job, "was_asked", "asked to end");
    }
    return common(job);
}

static int child(struct mw_job *job)
{
    if (has(job, "freeze"))
        raise(SIGSTOP); /* until somebody kills it */
    if (has(job, "crash"))
        abort();
    if (has(job, "leave"))
        exit(7);
    if (has(job, "print")) {
        printf("printed to stdout\n");
        fprintf(stderr, "and to stderr\n");
        return 0;
    }
    if (has(job, "spin")) {
        signal(SIGTERM, SIG_IGN);
        for (;;)
            ;
    }
    if (has(job, "heeds")) {
        while (!mw_job_cancelled(job))
            block(10);
        return mw_fail(job, "was_asked", "asked to end");
    }
    return common(job);
}

static const struct mw_task tasks[] = {
    {.name = "apart.thread",
     .run = blocking,
     .kind = MW_BLOCKING,
     .max_attempts = 2,
     .backoff_ms = 10,
     .backoff_cap_ms = 10},
    {.name = "apart.child",
     .run = child,
     .kind = MW_CHILD,
     .max_attempts = 2,
     .backoff_ms = 10,
     .backoff_cap_ms = 10},
};
MW_PLUGIN(tasks)
