/* client.c - a program without a loop that asks for jobs. Status 0: all was as it should be. */
#include <mihwar.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static struct mw_error error;

#define CHECK(cond)                                                                                \
    do {                                                                                           \
        if (!(cond)) {                                                                             \
            fprintf(stderr, "line %d: %s (%s: %s)\n", __LINE__, #cond, error.code, error.text);    \
            exit(1);                                                                               \
        }                                                                                          \
    } while (0)

static void one(struct mw_client *c, const char *queue)
{
    struct mw_new job = {.task = "mihwar.echo",
                         .queue = queue,
                         .args = "{\"x\": [1, 2]}",
                         .unique_key = "client-one"};
    struct mw_outcome o;
    struct mw_made first, second;

    CHECK(mw_enqueue(c, &job, &first, &error) == 0 && !first.existed &&
          strlen(first.id) == MW_ID_SIZE - 1);
    job.delay_ms = 0;
    CHECK(mw_job_wait(c, first.id, 30000, &o, &error) == 0);
    CHECK(o.ended && strcmp(o.state, "completed") == 0 && o.attempts == 1 && o.result);
    CHECK(strcmp(o.result, "{\"x\": [1, 2]}") == 0);
    mw_outcome_release(&o);
    job.unique_key = NULL;
    job.id = first.id;
    CHECK(mw_enqueue(c, &job, &second, &error) == 0 && second.existed &&
          strcmp(first.id, second.id) == 0);
}

static void cancelled(struct mw_client *c, const char *queue)
{
    struct mw_new job = {.task = "mihwar.noop", .queue = queue, .delay_ms = 3600 * 1000};
    struct mw_outcome o;
    struct mw_made made;
    int running = 1;

    CHECK(mw_enqueue(c, &job, &made, &error) == 0);
    CHECK(mw_job_wait(c, made.id, 50, &o, &error) == 0 && !o.ended &&
          strcmp(o.state, "scheduled") == 0);
    mw_outcome_release(&o);
    CHECK(mw_job_cancel(c, made.id, &running, &error) == 0 && !running);
    CHECK(mw_job_wait(c, made.id, 1000, &o, &error) == 0 && o.ended &&
          strcmp(o.state, "cancelled") == 0);
    mw_outcome_release(&o);
}

static void many(struct mw_client *c, const char *queue)
{
    static struct mw_new jobs[MW_ENQUEUE_MAX + 1];
    static struct mw_made made[MW_ENQUEUE_MAX];
    struct mw_outcome o;

    for (int i = 0; i <= MW_ENQUEUE_MAX; i++)
        jobs[i] = (struct mw_new){.task = "mihwar.noop", .queue = queue, .broker = i % 2};
    CHECK(mw_enqueue_many(c, jobs, MW_ENQUEUE_MAX + 1, made, &error) == -1 &&
          strcmp(error.code, "invalid_field") == 0);
    CHECK(mw_enqueue_many(c, jobs, MW_ENQUEUE_MAX, made, &error) == 0);
    CHECK(mw_job_wait(c, made[MW_ENQUEUE_MAX - 2].id, 30000, &o, &error) == 0 && o.ended);
    mw_outcome_release(&o);
}

static void mistakes(struct mw_client *c)
{
    struct mw_new none = {0}, bad_args = {.task = "x", .args = "{"}, bad_name = {.task = "a b"},
                  bad_id = {.task = "x", .id = "7"};
    struct mw_outcome o;

    CHECK(mw_enqueue(c, &none, NULL, &error) == -1 && strcmp(error.code, "invalid_field") == 0);
    CHECK(mw_enqueue(c, &bad_args, NULL, &error) == -1 && strstr(error.text, "args"));
    CHECK(mw_enqueue(c, &bad_name, NULL, &error) == -1);
    CHECK(mw_enqueue(c, &bad_id, NULL, NULL) == -1);
    CHECK(mw_job_wait(c, "nonsense", 0, &o, &error) == -1 &&
          strcmp(error.code, "invalid_field") == 0);
    CHECK(mw_job_wait(c, "00000000-0000-7000-8000-0000000000ff", 0, &o, &error) == -1 &&
          strcmp(error.code, "not_found") == 0);
}

struct thread {
    pthread_t id;
    struct mw_client *c;
    const char *queue;
};

static void *some(void *arg)
{
    struct thread *t = arg;
    struct mw_new job = {.task = "mihwar.noop", .queue = t->queue};
    struct mw_error e;

    for (int i = 0; i < 20; i++)
        if (mw_enqueue(t->c, &job, NULL, &e) != 0)
            return arg;
    return NULL;
}

static void threads(struct mw_client *c, const char *queue)
{
    struct thread t[4];
    void *failed;

    for (int i = 0; i < 4; i++) {
        t[i].c = c;
        t[i].queue = queue;
        CHECK(pthread_create(&t[i].id, NULL, some, &t[i]) == 0);
    }
    for (int i = 0; i < 4; i++)
        CHECK(pthread_join(t[i].id, &failed) == 0 && !failed);
}

int main(int argc, char **argv)
{
    const char *queue = argc > 1 ? argv[1] : "default";
    struct mw_client_options nowhere = {.redis_url = "unix:/nowhere/redis.sock", .timeout_ms = 500};
    struct mw_client *c, *d;
    void (*before)(int) = signal(SIGPIPE, SIG_DFL);

    (void)before;
    CHECK(mw_client_open(&nowhere, &c, &error) == -1 && error.code[0] && error.text[0]);
    CHECK(mw_client_open(NULL, &c, &error) == 0);
    CHECK(mw_client_open(NULL, &d, &error) ==
          0); /* a second one, of the same thread of the library */
    one(c, queue);
    cancelled(d, queue);
    many(c, queue);
    mistakes(c);
    threads(d, queue);
    mw_client_close(c);
    CHECK(mw_enqueue(d, &(struct mw_new){.task = "mihwar.noop", .queue = queue}, NULL, &error) ==
          0);
    mw_client_close(d);
    mw_client_close(NULL);
    CHECK(mw_client_open(NULL, &c, &error) == 0); /* the thread comes again */
    mw_client_close(c);
    CHECK(signal(SIGPIPE, SIG_DFL) == SIG_DFL); /* nothing of ours is left behind */
    return 0;
}
