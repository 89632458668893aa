/* envelope.h - a job as Redis keeps it: one text, read without a parser.
 *
 *   1 GENERATION PRIORITY MAX_ATTEMPTS TIMEOUT_MS DUE_MS LENGTH LENGTH LENGTH LENGTH[ LENGTH]\n
 *   task\0 subject\0 tenant\0 trace\0 [options\0] args
 *
 * The first number is the version. Lua reads generation and priority, nothing else (token.lua; options.lua in a shaped
 * queue);
 * stats.lua also DUE_MS: when it was due for the first time (when it was pushed, or run_at). Generation 0 is a broker job. A LENGTH of 0 means that there is
 * none. Strings are NUL-terminated where they lie, so that a claimed job points into its reply
 * instead of copying. */
#pragma once
#include "queue/queue.h"

void envelope_write(struct buf *out, const struct job_new *j, int generation, int64_t due_ms);
/* Fills task, args, args_len, priority, max_attempts, timeout_ms, due_ms, durable, subject,
 * tenant_id, trace of *ret, pointing into body (body[len] must be 0), and options (allocated, NULL
 * when there are none: the caller frees); *ret_generation. False when it is none: *ret is then
 * undefined and holds nothing. */
bool envelope_read(char *body, size_t len, struct job *ret, int *ret_generation);
