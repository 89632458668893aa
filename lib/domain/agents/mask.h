/* mask.h - takes secrets out of JSON, by pointers.
 *
 *   /password                 a member of the object on top
 *   /users/0/pin              RFC 6901: ~1 is /, ~0 is ~, a number is a place in an array
 *   /wifi/ * /psk             (without the blanks) any member, any place
 *
 * What a pointer leads to becomes "***", whatever it was. What it does not lead to is not there to
 * be masked. What is not masked stays as it was written, to the digit. */
#pragma once
#include "base/json.h"

struct mask;
#define MASK_MAX 64 /* pointers */

/* pointers: comma separated, blanks around them ignored; "" or NULL: nothing is masked (*ret is a mask all the
 * same). CONFIG. Free with mask_free. */
rc mask_new(struct cx *cx, const char *pointers, struct mask **ret);
struct mask *mask_free(struct mask *m); /* NULL is fine; returns NULL */

/* json is JSON text; *ret is NULL when nothing of it was to be masked (m may be NULL), else the masked text in
 * cx's arena. Errors as of json_parse. Does not park. */
rc mask_text(struct cx *cx, const struct mask *m, const char *json, const char **ret);
/* A line of any text: what follows the last name of a pointer behind '=' or ':' ("pin=1234", "pin: 1234",
 * {"pin":"1234"}) becomes "***". NULL when nothing of it was to be masked (m may be NULL); the caller frees. */
char *mask_line(const struct mask *m, const char *line);
