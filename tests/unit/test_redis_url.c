/* test_redis_url.c - the setting redis_url, taken apart. */
#include "base/text.h"
#include "redis/url.h"
#include "unit.h"
#include <string.h>

#define place(h, p)                                                                                \
    {                                                                                              \
        .host = (char *)(h), .port = (p)                                                           \
    }
#define PLACES_OF(_1, _2, _3, _4, _5, _6, NAME, ...) NAME
#define places3(a, p, b, q, c, r)                    ((struct redis_place[]){place(a, p), place(b, q), place(c, r)})
#define places2(a, p, b, q)                          ((struct redis_place[]){place(a, p), place(b, q)})
#define places1(a, p)                                ((struct redis_place[]){place(a, p)})
#define places(...)                                  PLACES_OF(__VA_ARGS__, places3, 0, places2, 0, places1, 0)(__VA_ARGS__)

static const struct {
    const char *title, *text;
    struct redis_url want; /* shown NULL: refused */
} urls[] = {
    {"the default",
     "redis://127.0.0.1:6379",
     {.host = (char *)"127.0.0.1", .port = 6379, .shown = (char *)"redis://127.0.0.1:6379"}},
    {"nothing but the scheme",
     "redis://",
     {.host = (char *)"127.0.0.1", .port = 6379, .shown = (char *)"redis://127.0.0.1:6379"}},
    {"a slash and no database",
     "redis://cache/",
     {.host = (char *)"cache", .port = 6379, .shown = (char *)"redis://cache:6379"}},
    {"a database",
     "redis://cache:7000/12",
     {.host = (char *)"cache", .port = 7000, .db = 12, .shown = (char *)"redis://cache:7000"}},
    {"a password alone",
     "redis://:s3cret@cache",
     {.host = (char *)"cache",
      .port = 6379,
      .user = (char *)"default",
      .password = (char *)"s3cret",
      .shown = (char *)"redis://cache:6379"}},
    {"user and password, percent-encoded",
     "rediss://sh%40p:p%3A%2F%23w@cache:6380/1?ca=/etc/ca.pem",
     {.tls = true,
      .host = (char *)"cache",
      .port = 6380,
      .db = 1,
      .user = (char *)"sh@p",
      .password = (char *)"p:/#w",
      .ca = (char *)"/etc/ca.pem",
      .shown = (char *)"rediss://cache:6380"}},
    {"IPv6",
     "redis://[::1]:7000",
     {.host = (char *)"::1", .port = 7000, .shown = (char *)"redis://[::1]:7000"}},
    {"a unix socket",
     "unix:/run/redis.sock",
     {.path = (char *)"/run/redis.sock", .shown = (char *)"unix:/run/redis.sock"}},
    {"a unix socket with slashes",
     "unix:///run/redis.sock?db=3",
     {.path = (char *)"/run/redis.sock", .db = 3, .shown = (char *)"unix:/run/redis.sock"}},
    {"a unix socket with a user",
     "unix:/r.sock?user=a&password=b%20c",
     {.path = (char *)"/r.sock",
      .user = (char *)"a",
      .password = (char *)"b c",
      .shown = (char *)"unix:/r.sock"}},
    {"empty", "", {0}},
    {"no scheme", "127.0.0.1:6379", {0}},
    {"another scheme", "http://hidden:hidden@cache", {0}},
    {"a user without a password", "redis://hidden@cache", {0}},
    {"a user without a password in the query", "unix:/r.sock?user=hidden", {0}},
    {"a database that is none", "redis://cache/hidden", {0}},
    {"a negative database", "redis://cache/-1", {0}},
    {"port 0", "redis://cache:0", {0}},
    {"port 70000", "redis://cache:70000", {0}},
    {"a relative socket", "unix:hidden.sock", {0}},
    {"a socket's path of 200 letters",
     "unix:/"
     "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
     "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
     {0}},
    {"an unknown option", "redis://cache?timeout=hidden", {0}},
    {"our own certificate",
     "rediss://cache?ca=/ca.pem&cert=/me.pem&key=/me.key",
     {.tls = true,
      .host = (char *)"cache",
      .port = 6379,
      .ca = (char *)"/ca.pem",
      .cert = (char *)"/me.pem",
      .key = (char *)"/me.key",
      .shown = (char *)"rediss://cache:6379"}},
    {"sentinels",
     "redis-sentinel://:pw@one,two:7000,[::1]:7001/shop/2?sentinel_password=s%40w",
     {.kind = REDIS_SENTINEL,
      .places = places("one", 26379, "two", 7000, "::1", 7001),
      .nplaces = 3,
      .master = (char *)"shop",
      .db = 2,
      .user = (char *)"default",
      .password = (char *)"pw",
      .sentinel_user = (char *)"default",
      .sentinel_password = (char *)"s@w",
      .shown = (char *)"redis-sentinel://one:26379,two:7000,[::1]:7001/shop"}},
    {"sentinels over TLS, by the other name",
     "rediss+sentinel://one/a%2Fb?sentinel_user=me&sentinel_password=pw",
     {.kind = REDIS_SENTINEL,
      .tls = true,
      .places = places("one", 26379),
      .nplaces = 1,
      .master = (char *)"a/b",
      .sentinel_user = (char *)"me",
      .sentinel_password = (char *)"pw",
      .shown = (char *)"rediss+sentinel://one:26379/a/b"}},
    {"a cluster",
     "redis-cluster://me:pw@one,two:7000",
     {.kind = REDIS_CLUSTER,
      .places = places("one", 6379, "two", 7000),
      .nplaces = 2,
      .user = (char *)"me",
      .password = (char *)"pw",
      .shown = (char *)"redis-cluster://one:6379,two:7000"}},
    {"sentinels without a master", "redis-sentinel://hidden", {0}},
    {"sentinels with an empty master", "redis-sentinel://hidden//2", {0}},
    {"sentinels of nobody", "redis-sentinel:///hidden", {0}},
    {"a sentinel's port that is none", "redis-sentinel://one,two:hid/shop", {0}},
    {"a sentinel's user without a password", "redis-sentinel://one/shop?sentinel_user=hidden", {0}},
    {"a sentinel's password for a Redis", "redis://one?sentinel_password=hidden", {0}},
    {"a cluster with a database", "redis-cluster://one/3", {0}},
    {"a cluster with a database in the query", "redis-cluster://one?db=3", {0}},
    {"two hosts of a lone Redis", "redis://:hidden@one,two", {0}},
    {"a certificate without its key", "rediss://cache?cert=/hidden.pem", {0}},
    {"a certificate without TLS", "redis://cache?cert=/hidden.pem&key=/hidden.key", {0}},
    {"a CA without TLS", "redis://cache?ca=/hidden.pem", {0}},
    {"a space", "redis://:hid den@cache", {0}},
};

