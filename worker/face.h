/* face.h - what somebody's task sees of its job (struct mw_job of mihwar.h), wherever it runs.
 *
 *   on a fiber    ways lead straight to the worker's own calls
 *   on a thread   they are messages to the loop (blocking.c)
 *   in a child    they are frames to the worker (child.c)
 *
 * What decides the job's end (failure, snooze, result, further jobs) is only written down here; guest.c acts on
 * it on the job's fiber when the function has returned. So a task never waits for a store without saying so. */
#pragma once
#include "base/log.h"
#include "queue/keys.h"
#include "worker/wish.h"
#include <stdatomic.h>
#include <sys/queue.h>

struct face_ways {
    void (*progress)(struct mw_job *f, const char *json);
    void (*log)(struct mw_job *f, enum log_level level, const char *line);
    rc (*sleep)(struct mw_job *f, int64_t ms); /* CANCELLED, DEADLINE; parks or blocks */
    bool (*cancelled)(struct mw_job *f);
};

enum face_end { FACE_SILENT, FACE_FAILED, FACE_REFUSED, FACE_SNOOZED, FACE_CUT };

struct face_wish {
    STAILQ_ENTRY(face_wish) link;
    struct wish wish;
};

struct mw_job {
    const struct face_ways *ways;
    void *arg; /* of the ways */
    const char *id, *task, *queue, *args, *tenant, *subject, *trace,
        *previous; /* outlive the attempt */
    char token[TOKEN_MAX];
    int attempt, max_attempts;
    int64_t deadline_mono_ms; /* 0: none */
    enum face_end end;        /* why the function did not return 0 */
    rc cut;                   /* FACE_CUT: of the wait that was cut short */
    struct mw_error error;
    int64_t snooze_ms;
    char *result;
    struct arena arena;
    STAILQ_HEAD(, face_wish) wishes;
    size_t nwishes, wish_bytes;
};

/* The texts of j must outlive *ret. */
void face_init(struct mw_job *ret, const struct job *j, int64_t deadline_mono_ms,
               const struct face_ways *ways, void *arg);
void face_release(struct mw_job *f);
/* The end of a task that returned `returned`: FACE_SILENT when it completed; a return value that no call
 * here gave becomes a failure. */
enum face_end face_end(struct mw_job *f, int returned);
/* The code's word and the sentence. */
void face_error(struct mw_error *e, const char *code, const char *text);
