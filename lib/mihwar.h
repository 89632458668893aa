/* mihwar.h - jobs: write tasks as C functions, and ask for them from any C or C++ program.
 *
 *     static int greet(struct mw_job *job)
 *     {
 *         mw_log(job, MW_INFO, "greeting %s", mw_job_args(job));
 *         return mw_result(job, "{\"said\":\"hello\"}");
 *     }
 *     static const struct mw_task tasks[] = {{.name = "demo.greet", .run = greet}};
 *     MW_PLUGIN(tasks)                     cc -shared … ; mihwar-worker --load ./tasks.so
 *
 *     int main(int argc, char **argv)      or a worker of one's own, linked with -lmihwar
 *     {
 *         return mw_worker_main(argc, argv, tasks, sizeof tasks / sizeof *tasks);
 *     }
 *
 * A job is one request to run a task, an attempt is one try. A job may run twice (a worker that was
 * killed, a lost lease), so a task looks at its own state first; guard writes of your own with
 * mw_job_token().
 *
 * Times are milliseconds; `…_at_ms` is since 1970 UTC. Texts are UTF-8, JSON where it says so. What
 * is given is copied before the call returns; what is returned belongs to whom the comment names.
 * "Waits" says that a call may take time; on a task of kind MW_FIBER everything else that blocks
 * (sleep(3), a blocking socket) stops its whole worker: mark such a task MW_BLOCKING or MW_CHILD.
 *
 * Link with `pkg-config --cflags --libs mihwar`. */
#ifndef MIHWAR_H
#define MIHWAR_H
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#if defined(__GNUC__)
#define MW_FORMAT_(a, b) __attribute__((format(printf, a, b)))
#define MW_PUBLIC_       __attribute__((visibility("default")))
#else
#define MW_FORMAT_(a, b)
#define MW_PUBLIC_
#endif

#define MW_ABI         1            /* of the structs below; a worker refuses plug-ins of another */
#define MW_ID_SIZE     37           /* a UUID as text, with its end */
#define MW_ARGS_MAX    (256 * 1024) /* bytes of a job's arguments */
#define MW_RESULT_MAX  (256 * 1024) /* bytes of a result */
#define MW_ENQUEUE_MAX 1000         /* jobs in one mw_enqueue_many, or of one attempt */

/* ---------------------------------------------------------------- what went wrong */

/* A code decides, words explain. Codes are those of docs/errors.md, or a task's own. */
struct mw_error {
    char code[40];  /* "store_down"; "" when nothing failed */
    char text[472]; /* one sentence; for a program that died also the last lines that it wrote */
};

/* ---------------------------------------------------------------- a task */

struct mw_job;

enum mw_kind {
    MW_FIBER = 0, /* on the worker's loop, thousands at once: waits only with what is declared here
                     (its stack has stack_bytes; the processor is its own until it waits) */
    MW_BLOCKING,  /* on a thread of the worker (setting worker_threads): may block. Cancelling and
                     limits of time reach it only when it asks mw_job_cancelled(); when the hard
                     limit is over the attempt fails while the thread goes on to its end */
    MW_CHILD      /* in a process of its own (setting worker_children): may block, leak and crash.
                     Soft limit and cancel: SIGTERM, hard limit: SIGKILL to its process group */
};

/* What makes two jobs the same (a key: unique_key of the job, or its task and arguments). */
enum mw_unique {
    MW_UNIQUE_NONE = 0,
    MW_UNIQUE_FINISH, /* one live job a key: who asks again gets the first one's id */
    MW_UNIQUE_START,  /* the key is free again when the job has begun */
    MW_UNIQUE_WINDOW  /* the key is taken for unique_ms, however the job ends */
};

/* Zeroed is a good default for every field but `name` and `run`. Must live as long as the worker. */
struct mw_task {
    const char *name; /* [A-Za-z0-9_.-]+, at most 128 bytes; "mihwar." is ours */
    int (*run)(struct mw_job
                   *job); /* 0: completed; else what mw_fail, mw_snooze or another call here gave */
    enum mw_kind kind;
    int max_attempts;        /* 0: 5 */
    int64_t timeout_ms;      /* hard limit of an attempt; 0: a minute */
    int64_t soft_timeout_ms; /* cancelled then, and may clean up until timeout_ms; 0: none */
    int64_t backoff_ms;      /* delay after the first failure, doubling, with jitter; 0: a second */
    int64_t backoff_cap_ms;  /* the longest; 0: ten minutes */
    size_t stack_bytes;      /* of a fiber; 0: 64 KiB */
    /* For those who ask for it through mw_new.of: */
    const char *queue; /* NULL: "default" */
    int broker;        /* 1: in Redis only: faster, and lost with Redis; no result is kept */
    enum mw_unique unique;
    int64_t unique_ms;
    const void *reserved[4]; /* NULL */
};

