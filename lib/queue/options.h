/* options.h - what most jobs do not have: one small JSON object beside the job.
 *
 *   {"expires_at_ms":1795248000123,"limit_key":"znet:7"}
 *
 * It is the column `options` of jobs and dead_letters and the last text of an envelope, there only
 * when something is set, so that a plain job pays nothing for any of it. The text is flat: no list
 * or object inside. A member that this version does not know is passed over. */
#pragma once
#include "queue/queue.h"

/* A limit's key is [A-Za-z0-9_.:@-]+: it needs no quoting in JSON and can spell no key of ours. */
bool limit_key_valid(const char *s);

/* INVALID_FIELD with the pointer of the API's field. */
rc job_options_check(struct cx *cx, const struct job_options *o);
/* The object, appended; "{}" when nothing is set. */
void job_options_write(const struct job_options *o, struct buf *out);
/* The column's text in cx's arena; NULL for NULL and for options in which nothing is set. */
const char *job_options_text(struct cx *cx, const struct job_options *o);
/* False when s (n bytes) is not such an object: *ret is then zeros. No errors on record. */
bool job_options_read(const char *s, size_t n, struct job_options *ret);
/* The column's text (NULL: none) as an object in cx's arena; NULL for NULL and for what cannot be
 * read, which the log tells of. */
const struct job_options *job_options_parse(struct cx *cx, const char *text);
