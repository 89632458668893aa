/* url.h - where a Redis is and how to enter: the setting redis_url, taken apart. Of lib/redis only.
 *
 *   unix:/path[?db=1&user=…&password=…]
 *   redis://[[user]:password@][host[:port]][/db]              host 127.0.0.1, port 6379
 *   redis-sentinel://[…@]host[:port][,host[:port]…]/MASTER[/db][?sentinel_user=…&sentinel_password=…]
 *   redis-cluster://[…@]host[:port][,host[:port]…]            port 6379; of sentinels 26379
 *   rediss://, rediss-sentinel://, rediss-cluster://…[?ca=FILE&cert=FILE&key=FILE]      TLS
 *
 * redis+sentinel:// and redis+cluster:// mean the same. User and password are percent-decoded, and
 * are those of the Redis servers; sentinels have their own. */
#pragma once
#include "base/cx.h"

enum redis_kind { REDIS_ONE, REDIS_SENTINEL, REDIS_CLUSTER };

struct redis_place {
    char *host; /* without brackets */
    int port;
};

struct redis_url {
    enum redis_kind kind;
    bool tls;
    char *path; /* of a unix socket; NULL: TCP */
    char *host; /* without brackets; of a kind with many places: where it is opened now */
    int port, db;
    struct redis_place *places; /* sentinels, or nodes of a cluster; NULL of REDIS_ONE */
    size_t nplaces;
    char *master;          /* its name among the sentinels */
    char *user, *password; /* password NULL: none asked for; user then "default" or as given */
    char *sentinel_user, *sentinel_password;
    char *ca;         /* NULL: the system's */
    char *cert, *key; /* ours, for a server that wants to know; NULL: none */
    char *shown;      /* for logs and errors: without user and password */
};

/* Error: CONFIG; its words never contain the URL (it can hold a password). Release in both cases.
 */
rc redis_url_parse(struct cx *cx, const char *text, struct redis_url *ret);
void redis_url_release(struct redis_url *u);

/* The way into one node of a cluster: the same user, the same TLS. Release it. */
void redis_url_of_node(const struct redis_url *u, const char *host, int port,
                       struct redis_url *ret);
/* The way to the sentinels: a REDIS_ONE with places, of which each try takes the next. */
void redis_url_of_sentinels(const struct redis_url *u, struct redis_url *ret);
/* Opened here from now on; shown so. */
void redis_url_go(struct redis_url *u, const char *host, int port);