/* ---------------------------------------------------------------- a job, asked for */

struct mw_new {
    const struct mw_task
        *of;               /* gives name, queue, broker, unique and soft_timeout_ms; may be NULL */
    const char *task;      /* name, when there is no `of` */
    const char *args;      /* JSON; NULL: {} */
    const char *queue;     /* NULL: of `of`, else "default" */
    int priority;          /* 1..9, higher first; 0: 5 */
    int broker;            /* 1: Redis only */
    int64_t delay_ms;      /* not before so long from now */
    int64_t run_at_ms;     /* or not before then; 0: now */
    int64_t expires_at_ms; /* not begun by then: cancelled; 0: never */
    int max_attempts;      /* 0: the task's */
    int64_t timeout_ms;    /* 0: the task's */
    int64_t soft_timeout_ms; /* 0: the task's */
    int64_t result_ttl_ms;   /* the result is kept so long after the end; 0: as long as the job */
    const char
        *id; /* a UUID of the caller's: the same one again is the same job; NULL: made here */
    const char *unique_key; /* NULL: none, or task and arguments when `unique` is set */
    enum mw_unique unique;  /* with a unique_key, MW_UNIQUE_NONE means MW_UNIQUE_FINISH */
    int64_t unique_ms;
    const char *subject;     /* a UUID of what it is about; NULL: none */
    const char *tenant;      /* a UUID; NULL: none (in a task: the job's own) */
    const char *traceparent; /* W3C; NULL: none (in a task: the job's own) */
    const char *limit_key;   /* whose limits it counts against; NULL: none */
    const void *reserved[4]; /* NULL */
};

/* ---------------------------------------------------------------- inside a task: what it sees */

/* Texts live until the function returns. */
const char *mw_job_id(const struct mw_job *job);
const char *mw_job_task(const struct mw_job *job);
const char *mw_job_queue(const struct mw_job *job);
const char *mw_job_args(const struct mw_job *job); /* JSON */
int mw_job_attempt(const struct mw_job *job);      /* 1 for the first */
int mw_job_max_attempts(const struct mw_job *job);
const char *
mw_job_token(const struct mw_job *job); /* this attempt's: a stale one is refused everywhere */
const char *mw_job_tenant(const struct mw_job *job);      /* NULL: none */
const char *mw_job_subject(const struct mw_job *job);     /* NULL: none */
const char *mw_job_traceparent(const struct mw_job *job); /* NULL: none */
/* In a workflow: what stood before it gave, JSON (docs/workflows.md). NULL: nothing does. */
const char *mw_job_previous(const struct mw_job *job);
int64_t mw_job_left_ms(const struct mw_job *job); /* until the hard limit; at least 0 */
/* 1 when it should end: soft limit, somebody's wish, a lost lease, a worker that is told to stop. On a
 * fiber every wait fails then too. Any thread. */
int mw_job_cancelled(const struct mw_job *job);

/* ---------------------------------------------------------------- inside a task: what it may do
 *
 * These, except mw_job_cancelled, mw_log and mw_progress, belong to the thread that runs the task. */

/* The result, JSON; the last one counts, when the attempt completes. 0, or a failure (too large, no
 * JSON) to return. */
int mw_result(struct mw_job *job, const char *json);
/* How far it is, JSON, seen by whoever looks at the job. A wish: it may be gathered or dropped. */
void mw_progress(struct mw_job *job, const char *json);
enum mw_level { MW_DEBUG, MW_INFO, MW_WARN, MW_ERROR };
/* One line of the job's log. */
void mw_log(struct mw_job *job, enum mw_level level, const char *fmt, ...) MW_FORMAT_(3, 4);
/* `return mw_fail(job, "mail_down", "smtp says %d", n);` tried again with back-off while attempts
 * are left, then dead. code: [a-z0-9_]+ of at most 39 bytes. */
