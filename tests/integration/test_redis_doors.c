/* test_redis_doors.c - who is let in, who is not trusted: users, TLS, strangers, nobody. */
#include "base/log.h"
#include "base/text.h"
#include "tests/integration/redis_case.h"
#include "tests/support/certs.h"
#include <event2/listener.h>
#include <event2/util.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static rc acl(struct cx *cx, void *arg)
{
    char url[256];
    redis_one(stores.redis_url, "ACL SETUSER shop on >p@ss/w:rd ~* +@all -ping");
    snprintf(url, sizeof url, "redis://shop:p%%40ss%%2Fw%%3Ard@127.0.0.1:%d/3", stores.redis_port);
    _redis_ tcp = open_url(cx, url);
    snprintf(url, sizeof url, "%s?user=shop&password=p%%40ss/w:rd", stores.redis_url);
    _redis_ local = open_url(cx, url);
    snprintf(url, sizeof url, "redis://shop:guess@127.0.0.1:%d", stores.redis_port);
    _redis_ wrong = open_url(cx, url);
    snprintf(url, sizeof url, "redis://nobody:guess@127.0.0.1:%d", stores.redis_port);
    _redis_ nobody = open_url(cx, url);
    _cleanup_(redis_reply_freep) redisReply *who = NULL;

    ck_ok(redis_cmd(cx, tcp, &who, "ACL WHOAMI"));
    ck_assert_str_eq(who->str, "shop");
    ck_ok(redis_cmd(cx, tcp, NULL, "SET only_in_three 1"));
    ck_assert_int_eq(ask_int(cx, tcp, "EXISTS only_in_three"), 1);
    ck_assert_int_eq(ask_int(cx, local, "EXISTS only_in_three"), 0);
    ck_rc(within(cx, 1000, wrong, "GET a"), E_STORE_DOWN);
    ck_assert(strstr(cx_words(cx, E_STORE_DOWN), "WRONGPASS"));
    ck_assert(!strstr(cx_words(cx, E_STORE_DOWN), "guess"));
    ck_rc(within(cx, 1000, nobody, "GET a"), E_STORE_DOWN);
    ck_assert_msg(strstr(cx_words(cx, E_STORE_DOWN), "WRONGPASS"), "%s",
                  cx_words(cx, E_STORE_DOWN));
    return OK;
}

START_TEST(users_and_databases)
{
    ck_ok(on_fiber(acl, NULL));
}
END_TEST

static rc nobody_home(struct cx *cx, void *arg)
{
    char url[64];
    struct redis *r = NULL;

    snprintf(url, sizeof url, "redis://127.0.0.1:%d", free_port());
    _redis_ refused = open_url(cx, url);
    _redis_ unknown = open_url(cx, "redis://no-such-host.invalid:6379");
    _redis_ file = open_url(cx, "unix:/nowhere/redis.sock");
    ck_rc(within(cx, 100, refused, "PING"), E_STORE_DOWN);
    ck_assert(strstr(cx_words(cx, E_STORE_DOWN), "refused"));
    ck_rc(within(cx, 100, file, "PING"), E_STORE_DOWN);
    ck_assert(strstr(cx_words(cx, E_STORE_DOWN), "No such file"));
    ck_rc(within(cx, 100, unknown, "PING"), E_STORE_DOWN);
    unknown = redis_free(unknown); /* also while its name is being looked up */
    ck_rc(redis_new(cx, "http://user:hidden@host", &r), E_CONFIG);
    ck_assert(!strstr(cx_words(cx, E_CONFIG), "hidden"));
    ck_assert_ptr_null(r);
    return OK;
}

START_TEST(nobody_answers)
{
    ck_ok(on_fiber(nobody_home, NULL));
}
END_TEST

/* Servers that take the connection and are no Redis, or not yet. */
static const struct {
    const char *title, *says, *words; /* says NULL: closes at once */
} strangers[] = {
    {"a web server", "HTTP/1.1 400 Bad Request\r\n\r\n", "not the Redis protocol"},
    {"still loading", "*0\r\n-LOADING Redis is loading the dataset in memory\r\n", "LOADING"},
    {"too old to greet", "-ERR unknown command 'HELLO'\r\n+PONG\r\n", "unknown command"},
    {"silence", "", "not connected yet"},
    {"closes at once", NULL, "closed the connection"},
};

/* Keeps the words of a failure, which end with the fiber. */
struct heard {
    fiber_fn fn;
    void *arg;
    char words[320];
};

static rc hear(struct cx *cx, void *arg)
{
    struct heard *h = arg;
    rc r = h->fn(cx, h->arg);

    snprintf(h->words, sizeof h->words, "%s", cx_words(cx, r));
    return r;
}

struct stranger {
    const char *says;
    int fds[64], n;
};

