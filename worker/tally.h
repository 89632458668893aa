/* tally.h - what one worker process counts: how attempts ended, how long they took, how late they
 * began, how busy its slots were.
 *
 *   run begins --> waited[queue]           no lock, no allocation, one look at the clock a job
 *   run ends   --> ends, took[queue, task]
 *   every beat: what is new becomes a batch of counts (queue/counts.h), and is counted from zero
 *
 * Rows of (queue, task) are made when they are first met, up to TALLY_TASKS; what is met later is
 * counted as task "_other". */
#pragma once
#include "base/buf.h"
#include "queue/counts.h"

#define TALLY_TASKS 192

struct task;
struct tally;
/* queues: names, borrowed. */
struct tally *tally_new(const char *const *queues, size_t n, int64_t now_us);
struct tally *tally_free(struct tally *t);

/* It begins now; due_ms (wall): since when it might have, 0: not known. */
void tally_begin(struct tally *t, size_t queue, int64_t due_ms, int64_t now_us);
/* It has ended; began_us 0: it never began. */
void tally_end(struct tally *t, size_t queue, const struct task *task, enum count_outcome o,
               int64_t began_us, int64_t now_us);

/* A beat: of what runs, the time until now (one call for each, before the beat). */
void tally_running(struct tally *t, size_t queue, int64_t began_us, int64_t now_us);
/* Averages of the last minute move on; then busy and rate are read. */
void tally_beat(struct tally *t, int64_t now_us);
double tally_busy(const struct tally *t, size_t queue);
double tally_rate(const struct tally *t, size_t queue);
/* field \0 n \0 field \0 n \0 ... appended to out, and counted from zero again; how many texts. */
size_t tally_take(struct tally *t, struct buf *out);
