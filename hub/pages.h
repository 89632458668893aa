/* pages.h - what evhttp answers by itself, to a request that it cannot read: its pages are HTML without
 * X-Request-Id; ours are problem+json. */
#pragma once
#include "base/util.h"

struct evbuffer;
struct evbuffer_cb_info;
struct metrics;

struct pages {
    long long body_max; /* for the words of 413 */
    long headers_max;   /* for those of 400 */
    struct metrics *metrics;
};
/* After something was added to a connection's output, which must not be frozen: if it was such a page, it is replaced. */
void pages_mend(const struct pages *p, struct evbuffer *out, const struct evbuffer_cb_info *info);
