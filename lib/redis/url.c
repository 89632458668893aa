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

/* For _cleanup_: a text that may hold a password. */
static void secret_freep(char **text)
{
    if (*text)
        OPENSSL_cleanse(*text, strlen(*text));
    free(*text);
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

/* Options that are a text of their own. */
static char **text_option(struct redis_url *u, const char *name, bool *ret_secret)
{
    const struct {
        const char *name;
        char **where;
        bool secret;
    } options[] = {
        {"ca", &u->ca, false},
        {"cert", &u->cert, false},
        {"key", &u->key, false},
        {"password", &u->password, true},
        {"sentinel_password", &u->sentinel_password, true},
        {"sentinel_user", &u->sentinel_user, true},
        {"user", &u->user, true},
    };
    for (size_t i = 0; i < COUNT(options); i++)
        if (str_eq(options[i].name, name)) {
            *ret_secret = options[i].secret;
            return options[i].where;
        }
    return NULL;
}

static rc set_query(struct cx *cx, struct redis_url *u, const char *query)
{
    struct evkeyvalq q;
    rc r = OK;

    if (evhttp_parse_query_str(query, &q) != 0)
        return fail(cx, CONFIG, "redis_url: what follows the ? cannot be read");
    for (struct evkeyval *kv = q.tqh_first; kv && r == OK; kv = kv->next.tqe_next) {
        bool secret = false;
        char **where = text_option(u, kv->key, &secret);
        if (str_eq(kv->key, "db"))
            r = set_db(cx, u, kv->value);
        else if (where)
            set_secret(where, xstrdup(kv->value));
        else
            r = fail(cx, CONFIG,
                     "redis_url: unknown option; db, user, password, ca, cert, key, sentinel_user "
                     "and sentinel_password are known");
    }
    evhttp_clear_headers(&q);
    return r;
}

/* ---------------------------------------------------------------- where */

static const struct scheme {
    const char *name;
    enum redis_kind kind;
    bool tls;
} schemes[] = {
    {"redis", REDIS_ONE, false},
    {"rediss", REDIS_ONE, true},
    {"redis-cluster", REDIS_CLUSTER, false},
    {"rediss-cluster", REDIS_CLUSTER, true},
    {"redis+cluster", REDIS_CLUSTER, false},
    {"rediss+cluster", REDIS_CLUSTER, true},
    {"redis-sentinel", REDIS_SENTINEL, false},
    {"rediss-sentinel", REDIS_SENTINEL, true},
    {"redis+sentinel", REDIS_SENTINEL, false},
    {"rediss+sentinel", REDIS_SENTINEL, true},
};

static const struct scheme *scheme_of(const char *name)
{
    for (size_t i = 0; i < COUNT(schemes); i++)
        if (str_eq(schemes[i].name, name))
            return &schemes[i];
    return NULL;
}

/* host[:port], as the parser of URLs understands it. */
static rc place_of(struct cx *cx, const struct evhttp_uri *uri, int default_port,
                   struct redis_place *ret)
{
    const char *host = evhttp_uri_get_host(uri);
    int port = evhttp_uri_get_port(uri);

    if (str_empty(host))
        host = "127.0.0.1";
    if (port == -1)
        port = default_port;
    if (port < 1 || port > 65535)
        return fail(cx, CONFIG, "redis_url: the port must be from 1 to 65535");
    ret->host = host[0] == '[' ? xstrndup(host + 1, strlen(host) - 2) : xstrdup(host);
    ret->port = port;
    return OK;
}

/* Its last place, as it is written in a URL. */
static void show(struct redis_url *u, const char *between, const char *host, int port)
{
    char *before = u->shown;
    bool v6 = strchr(host, ':') != NULL;

    u->shown =
        xasprintf("%s%s%s%s%s:%d", before, between, v6 ? "[" : "", host, v6 ? "]" : "", port);
    free(before);
}

static rc add_place(struct cx *cx, struct redis_url *u, const char *text)
{
    _cleanup_(freep) char *url = xasprintf("redis://%s", text);
    _cleanup_(uri_freep) struct evhttp_uri *uri = evhttp_uri_parse(url);
    struct redis_place p;

    if (!uri || str_empty(evhttp_uri_get_host(uri)))
        return fail(cx, CONFIG, "redis_url: the hosts are host[:port], with commas between them");
    try(place_of(cx, uri, u->kind == REDIS_SENTINEL ? 26379 : 6379, &p));
    u->places = xrealloc(u->places, (u->nplaces + 1) * sizeof *u->places);
    u->places[u->nplaces++] = p;
    show(u, u->nplaces == 1 ? "" : ",", p.host, p.port);
    return OK;
}

/* host[:port],host[:port]… */
static rc set_places(struct cx *cx, struct redis_url *u, const char *list)
{
    _cleanup_(freep) char *text = xstrdup(list);
    char *save = NULL;

    for (char *p = strtok_r(text, ",", &save); p; p = strtok_r(NULL, ",", &save))
        try(add_place(cx, u, p));
    if (u->nplaces == 0)
        return fail(cx, CONFIG, "redis_url: no host is named");
    return OK;
}

/* /MASTER[/db] */
static rc set_master(struct cx *cx, struct redis_url *u, const char *path)
{
    const char *slash = str_empty(path) ? NULL : strchr(path + 1, '/');

    if (str_empty(path) || path[1] == 0 || slash == path + 1)
        return fail(cx, CONFIG, "redis_url: the master's name is missing (…/NAME)");
    _cleanup_(freep) char *name =
        slash ? xstrndup(path + 1, (size_t)(slash - path - 1)) : xstrdup(path + 1);
    u->master = evhttp_uridecode(name, 0, NULL);
    char *before = u->shown;
    u->shown = xasprintf("%s/%s", before, u->master);
    free(before);
    return slash && slash[1] ? set_db(cx, u, slash + 1) : OK;
}

static rc set_place(struct cx *cx, struct redis_url *u, const struct evhttp_uri *uri,
                    const char *list)
{
    const char *scheme = evhttp_uri_get_scheme(uri), *path = evhttp_uri_get_path(uri);
    const struct scheme *known = scheme_of(scheme);
    struct redis_place p;

    if (str_eq(scheme, "unix")) {
        if (str_empty(path) || path[0] != '/')
            return fail(cx, CONFIG, "redis_url: unix: needs an absolute path");
        if (strlen(path) >= sizeof((struct sockaddr_un *)NULL)->sun_path)
            return fail(cx, CONFIG, "redis_url: the socket's path is too long");
        u->path = evhttp_uridecode(path, 0, NULL);
        u->shown = xasprintf("unix:%s", u->path);
        return OK;
    }
    if (!known)
        return fail(cx, CONFIG,
                    "redis_url must begin with redis://, rediss://, redis-sentinel://, "
                    "redis-cluster:// or unix:/");
    u->kind = known->kind;
    u->tls = known->tls;
    u->shown = xasprintf("%s://", scheme);
    if (u->kind == REDIS_ONE) {
        try(place_of(cx, uri, 6379, &p));
        u->host = p.host;
        u->port = p.port;
        show(u, "", u->host, u->port);
        return str_empty(path) || str_eq(path, "/") ? OK : set_db(cx, u, path + 1);
    }
    try(set_places(cx, u, list));
    if (u->kind == REDIS_SENTINEL)
        return set_master(cx, u, path);
    if (!str_empty(path) && !str_eq(path, "/"))
        return fail(cx, CONFIG, "redis_url: a cluster has one database only");
    return OK;
}

/* A list of hosts is cut out, its first one left in: "scheme://user:pw@A,B/path" becomes
 * "scheme://user:pw@A/path" and the list "A,B". */
static char *cut_list(const char *text, char **ret_list)
{
    const char *from = strstr(text, "://");

    *ret_list = NULL;
    if (!from)
        return xstrdup(text);
    from += 3;
    const char *end = from + strcspn(from, "/?#");
    for (const char *at = from; at < end; at++)
        if (*at == '@')
            from = at + 1;
    *ret_list = xstrndup(from, (size_t)(end - from));
    return xasprintf("%.*s%s", (int)((size_t)(from - text) + strcspn(*ret_list, ",")), text, end);
}

static rc check(struct cx *cx, struct redis_url *u)
{
    if ((u->user && !u->password) || (u->sentinel_user && !u->sentinel_password))
        return fail(cx, CONFIG, "redis_url: a user needs a password");
    if (u->password && !u->user)
        u->user = xstrdup("default");
    if (u->sentinel_password && !u->sentinel_user)
        u->sentinel_user = xstrdup("default");
    if (u->sentinel_user && u->kind != REDIS_SENTINEL)
        return fail(cx, CONFIG,
                    "redis_url: sentinel_user and sentinel_password are for "
                    "redis-sentinel:// only");
    if ((u->ca || u->cert || u->key) && !u->tls)
        return fail(cx, CONFIG, "redis_url: ca, cert and key are for rediss:// only");
    if (!u->cert != !u->key)
        return fail(cx, CONFIG, "redis_url: cert and key belong together");
    if (u->kind == REDIS_CLUSTER && u->db)
        return fail(cx, CONFIG, "redis_url: a cluster has one database only");
    return OK;
}

rc redis_url_parse(struct cx *cx, const char *text, struct redis_url *ret)
{
    _cleanup_(freep) char *list = NULL;
    _cleanup_(secret_freep) char *one = cut_list(text, &list);
    _cleanup_(uri_freep) struct evhttp_uri *uri = evhttp_uri_parse(one);

    *ret = (struct redis_url){0};
    if (!uri)
        return fail(
            cx, CONFIG,
            "redis_url cannot be read (are special characters in the password written as %%XX?)");
    if (list && strchr(list, ',') && scheme_of(evhttp_uri_get_scheme(uri)) &&
        scheme_of(evhttp_uri_get_scheme(uri))->kind == REDIS_ONE)
        return fail(cx, CONFIG,
                    "redis_url: several hosts need redis-sentinel:// or "
                    "redis-cluster://");
    try(set_place(cx, ret, uri, list));
    if (evhttp_uri_get_userinfo(uri))
        try(set_userinfo(cx, ret, evhttp_uri_get_userinfo(uri)));
    if (evhttp_uri_get_query(uri))
        try(set_query(cx, ret, evhttp_uri_get_query(uri)));
    return check(cx, ret);
}

/* ---------------------------------------------------------------- others made of it */

static void copy_tls(const struct redis_url *u, struct redis_url *ret)
{
    *ret = (struct redis_url){
        .tls = u->tls, .ca = xstrdup(u->ca), .cert = xstrdup(u->cert), .key = xstrdup(u->key)};
}

void redis_url_go(struct redis_url *u, const char *host, int port)
{
    char *old = u->host;

    u->host = xstrdup(host);
    u->port = port;
    free(old);
}

void redis_url_of_node(const struct redis_url *u, const char *host, int port, struct redis_url *ret)
{
    copy_tls(u, ret);
    ret->user = xstrdup(u->user);
    ret->password = xstrdup(u->password);
    redis_url_go(ret, host, port);
    ret->shown = xstrdup(u->tls ? "rediss://" : "redis://");
    show(ret, "", host, port);
}

void redis_url_of_sentinels(const struct redis_url *u, struct redis_url *ret)
{
    copy_tls(u, ret);
    ret->user = xstrdup(u->sentinel_user);
    ret->password = xstrdup(u->sentinel_password);
    ret->nplaces = u->nplaces;
    ret->places = xmalloc(u->nplaces * sizeof *ret->places);
    for (size_t i = 0; i < u->nplaces; i++)
        ret->places[i] =
            (struct redis_place){.host = xstrdup(u->places[i].host), .port = u->places[i].port};
    redis_url_go(ret, u->places[0].host, u->places[0].port);
    ret->shown = xasprintf("sentinels of %s", u->master);
}

void redis_url_release(struct redis_url *u)
{
    set_secret(&u->user, NULL);
    set_secret(&u->password, NULL);
    set_secret(&u->sentinel_user, NULL);
    set_secret(&u->sentinel_password, NULL);
    for (size_t i = 0; i < u->nplaces; i++)
        free(u->places[i].host);
    free(u->places);
    free(u->path);
    free(u->host);
    free(u->master);
    free(u->ca);
    free(u->cert);
    free(u->key);
    free(u->shown);
    *u = (struct redis_url){0};
}
