/* catcher.h - a listener that takes callbacks: one request at a time, answered as the test wants.
 */
#pragma once
#include "base/util.h"

struct catcher {
    int fd, port;
    char url[64]; /* http://127.0.0.1:PORT/hook */
};
struct caught {
    char *head, *body; /* request line and headers; NUL-terminated */
    size_t body_len;
};

void catcher_open(struct catcher *c);
/* Waits for a request and answers it with `status`; false after deadline_ms. */
bool catcher_take(struct catcher *c, int status, int deadline_ms, struct caught *ret);
/* Value of a header, or NULL. Static buffer of 4 in turn. */
const char *caught_header(const struct caught *k, const char *name);
void caught_release(struct caught *k); /* for _cleanup_ */
void catcher_close(struct catcher *c);