int mw_fail(struct mw_job *job, const char *code, const char *fmt, ...) MW_FORMAT_(3, 4);
/* The same, but dead at once: trying again would not help. */
int mw_refuse(struct mw_job *job, const char *code, const char *fmt, ...) MW_FORMAT_(3, 4);
/* `return mw_snooze(job, 60000);` comes back then; no attempt is used. */
int mw_snooze(struct mw_job *job, int64_t ms);
/* Another job, stored in the transaction in which this attempt completes or snoozes (both durable): once,
 * and not at all when it fails. ret_id (may be NULL): its id, already known. 0 or a failure to return. */
int mw_job_enqueue(struct mw_job *job, const struct mw_new *j, char ret_id[MW_ID_SIZE]);
/* Waits. 0, or a failure to return when it is cancelled or its time is over. */
int mw_sleep(struct mw_job *job, int64_t ms);
/* The last failure of a call with this job. */
const struct mw_error *mw_job_error(const struct mw_job *job);

/* ---------------------------------------------------------------- asking for jobs
 *
 * From any program, without a loop of its own: the first client starts a thread of the library, the
 * last one to be closed ends it. Every call waits, until timeout_ms at the latest, and may be made from any
 * thread. After fork() only in a child that has called nothing here before. They return 0, or -1 with *err (may be NULL)
 * written; a call that ended with code "deadline" or "store_doubt" may have done its work: repeat it with the same id. */

struct mw_client;

struct mw_client_options {
    const char
        *database_url;     /* NULL: MIHWAR_DATABASE_URL; "" there too: jobs with broker = 1 only */
    const char *redis_url; /* NULL: MIHWAR_REDIS_URL */
    const char *config;    /* file of settings, below the environment; NULL: MIHWAR_CONFIG */
    int64_t timeout_ms;    /* of each call; 0: ten seconds */
    const void *reserved[4]; /* NULL */
};
/* options may be NULL. Both stores must answer. */
int mw_client_open(const struct mw_client_options *options, struct mw_client **ret,
                   struct mw_error *err);
void mw_client_close(struct mw_client *c); /* no call may be under way; NULL is allowed */

struct mw_made {
    char id[MW_ID_SIZE];
    int existed; /* the id or the unique key was there already: id is the first job's */
};
int mw_enqueue(struct mw_client *c, const struct mw_new *job, struct mw_made *ret,
               struct mw_error *err);
/* All or none of the durable ones; n up to MW_ENQUEUE_MAX; ret: n of them, may be NULL. */
int mw_enqueue_many(struct mw_client *c, const struct mw_new *jobs, size_t n, struct mw_made *ret,
                    struct mw_error *err);

struct mw_outcome {
    char state[16];        /* "ready" "scheduled" "leased" "completed" "dead" "cancelled" */
    int ended;             /* 1 for the last three */
    int attempts;          /* used */
    char *result;          /* JSON or NULL; mw_outcome_release frees it */
    struct mw_error error; /* the last one's */
};
/* Waits until the durable job has ended, or wait_ms have passed (0: only looks). 0 in both cases:
 * look at ended. */
int mw_job_wait(struct mw_client *c, const char *id, int64_t wait_ms, struct mw_outcome *ret,
                struct mw_error *err);
void mw_outcome_release(struct mw_outcome *o);
/* Queued: at once. Running: at its next wait (*ret_running = 1; may be NULL). */
int mw_job_cancel(struct mw_client *c, const char *id, int *ret_running, struct mw_error *err);

/* ---------------------------------------------------------------- a worker with tasks of one's own */

/* mihwar-worker with these tasks too; takes the same command line and settings, returns the exit
 * status. Call it from main(), before there are threads. */
int mw_worker_main(int argc, char **argv, const struct mw_task *tasks, size_t n);

/* What a plug-in exports: MW_PLUGIN(tasks) at file scope, tasks being an array. */
struct mw_plugin {
    int abi; /* MW_ABI */
    const struct mw_task *tasks;
    size_t n;
};
extern MW_PUBLIC_ const struct mw_plugin mw_plugin;
#define MW_PLUGIN(tasks_)                                                                          \
    const struct mw_plugin mw_plugin = {MW_ABI, (tasks_), sizeof(tasks_) / sizeof *(tasks_)};

/* "0.1.0" of the library that runs. */
const char *mw_version(void);

#ifdef __cplusplus
}
#endif
#endif
