/* json.h - hostile JSON in, checked values out. A thin layer over cJSON.
 *
 * Depth and size are checked before cJSON sees the text (its parser, printer and deleter recurse),
 * numbers are doubles there, so ids and money travel as strings. Trees of json_parse belong to cx's
 * arena: nobody frees them. */
#pragma once
#include "base/cx.h"
#include <cjson/cJSON.h>

#define JSON_DEPTH 64

/* Parse n bytes (at most max_bytes, at most JSON_DEPTH levels, valid UTF-8 without U+0000, nothing
 * after the value). Errors: BODY_TOO_LARGE, BAD_UTF8, TOO_DEEP, BAD_JSON. */
rc json_parse(struct cx *cx, const char *s, size_t n, size_t max_bytes, cJSON **ret);

/* Fields of an object; `path` is the JSON pointer of the field, used in the error ("/package_id").
 * Strings: characters counted as UTF-8; control characters are refused. Missing and null are the
 * same thing. */
rc json_str(struct cx *cx, const cJSON *o, const char *name, size_t max_chars,
            const char **ret); /* "" refused */
rc json_str_opt(struct cx *cx, const cJSON *o, const char *name, size_t max_chars,
                const char **ret); /* NULL if missing */
rc json_id(struct cx *cx, const cJSON *o, const char *name, char ret[37]);
rc json_int_opt(struct cx *cx, const cJSON *o, const char *name, int64_t min, int64_t max,
                int64_t *ret); /* unchanged if missing */
rc json_bool_opt(struct cx *cx, const cJSON *o, const char *name, bool *ret);
/* Every member's name must be in the NULL-terminated list: INVALID_FIELD names the stranger;
 * BAD_REQUEST when o is no object. */
rc json_only(struct cx *cx, const cJSON *o, const char *const *names);

/* Value at a dotted path ("$.data.status", "data.0.price"); NULL if it is not there. */
const cJSON *json_path(const cJSON *o, const char *path);
/* A scalar as text (strings as they are, numbers as printed, booleans); NULL for others. Arena of
 * cx. */
const char *json_text(struct cx *cx, const cJSON *v);
/* Unformatted print into the arena. */
char *json_print(struct cx *cx, const cJSON *v);
/* The text of one member of an object as it was written, so that no digit of a number is lost; s is
 * text that json_parse took. Points into s; false if no member is spelled so. *ret_odd: it has
 * what this reader lets pass and a database may not (01, 1., an exponent, hundreds of digits, control
 * characters): print the parsed value then. */
bool json_raw_member(const char *s, size_t n, const char *name, const char **ret, size_t *ret_n,
                     bool *ret_odd);
