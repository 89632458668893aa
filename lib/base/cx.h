/* cx.h - the context: who is being served, until when, and what went wrong.
 *
 * One per fiber (rt/fiber.h makes it), one on the stack of a command-line program (CX_PLAIN). It is
 * the first parameter of everything that can park or that fails with words.
 *
 *   err       the last failure: code, sentence, place
 *   deadline  monotonic; every wait ends there at the latest (DEADLINE)
 *   cancelled set by fiber_cancel(); every wait from then on returns CANCELLED
 *   arena     what lives as long as the request or attempt
 */
#pragma once
#include "base/arena.h"
#include "base/error.h"

struct fiber;

struct err {
    rc code;
    int line;
    const char *file;
    char pointer[64]; /* JSON pointer of the field at fault, or "" */
    char rule[64];    /* the database's constraint that refused, or "" (pg_constraint) */
    char text[320];   /* one sentence, no secrets */
};

struct cx {
    struct fiber *fiber;      /* NULL outside the event loop: nothing parks then */
    const char *name;         /* task or route, for logs */
    int64_t deadline_mono_ms; /* 0: none */
    bool cancelled;
    char trace[33];      /* W3C trace id in hex, or "" */
    char span[17];       /* of it, the span that is under way (base/trace.h), or "" */
    bool sampled;        /* somebody wants to see this trace */
    char request_id[65]; /* X-Request-Id, or "" */
    char subject[40];    /* job id or order id, for logs, or "" */
    struct err err;
    struct arena arena;
};
#define CX_PLAIN(name_) ((struct cx){.name = (name_)})

void cx_release(struct cx *cx); /* for _cleanup_ */

/* Write the failure and return its code. A usage in every file:
 *     return fail(cx, NOT_FOUND, "order %s does not exist", id);    right
 *     return E_NOT_FOUND;                       wrong: the words of an older failure stay
 */
#define fail(cx, CODE, ...) cx_fail((cx), E_##CODE, NULL, __FILE__, __LINE__, __VA_ARGS__)
#define fail_at(cx, CODE, pointer, ...)                                                            \
    cx_fail((cx), E_##CODE, (pointer), __FILE__, __LINE__, __VA_ARGS__)
#define fail_rc(cx, code, ...) cx_fail((cx), (code), NULL, __FILE__, __LINE__, __VA_ARGS__)
rc cx_fail(struct cx *cx, rc code, const char *pointer, const char *file, int line, const char *fmt,
           ...) _printf_(6, 7);
/* The words of cx->err if they belong to r, else the table's. Never NULL. */
const char *cx_words(const struct cx *cx, rc r);

/* Bring the deadline forward (never back) for a scope:
 *     _cleanup_(cx_deadline_restore) struct cx_deadline d = cx_deadline_within(cx, 5000);
 */
struct cx_deadline {
    struct cx *cx;
    int64_t old;
};
struct cx_deadline cx_deadline_within(struct cx *cx, int64_t ms);
void cx_deadline_restore(struct cx_deadline *d);
/* Milliseconds left, at least 0; INT64_MAX when there is no deadline. */
int64_t cx_left_ms(const struct cx *cx);
