/* timeline.h - what a job told while it ran: the latest progress of each attempt, and its newest log
 * lines.
 *
 *   worker/timeline.c --batches--> job_events --> GET /v1/jobs/{id}/events, `mihwar job log`
 *
 * Bounded: an attempt keeps its newest JOB_EVENT_LINES lines and one progress; of earlier attempts of the job the
 * newest 1000 events and 256 KiB stay (pruned when an attempt says its first). Written some time after it
 * was said, and a batch may be lost: nothing that must be kept belongs here. seq counts what an
 * attempt said, from 1, so a gap shows what is not there any more. */
#pragma once
#include "queue/queue.h"

#define JOB_EVENT_LINES    199  /* of an attempt */
#define JOB_EVENT_LINE_MAX 1000 /* bytes of a log line */
#define JOB_EVENT_BODY_MAX 4096 /* bytes of a progress */
#define JOB_EVENTS_BATCH   1000

struct job_event {
    char job_id[ID_LEN + 1];
    int generation, attempt; /* attempt: the claim number, as in job_attempts */
    int slot; /* of its line in the ring, 1 .. JOB_EVENT_LINES; 0: a progress. Not read back */
    int64_t seq, at_ms;
    const char *level; /* debug info warn error; NULL: it is a progress */
    const char *body;  /* a line of UTF-8, or JSON */
};

/* At most JOB_EVENTS_BATCH, oldest first. May be repeated: what is there already stays as it is. Parks. */
rc timeline_write(struct cx *cx, struct pg *db, const struct job_event *events, size_t n) MW_PARKS;

/* Oldest first, behind the cursor ("generation.attempt.seq"; NULL: from the beginning); *ret is in cx's arena.
 * INVALID_FIELD at /after when it is none. Whose job it is is the caller's question. Parks. */
rc timeline_list(struct cx *cx, struct engine *e, const char *job_id, const char *after,
                 size_t limit, struct job_event **ret, size_t *ret_n) MW_PARKS;
/* The newest `limit`, oldest of them first, and the progress of the latest attempt that told one
 * (NULL: none did). Parks. */
rc timeline_last(struct cx *cx, struct engine *e, const char *job_id, size_t limit,
                 struct job_event **ret, size_t *ret_n, const char **ret_progress) MW_PARKS;

void job_event_json(const struct job_event *ev, struct buf *out);
/* "generation.attempt.seq": the cursor behind this event; out holds 48 bytes. */
const char *job_event_cursor(const struct job_event *ev, char out[48]);
