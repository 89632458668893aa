/* url.h - where a Redis is and how to enter: the setting redis_url, taken apart. Of lib/redis only.
 *
 *   unix:/path[?db=1&user=…&password=…]
 *   redis://[[user]:password@][host[:port]][/db]          host 127.0.0.1, port 6379
 *   rediss://…[?ca=FILE]                                  TLS
 *
 * User and password are percent-decoded. */
#pragma once
#include "base/cx.h"

struct redis_url {
    bool tls;
    char *path; /* of a unix socket; NULL: TCP */
    char *host; /* without brackets */
    int port, db;
    char *user, *password; /* password NULL: none asked for; user then "default" or as given */
    char *ca;              /* NULL: the system's */
    char *shown;           /* for logs and errors: without user and password */
};

/* Error: CONFIG; its words never contain the URL (it can hold a password). Release in both cases.
 */
rc redis_url_parse(struct cx *cx, const char *text, struct redis_url *ret);
void redis_url_release(struct redis_url *u);
