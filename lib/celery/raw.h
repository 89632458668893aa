/* raw.h - JSON as it was written: slices of a text that has been checked once.
 *
 *     [[12345678901234567890], {"a": 1e400}, {"chain": null}]
 *      `-------- slice ------'  `--- slice -'
 *
 * What passes through us (arguments, results, signatures) is copied byte for byte, so that no digit
 * of a number is lost on the way; only what we look at is taken apart. Accepted besides RFC 8259: NaN,
 * Infinity and -Infinity, which Python writes.
 *
 * A slice with n = 0 is one that is not there. Slices point into the checked text. */
#pragma once
#include "base/buf.h"
#include "base/cx.h"

struct raw {
    const char *p;
    size_t n;
};
/* Of a literal that is JSON. */
#define RAW(literal) ((struct raw){(literal), sizeof(literal) - 1})

#define RAW_DEPTH 100

/* Checks the whole text: UTF-8, one value, at most RAW_DEPTH levels. Errors: BODY_TOO_LARGE, BAD_UTF8, TOO_DEEP,
 * BAD_JSON. */
rc raw_read(struct cx *cx, const char *s, size_t n, size_t max_bytes, struct raw *ret);
/* A text of ours, or one that was checked before: white space around it is cut off. */
struct raw raw_of(const char *s);

bool raw_there(struct raw r); /* not missing, not null */
bool raw_is_object(struct raw r);
bool raw_is_array(struct raw r);
bool raw_is_string(struct raw r);
/* The member's value; of several with this name the last, as Python does. Missing, or no object: n = 0. */
struct raw raw_get(struct raw object, const char *name);
/* One element after the other: `*at` begins as {0}. False when there is none left, or for no array. */
bool raw_next(struct raw array, struct raw *at);
/* One member after the other: *name with its quotes; `*at` is the value, begins as {0}. */
bool raw_next_member(struct raw object, struct raw *name, struct raw *at);
size_t raw_count(struct raw array);

/* The string without quotes and escapes, in cx's arena; NULL for anything else, and for one with U+0000 or half a
 * surrogate pair. */
const char *raw_str(struct cx *cx, struct raw r);
bool raw_num(struct raw r, double *ret);
bool raw_int(struct raw r, int64_t min, int64_t max, int64_t *ret); /* a whole number within */
bool raw_true(struct raw r);

void raw_put(struct buf *b, struct raw r); /* null if it is not there */
/* The members of an object without those in the NULL-terminated list, comma separated, no braces. Returns how many. */
size_t raw_put_members(struct buf *b, struct raw object, const char *const *without);
/* Both arrays' elements in one array; either may be missing. */
void raw_put_joined(struct buf *b, struct raw first, struct raw second);
/* What a buffer holds, moved into cx's arena. The buffer must be ok. */
struct raw raw_keep(struct cx *cx, struct buf *b);
