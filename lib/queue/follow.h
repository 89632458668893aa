/* follow.h - the attempts of durable jobs as they end: each once, none left out.
 *
 *   ........ shown for good ........ | horizon ....... may yet come to light ....... now
 *                                    `---- asked for again the next time: what was shown is remembered
 *
 * An attempt bears the time at which its transaction began, and is seen when that has committed. Before the
 * horizon nothing is under way any more (follow.sql); what lies behind it is compared with the last round. */
#pragma once
#include "queue/jobs.h"

struct ended_attempt {
    char job_id[ID_LEN + 1];
    const char *queue, *task;
    struct job_attempt end;
};
struct follow;
/* Of one queue, of one task; NULL: of any (both are borrowed). Begins with the newest of the last minute, at most 200.
 * Parks. */
rc follow_new(struct cx *cx, struct engine *e, const char *queue, const char *task,
              struct follow **ret) MW_PARKS;
struct follow *follow_free(struct follow *f);
/* Tells of those that came to light since the last round, by their time; the texts live as long as the
 * call of tell. After a failure what was told may be told again. Parks. */
rc follow_round(struct cx *cx, struct follow *f,
                void (*tell)(const struct ended_attempt *a, void *arg), void *arg) MW_PARKS;
