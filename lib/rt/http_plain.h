/* http_plain.h - a call over plain http on the fiber's own socket: what http.c does not leave to libcurl.
 *
 * Thousands of questions wait at once for a slow provider, and each costs what libcurl keeps for a call: 12 KiB. Here a waiting
 * call is a socket and an event on the fiber's stack. */
#pragma once
#include "rt/http.h"
#include <sys/socket.h>

/* Where a URL leads, when it is for this side: http, an address as host, no user, nothing out of the ordinary. */
struct plain_url {
    char *host;   /* as in the Host field, with the port unless it is 80 */
    char *target; /* path and query, as they are sent */
    struct sockaddr_storage *address;
};
/* False: libcurl's. Free with plain_url_release in any case. */
bool plain_url_read(const char *url, struct plain_url *ret);
void plain_url_release(struct plain_url *u);
/* Fields that the caller must not say himself here (Content-Length, Connection ...): then it is libcurl's. */
bool plain_takes(const struct http_request *q);

/* As http_call, once the request is checked; fills outcome, why (a few words only), status, body. *ret_refused: the address is not
 * public. CANCELLED. Parks. */
rc plain_call(struct cx *cx, const struct http_request *q, struct plain_url *u, int64_t total_ms,
              struct http_response *r, const char **ret_why, bool *ret_refused) MW_PARKS;
/* Closes the connections that were kept. */
void plain_free(void);
