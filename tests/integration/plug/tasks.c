/* tasks.c - tasks as somebody outside writes them: nothing but mihwar.h and the C library. Plain C11. */
#include <mihwar.h>
#include <stdio.h>
#include <string.h>

static int greet(struct mw_job *job)
{
    char result[2048];

    mw_log(job, MW_INFO, "attempt %d of %d", mw_job_attempt(job), mw_job_max_attempts(job));
    mw_progress(job, "{\"percent\":50}");
    snprintf(result, sizeof result, "{\"id\":\"%s\",\"token\":\"%s\",\"args\":%.1000s}",
             mw_job_id(job), mw_job_token(job), mw_job_args(job));
    return mw_result(job, result);
}

/* Fails as often as it is told to, then comes through. */
static int fragile(struct mw_job *job)
{
    if (strstr(mw_job_args(job), "never"))
        return mw_refuse(job, "no_such_customer", "customer %d is not there", 7);
    if (strstr(mw_job_args(job), "nonsense"))
        return mw_result(job, "{nonsense");
    if (strstr(mw_job_args(job), "silent"))
        return 42;
    if (mw_job_attempt(job) == 1)
        return mw_fail(job, "mail_down", "smtp says %d", 421);
    return 0;
}

static int later(struct mw_job *job)
{
    static int seen;

    return seen++ == 0 ? mw_snooze(job, 50) : 0;
}

static int mother(struct mw_job *job)
{
    char id[MW_ID_SIZE];
    struct mw_new child = {0};
    int r;

    child.task = "plug.greet";
    child.queue = mw_job_queue(job);
    child.args = "{\"from\":\"mother\"}";
    r = mw_job_enqueue(job, &child, id);
    if (r)
        return r;
    /* The first attempt leaves no child behind. */
    return mw_job_attempt(job) == 1 ? mw_fail(job, "again", "not yet") : 0;
}

static int heir(struct mw_job *job)
{
    return mw_result(job, mw_job_previous(job) ? mw_job_previous(job) : "\"nothing\"");
}

static int nap(struct mw_job *job)
{
    return mw_sleep(job, 60000);
}

static const struct mw_task tasks[] = {
    {.name = "plug.greet", .run = greet},
    {.name = "plug.fragile",
     .run = fragile,
     .backoff_ms = 10,
     .backoff_cap_ms = 10,
     .max_attempts = 2},
    {.name = "plug.heir", .run = heir},
    {.name = "plug.later", .run = later},
    {.name = "plug.mother", .run = mother, .backoff_ms = 10, .backoff_cap_ms = 10},
    {.name = "plug.nap", .run = nap, .timeout_ms = 300, .max_attempts = 1},
};
MW_PLUGIN(tasks)
