/* send.h - a Mihwar task calls a Celery task.
 *
 *     struct celery_new m = {.task = "shop.tasks.mail", .args = RAW("[42]"), .group_index = -1};
 *     try(job_celery_send(cx, job, &m));
 *
 * From any language, also inside one's own transaction, the task celery.send does it:
 *
 *     SELECT mw_enqueue('celery.send', '{"task": "shop.tasks.mail", "args": [42]}')
 *     {"task": NAME, "args": [..], "kwargs": {..}, "queue": NAME, "countdown_ms": N, "expires_ms": N, "wait_ms": N}
 *
 * Its Celery id is the job's, so a second attempt does not become a second result. With wait_ms the Celery result is
 * the job's result, and its failure the job's. */
#pragma once
#include "celery/celery.h"
#include "worker/task.h"

extern struct task task_celery_send;
/* CONFIG when this worker serves no Celery. Parks. */
rc job_celery_send(struct cx *cx, struct job *job, struct celery_new *m) MW_PARKS;
