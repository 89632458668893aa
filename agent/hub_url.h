/* hub_url.h - where a hub is: wss://hub.example:8443, ws://127.0.0.1:8080 (https and http mean the same). */
#pragma once
#include "base/cx.h"

struct hub_url {
    bool tls;
    char host[256]; /* a name or an address, without brackets */
    int port;
    char authority[272]; /* host and port as they stand in the URL, for the Host header */
    char prefix[128];    /* path before /v1, without a slash at its end; "" */
};

/* CONFIG in words: it is none, or carries what does not belong there (a user, a query). */
rc hub_url_parse(struct cx *cx, const char *text, struct hub_url *ret);