static void on_accept(struct evconnlistener *listener, evutil_socket_t fd, struct sockaddr *from,
                      int len, void *arg)
{
    struct stranger *s = arg;

    if (!s->says || s->n == (int)COUNT(s->fds)) {
        evutil_closesocket(fd);
        return;
    }
    ck_assert_int_eq(send(fd, s->says, strlen(s->says), 0), (ssize_t)strlen(s->says));
    s->fds[s->n++] = fd;
}

static rc meet(struct cx *cx, void *arg)
{
    struct stranger *s = arg;
    struct sockaddr_in here = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int port = free_port();
    char url[64];

    here.sin_port = htons((uint16_t)port);
    struct evconnlistener *listener =
        evconnlistener_new_bind(loop_base(), on_accept, s, LEV_OPT_CLOSE_ON_FREE, -1,
                                (struct sockaddr *)&here, sizeof here);
    ck_assert_ptr_nonnull(listener);
    snprintf(url, sizeof url, "redis://127.0.0.1:%d", port);
    _redis_ r = open_url(cx, url);
    rc result = within(cx, 150, r, "PING");
    evconnlistener_free(listener);
    for (int i = 0; i < s->n; i++)
        evutil_closesocket(s->fds[i]);
    return result;
}

START_TEST(strangers_are_not_trusted)
{
    for (size_t i = 0; i < COUNT(strangers); i++) {
        struct stranger s = {.says = strangers[i].says};
        struct heard h = {.fn = meet, .arg = &s};
        ck_rc(on_fiber(hear, &h), E_STORE_DOWN);
        ck_assert_msg(strstr(h.words, strangers[i].words), "case: %s: %s", strangers[i].title,
                      h.words);
    }
}
END_TEST

struct tls {
    struct certs certs;
    int port;
};

static rc tls(struct cx *cx, void *arg)
{
    const struct tls *t = arg;
    char url[256];
    struct redis *none = NULL;

    snprintf(url, sizeof url, "rediss://127.0.0.1:%d?ca=%s", t->port, t->certs.ca);
    ck_ok(big(cx, url));
    _redis_ good = open_url(cx, url);
    snprintf(url, sizeof url, "rediss://localhost:%d/0?ca=%s", t->port, t->certs.ca);
    _redis_ named = open_url(cx, url);
    snprintf(url, sizeof url, "rediss://127.0.0.2:%d?ca=%s", t->port, t->certs.ca);
    _redis_ other = open_url(cx, url);
    snprintf(url, sizeof url, "rediss://127.0.0.1:%d", t->port);
    _redis_ stranger = open_url(cx, url);
    snprintf(url, sizeof url, "rediss://127.0.0.1:%d?ca=/nowhere.pem", t->port);

    ck_ok(redis_cmd(cx, good, NULL, "SET over tls"));
    ck_ok(redis_cmd(cx, named, NULL, "GET over"));
    ck_rc(within(cx, 400, other, "PING"), E_STORE_DOWN);
    ck_assert_msg(strstr(cx_words(cx, E_STORE_DOWN), "certificate"), "%s",
                  cx_words(cx, E_STORE_DOWN));
    ck_rc(within(cx, 400, stranger, "PING"), E_STORE_DOWN);
    ck_assert_msg(strstr(cx_words(cx, E_STORE_DOWN), "certificate"), "%s",
                  cx_words(cx, E_STORE_DOWN));
    ck_rc(redis_new(cx, url, &none), E_CONFIG);
    return OK;
}

START_TEST(through_tls)
{
    struct tls t = {.port = free_port()};
    char port[16];
    const char *argv[] = {"redis-server",
                          "--port",
                          "0",
                          "--tls-port",
                          port,
                          "--tls-cert-file",
                          t.certs.cert,
                          "--tls-key-file",
                          t.certs.key,
                          "--tls-ca-cert-file",
                          t.certs.ca,
                          "--save",
                          "",
                          "--tls-auth-clients",
                          "no",
                          "--bind",
                          "127.0.0.1",
                          "127.0.0.2",
                          "--dir",
                          support_dir(),
                          NULL};
    struct proc_opts o = {.name = "redis-tls", .argv = argv};

    certs_make(&t.certs, support_dir());
    snprintf(port, sizeof port, "%d", t.port);
    struct proc *server = proc_start(&o);
    ck_ok(on_fiber(tls, &t));
    proc_stop(server, 2000);
    proc_free(server);
}
END_TEST

int main(void)
{
    const struct row rows[] = {
        {"users and databases", users_and_databases},
        {"nobody answers", nobody_answers},
        {"strangers are not trusted", strangers_are_not_trusted},
        {"through TLS", through_tls},
    };

    stores_start(&stores, &(struct stores_opts){.no_pg = true});
    log_setup(stderr, LOG_ERROR, LOG_LOGFMT);
    int failed = suite_run(make_suite("redis, doors", rows, COUNT(rows)));
    stores_stop(&stores);
    return support_end(failed);
}
