/* url.c - libevent takes the URL apart, this file says what the parts mean. */
#include "redis/url.h"
#include "base/text.h"
#include <event2/http.h>
#include <event2/keyvalq_struct.h>
#include <openssl/crypto.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>

static void uri_freep(struct evhttp_uri **u)
{
    if (*u)
        evhttp_uri_free(*u);
}

static rc set_db(struct cx *cx, struct redis_url *u, const char *text)
{
    int64_t db;

    if (!parse_int(text, 0, 9999, &db))
        return fail(cx, CONFIG, "redis_url: the database must be a number from 0 to 9999");
    u->db = (int)db;
    return OK;
}

static void set_secret(char **where, char *value)
{
    if (*where)
        OPENSSL_cleanse(*where, strlen(*where));
    free(*where);
    *where = value;
}

/* [user]:password */
static rc set_userinfo(struct cx *cx, struct redis_url *u, const char *info)
{
    const char *colon = strchr(info, ':');

    if (!colon)
        return fail(cx, CONFIG, "redis_url: a user needs a password (user:password@host)");
    if (colon > info) {
        _cleanup_(freep) char *name = xstrndup(info, (size_t)(colon - info));
        set_secret(&u->user, evhttp_uridecode(name, 0, NULL));
    }
    set_secret(&u->password, evhttp_uridecode(colon + 1, 0, NULL));
    return OK;
}

static rc set_query(struct cx *cx, struct redis_url *u, const char *query)
{
    struct evkeyvalq q;
    rc r = OK;

    if (evhttp_parse_query_str(query, &q) != 0)
        return fail(cx, CONFIG, "redis_url: what follows the ? cannot be read");
    for (struct evkeyval *kv = q.tqh_first; kv && r == OK; kv = kv->next.tqe_next) {
        if (str_eq(kv->key, "db")) {
            r = set_db(cx, u, kv->value);
        } else if (str_eq(kv->key, "ca")) {
            free(u->ca);
            u->ca = xstrdup(kv->value);
        } else if (str_eq(kv->key, "user")) {
            set_secret(&u->user, xstrdup(kv->value));
        } else if (str_eq(kv->key, "password")) {
            set_secret(&u->password, xstrdup(kv->value));
        } else {
            r = fail(cx, CONFIG, "redis_url: unknown option, db, ca, user and password are known");
        }
    }
    evhttp_clear_headers(&q);
    return r;
}

static rc set_place(struct cx *cx, struct redis_url *u, const struct evhttp_uri *uri)
{
    const char *scheme = evhttp_uri_get_scheme(uri), *host = evhttp_uri_get_host(uri);
    const char *path = evhttp_uri_get_path(uri);

    if (str_eq(scheme, "unix")) {
        if (str_empty(path) || path[0] != '/')
            return fail(cx, CONFIG, "redis_url: unix: needs an absolute path");
        if (strlen(path) >= sizeof((struct sockaddr_un *)NULL)->sun_path)
            return fail(cx, CONFIG, "redis_url: the socket's path is too long");
        u->path = evhttp_uridecode(path, 0, NULL);
        u->shown = xasprintf("unix:%s", u->path);
        return OK;
    }
    u->tls = str_eq(scheme, "rediss");
    if (!u->tls && !str_eq(scheme, "redis"))
        return fail(cx, CONFIG, "redis_url must begin with redis://, rediss:// or unix:/");
    if (str_empty(host))
        host = "127.0.0.1";
    size_t n = strlen(host);
    u->host = host[0] == '[' ? xstrndup(host + 1, n - 2) : xstrdup(host);
    u->port = evhttp_uri_get_port(uri);
    if (u->port == -1)
        u->port = 6379;
    if (u->port < 1 || u->port > 65535)
        return fail(cx, CONFIG, "redis_url: the port must be from 1 to 65535");
    u->shown = xasprintf("%s://%s:%d", scheme, host, u->port);
    if (!str_empty(path) && !str_eq(path, "/"))
        try(set_db(cx, u, path + 1));
    return OK;
}

rc redis_url_parse(struct cx *cx, const char *text, struct redis_url *ret)
{
    _cleanup_(uri_freep) struct evhttp_uri *uri = evhttp_uri_parse(text);

    *ret = (struct redis_url){0};
    if (!uri)
        return fail(
            cx, CONFIG,
            "redis_url cannot be read (are special characters in the password written as %%XX?)");
    try(set_place(cx, ret, uri));
    if (evhttp_uri_get_userinfo(uri))
        try(set_userinfo(cx, ret, evhttp_uri_get_userinfo(uri)));
    if (evhttp_uri_get_query(uri))
        try(set_query(cx, ret, evhttp_uri_get_query(uri)));
    if (ret->user && !ret->password)
        return fail(cx, CONFIG, "redis_url: a user needs a password");
    if (ret->password && !ret->user)
        ret->user = xstrdup("default");
    if (ret->ca && !ret->tls)
        return fail(cx, CONFIG, "redis_url: ca is for rediss:// only");
    return OK;
}

void redis_url_release(struct redis_url *u)
{
    set_secret(&u->user, NULL);
    set_secret(&u->password, NULL);
    free(u->path);
    free(u->host);
    free(u->ca);
    free(u->shown);
    *u = (struct redis_url){0};
}
