/* forwarded.h - who asks, when a proxy of ours stands in between.
 *
 *   X-Forwarded-For: 198.51.100.9, 203.0.113.7, 10.0.0.2        each proxy adds on the right whom it heard
 *                    anybody wrote   whom our    our inner
 *                    this            proxy heard proxy
 *
 * Believed only from a peer that is listed (trusted_proxies), and then only as far as listed ones wrote it: from the right, the first
 * address that is not listed itself. Buckets of refusals, the record and logs go by it. */
#pragma once
#include "base/cx.h"

/* trusted: addresses, comma separated. CONFIG when one is none. */
rc forwarded_check(struct cx *cx, const char *trusted);
/* peer: who the connection is from; header: all X-Forwarded-For, in order, ", " between; NULL: none. out holds `size` bytes. What is
 * no address ends the search: what was found by then counts. */
void forwarded_source(const char *trusted, const char *peer, const char *header, char *out,
                      size_t size);
