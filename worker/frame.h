/* frame.h - a job and what its task says, as bytes between two processes of the same program.
 *
 *   text    uint32 length or NO_TEXT, bytes, NUL      number   int64
 *   frame   uint32 kind, uint32 length, then its body: what face_write, face_read and the like agree on
 *
 * Both ends are the same binary, forked from each other: no versions, no byte order. What a task may have
 * written over is checked nevertheless: a frame that does not parse ends the attempt as a failure. */
#pragma once
#include "base/buf.h"
#include "worker/face.h"

enum frame_kind { FRAME_PROGRESS = 1, FRAME_LOG, FRAME_END };
#define FRAME_MAX MiB(12) /* the end of a task with all the jobs it asked for */

struct frame_reader {
    const char *p, *end;
    bool bad;
};

void frame_text(struct buf *b, const char *s); /* NULL stays NULL */
void frame_number(struct buf *b, int64_t n);
/* NULL also when it is bad; points into the bytes. */
const char *frame_read_text(struct frame_reader *r);
int64_t frame_read_number(struct frame_reader *r);

/* What a task sees of its job. */
void frame_facts(struct buf *b, const struct mw_job *f);
/* Into a face whose texts point into the bytes. */
bool frame_read_facts(struct frame_reader *r, struct mw_job *ret);
/* What it wrote down until its function returned. */
void frame_end(struct buf *b, const struct mw_job *f, int returned);
/* Into the face that the worker has of it; the jobs are checked again. */
rc frame_read_end(struct cx *cx, struct frame_reader *r, struct mw_job *f, int *ret_returned);