static bool same_places(const struct redis_url *a, const struct redis_url *b)
{
    if (a->nplaces != b->nplaces)
        return false;
    for (size_t i = 0; i < a->nplaces; i++)
        if (!str_eq(a->places[i].host, b->places[i].host) || a->places[i].port != b->places[i].port)
            return false;
    return true;
}

static bool same(const struct redis_url *a, const struct redis_url *b)
{
    return a->kind == b->kind && same_places(a, b) && str_eq(a->master, b->master) &&
           str_eq(a->sentinel_user, b->sentinel_user) &&
           str_eq(a->sentinel_password, b->sentinel_password) && str_eq(a->cert, b->cert) &&
           str_eq(a->key, b->key) && a->tls == b->tls && str_eq(a->path, b->path) &&
           str_eq(a->host, b->host) && a->port == b->port && a->db == b->db &&
           str_eq(a->user, b->user) && str_eq(a->password, b->password) && str_eq(a->ca, b->ca) &&
           str_eq(a->shown, b->shown);
}

START_TEST(url_reads)
{
    _cleanup_(cx_release) struct cx cx = CX_PLAIN("test");
    _cleanup_(redis_url_release) struct redis_url u;
    rc r = redis_url_parse(&cx, urls[_i].text, &u);

    ck_assert_msg(r == (urls[_i].want.shown ? (rc)OK : (rc)E_CONFIG), "case: %s: %s",
                  urls[_i].title, cx_words(&cx, r));
    if (r == OK)
        ck_assert_msg(same(&u, &urls[_i].want), "case: %s: shown as %s", urls[_i].title, u.shown);
    else
        ck_assert_msg(!strstr(cx_words(&cx, r), "hid"), "case: %s: %s", urls[_i].title,
                      cx_words(&cx, r));
}
END_TEST

UNIT(redis_url, {"url", url_reads, COUNT(urls)})
