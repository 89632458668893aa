/* test_http.c - how far a request got, against a server that misbehaves in every way it can. */
#include "base/clock.h"
#include "base/text.h"
#include "rt/http.h"
#include "tests/support/fibers.h"
#include "tests/unit/unit.h"
#include <arpa/inet.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

/* ---------------------------------------------------------------- the server: what it does is in the path */

static struct {
    int fd, port;
    int connections;
    pthread_mutex_t lock;
    char seen[4096]; /* the last request; under the lock, a thread a connection writes here */
} server = {.lock = PTHREAD_MUTEX_INITIALIZER};

static void say(int fd, const char *text)
{
    ck_assert_int_eq(write(fd, text, strlen(text)), (ssize_t)strlen(text));
}

static bool read_request(int fd, char *out, size_t size)
{
    size_t n = 0;

    while (n + 1 < size) {
        ssize_t k = read(fd, out + n, size - 1 - n);
        if (k <= 0)
            return false;
        n += (size_t)k;
        out[n] = 0;
        const char *end = strstr(out, "\r\n\r\n"), *length = strstr(out, "Content-Length: ");
        if (end && n >= (size_t)(end + 4 - out) + (length ? (size_t)atoi(length + 16) : 0))
            return true;
    }
    return false;
}

/* Answers one request; false when the connection ends. */
static bool answer(int fd, const char *request)
{
    const char *path = strchr(request, ' ') + 1;

    if (starts_with(path, "/ok")) {
        say(fd, "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 5\r\n\r\nhello");
        return true;
    }
    if (starts_with(path, "/status")) {
        say(fd, "HTTP/1.1 429 Slow\r\nRetry-After: 7\r\nLocation:  /else \r\nContent-Length: "
                "0\r\n\r\n");
        return true;
    }
    if (starts_with(path, "/redirect")) {
        say(fd, "HTTP/1.1 302 Found\r\nLocation: /ok\r\nContent-Length: 0\r\n\r\n");
        return true;
    }
    if (starts_with(path, "/until-close"))
        say(fd, "HTTP/1.1 200 OK\r\n\r\nall of it");
    if (starts_with(path, "/chunked"))
        say(fd, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n");
    if (starts_with(path, "/half-body"))
        say(fd, "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nOK|10");
    if (starts_with(path, "/half-chunk"))
        say(fd, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n50\r\nOK|10");
    if (starts_with(path, "/half-head"))
        say(fd, "HTTP/1.1 200 OK\r\nConte");
    if (starts_with(path, "/no-http"))
        say(fd, "OK|10.12|980.88\n");
    if (starts_with(path, "/nul")) {
        static const char text[] = "HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\na\0b";
        ck_assert_int_eq(write(fd, text, sizeof text - 1), sizeof text - 1);
    }
    if (starts_with(path, "/big")) {
        static char block[65536];
        memset(block, 'x', sizeof block);
        say(fd, "HTTP/1.1 200 OK\r\nContent-Length: 2097152\r\n\r\n");
        for (int i = 0; i < 32; i++) {
            if (send(fd, block, sizeof block, MSG_NOSIGNAL) <= 0)
                break;
        }
    }
    if (starts_with(path, "/reset")) {
        struct linger hard = {1, 0};
        setsockopt(fd, SOL_SOCKET, SO_LINGER, &hard, sizeof hard);
    }
    if (starts_with(path, "/silence")) {
        char c;
        while (read(fd, &c, 1) > 0)
            ;
    }
    return false; /* "/close" and all above */
}

/* A copy of the last request; "" when there was none. The caller frees. */
static char *seen(void)
{
    pthread_mutex_lock(&server.lock);
    char *text = xstrdup(server.seen);
    pthread_mutex_unlock(&server.lock);
    return text;
}

static bool seen_any(void)
{
    _cleanup_(freep) char *text = seen();

    return *text != 0;
}

static void *serve_one(void *arg)
{
    int fd = (int)(intptr_t)arg;
    char request[4096];

    while (read_request(fd, request, sizeof request)) {
        pthread_mutex_lock(&server.lock);
        memcpy(server.seen, request, strlen(request) + 1);
        pthread_mutex_unlock(&server.lock);
        if (!answer(fd, request))
            break;
    }
    close(fd);
    return NULL;
}

static void *serve(void *arg)
{
    int fd;

    while ((fd = accept(server.fd, NULL, NULL)) >= 0) {
        pthread_t t;
        __atomic_add_fetch(&server.connections, 1, __ATOMIC_SEQ_CST);
        ck_assert_int_eq(pthread_create(&t, NULL, serve_one, (void *)(intptr_t)fd), 0);
        pthread_detach(t);
    }
    return NULL;
}

static void server_start(void)
{
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t n = sizeof a;
    pthread_t t;

    server.fd = socket(AF_INET, SOCK_STREAM, 0);
    ck_assert_int_eq(bind(server.fd, (struct sockaddr *)&a, sizeof a), 0);
    ck_assert_int_eq(listen(server.fd, 64), 0);
    ck_assert_int_eq(getsockname(server.fd, (struct sockaddr *)&a, &n), 0);
    server.port = ntohs(a.sin_port);
    ck_assert_int_eq(pthread_create(&t, NULL, serve, NULL), 0);
    pthread_detach(t);
}

/* ---------------------------------------------------------------- outcomes */

struct outcome_case {
    const char *title, *url; /* PORT is the server's, NONE one where nobody listens */
    enum http_outcome outcome;
    long status;
    const char *body, *why;
    bool local_only; /* the resolver is asked */
};

static const struct outcome_case outcomes[] = {
    {"a plain answer", "http://127.0.0.1:PORT/ok", HTTP_ANSWERED, 200, "hello", NULL},
    {"a chunked answer", "http://127.0.0.1:PORT/chunked", HTTP_ANSWERED, 200, "hello", NULL},
    {"an answer that ends with the connection", "http://127.0.0.1:PORT/until-close", HTTP_ANSWERED,
     200, "all of it", NULL},
    {"an error status is an answer", "http://127.0.0.1:PORT/status", HTTP_ANSWERED, 429, "", NULL},
    {"a redirect is not followed", "http://127.0.0.1:PORT/redirect", HTTP_ANSWERED, 302, "", NULL},
    {"dots in the path stay", "http://127.0.0.1:PORT/ok/../close", HTTP_ANSWERED, 200, "hello",
     NULL},
    {"refused", "http://127.0.0.1:NONE/ok?sifre=geheim", HTTP_NOT_SENT, 0, "", "connect"},
    {"no such name", "http://nobody.invalid/ok?sifre=geheim", HTTP_NOT_SENT, 0, "", NULL},
    {"a TLS handshake with something else", "https://127.0.0.1:PORT/ok?sifre=geheim", HTTP_NOT_SENT,
     0, "", NULL},
    {"read, then closed", "http://127.0.0.1:PORT/close?sifre=geheim", HTTP_UNCLEAR, 0, "",
     "no complete answer"},
    {"read, then reset", "http://127.0.0.1:PORT/reset?sifre=geheim", HTTP_UNCLEAR, 0, "",
     "no complete answer"},
    {"half a head", "http://127.0.0.1:PORT/half-head?sifre=geheim", HTTP_UNCLEAR, 200, "",
     "no complete answer"},
    {"half a body", "http://127.0.0.1:PORT/half-body?sifre=geheim", HTTP_UNCLEAR, 200, "OK|10",
     "no complete answer"},
    {"half a chunk", "http://127.0.0.1:PORT/half-chunk?sifre=geheim", HTTP_UNCLEAR, 200, "OK|10",
     "no complete answer"},
    {"no HTTP at all", "http://127.0.0.1:PORT/no-http?sifre=geheim", HTTP_UNCLEAR, 0, NULL,
     "no complete answer"},
    {"no answer in time", "http://127.0.0.1:PORT/silence?sifre=geheim", HTTP_UNCLEAR, 0, "",
     "no complete answer"},
    {"more than allowed", "http://127.0.0.1:PORT/big?sifre=geheim", HTTP_UNCLEAR, 200, NULL,
     "longer than allowed"},
};

/* The URL with the real ports. */
static void write_url(const char *form, char *out, size_t size)
{
    const char *at = strstr(form, "PORT");
    int port = server.port;

    if (!at && (at = strstr(form, "NONE"))) {
        int fd = socket(AF_INET, SOCK_STREAM,
                        0); /* bound, never listening: refuses, and nobody else gets the port */
        struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
        socklen_t n = sizeof a;
        ck_assert_int_eq(bind(fd, (struct sockaddr *)&a, sizeof a), 0);
        getsockname(fd, (struct sockaddr *)&a, &n);
        port = ntohs(a.sin_port);
    }
    if (at)
        snprintf(out, size, "%.*s%d%s", (int)(at - form), form, port, at + 4);
    else
        snprintf(out, size, "%s", form);
}

/* Each case twice: over the fiber's own socket, and through libcurl, as where connections to a host are bounded. */
static rc call_outcome(struct cx *cx, void *arg)
{
    const int i = *(const int *)arg;
    const struct outcome_case *c = &outcomes[i / 2];
    struct http_response r;
    char url[256];

    http_init(/* max_host_connections= */ i % 2 ? 4 : 0);
    write_url(c->url, url, sizeof url);
    try(http_call(
        cx, &(struct http_request){.url = url, .connect_ms = 500, .total_ms = 700, .fresh = true},
        &r));
    ck_assert_msg(r.outcome == c->outcome && r.status == c->status,
                  "%s: outcome %d, status %ld: %s", c->title, (int)r.outcome, r.status, r.why);
    if (c->body)
        ck_assert_msg(strcmp(buf_str(&r.body), c->body) == 0, "%s: body '%s'", c->title,
                      buf_str(&r.body));
    ck_assert_uint_le(r.body.len, MiB(1));
    if (c->why)
        ck_assert_msg(strcasestr(r.why, c->why), "%s: why '%s'", c->title, r.why);
    ck_assert_msg((r.why[0] == 0) == (r.outcome == HTTP_ANSWERED), "%s: why '%s'", c->title, r.why);
    ck_assert_msg(!strstr(r.why, "geheim") && !strstr(r.why, "sifre") &&
                      !strstr(r.why, "127.0.0.1"),
                  "%s", r.why);
    http_response_release(&r);
    http_free();
    return OK;
}

START_TEST(outcome)
{
    server_start();
    ck_ok(on_fiber(call_outcome, &_i));
}
END_TEST

/* ---------------------------------------------------------------- what is read from an answer */

static rc call_facts(struct cx *cx, void *arg)
{
    struct http_response r;
    char url[128];

    http_init(0);
    snprintf(url, sizeof url, "http://127.0.0.1:%d/status", server.port);
    try(http_call(cx, &(struct http_request){.url = url}, &r));
    ck_assert_int_eq(r.retry_after_s, 7);
    http_response_release(&r);

    snprintf(url, sizeof url, "http://127.0.0.1:%d/nul", server.port);
    try(http_call(cx, &(struct http_request){.url = url}, &r));
    ck_assert_int_eq(r.outcome, HTTP_ANSWERED);
    ck_assert_int_eq(r.body.len, 3);
    ck_assert_int_eq(r.retry_after_s, -1);
    http_response_release(&r);

    snprintf(url, sizeof url, "http://127.0.0.1:%d/ok", server.port);
    static const struct http_header headers[] = {{"X-One", "eins"}, {"X-Empty", ""}, {NULL, NULL}};
    try(http_call(
        cx,
        &(struct http_request){
            .method = "POST", .url = url, .headers = headers, .body = "{\"a\":1}", .body_len = 7},
        &r));
    ck_assert_str_eq(r.content_type, "text/plain");
    _cleanup_(freep) char *got = seen();
    ck_assert_msg(starts_with(got, "POST /ok HTTP/1.1\r\n"), "%s", got);
    ck_assert_ptr_nonnull(strstr(got, "\r\nX-One: eins\r\n"));
    ck_assert_ptr_nonnull(strstr(got, "\r\nX-Empty:"));
    ck_assert_ptr_nonnull(strstr(got, "\r\n\r\n{\"a\":1}"));
    ck_assert_ptr_null(strstr(got, "Expect"));
    http_response_release(&r);
    http_free();
    return OK;
}

START_TEST(facts)
{
    server_start();
    ck_ok(on_fiber(call_facts, NULL));
}
END_TEST

/* ---------------------------------------------------------------- connections */

static rc call_connections(struct cx *cx, void *arg)
{
    struct http_response r;
    char url[128];

    http_init(0);
    snprintf(url, sizeof url, "http://127.0.0.1:%d/ok", server.port);
    for (int i = 0; i < 3; i++) {
        try(http_call(cx, &(struct http_request){.url = url}, &r));
        ck_assert_int_eq(r.outcome, HTTP_ANSWERED);
        http_response_release(&r);
    }
    ck_assert_int_eq(__atomic_load_n(&server.connections, __ATOMIC_SEQ_CST), 1);
    try(http_call(cx, &(struct http_request){.url = url, .fresh = true}, &r));
    http_response_release(&r);
    ck_assert_int_eq(__atomic_load_n(&server.connections, __ATOMIC_SEQ_CST), 2);
    /* a kept connection to a private address is not lent to a call that refuses those */
    ck_rc(http_call(cx, &(struct http_request){.url = url, .refuse_private = true}, &r),
          E_ADDRESS_REFUSED);
    ck_assert_int_eq(r.outcome, HTTP_NOT_SENT);
    http_response_release(&r);
    http_free();
    return OK;
}

START_TEST(kept_and_fresh)
{
    server_start();
    ck_ok(on_fiber(call_connections, NULL));
}
END_TEST

/* ---------------------------------------------------------------- refusals */

static const struct {
    const char *title, *url;
    rc want;
} refusals[] = {
    {"loopback", "http://127.0.0.1:PORT/ok", E_ADDRESS_REFUSED},
    {"a name for loopback", "http://localhost:PORT/ok", E_ADDRESS_REFUSED},
    {"loopback, short", "http://127.1:PORT/ok", E_ADDRESS_REFUSED},
    {"loopback as one number", "http://2130706433:PORT/ok", E_ADDRESS_REFUSED},
    {"loopback in octal", "http://0177.0.0.1:PORT/ok", E_ADDRESS_REFUSED},
    {"all zeros", "http://0.0.0.0:PORT/ok", E_ADDRESS_REFUSED},
    {"cloud metadata", "http://169.254.169.254/ok", E_ADDRESS_REFUSED},
    {"private", "http://192.168.0.1/ok", E_ADDRESS_REFUSED},
    {"IPv6 loopback", "http://[::1]:PORT/ok", E_ADDRESS_REFUSED},
    {"mapped loopback", "http://[::ffff:127.0.0.1]:PORT/ok", E_ADDRESS_REFUSED},
    {"not a URL", "hello geheim", E_INVALID_FIELD},
    {"nothing", "", E_INVALID_FIELD},
    {"another scheme", "ftp://127.0.0.1/geheim", E_INVALID_FIELD},
    {"a file", "file:///etc/passwd?geheim", E_INVALID_FIELD},
    {"no host", "http://:80/geheim", E_INVALID_FIELD},
    {"a line feed", "http://127.0.0.1/\r\ngeheim", E_INVALID_FIELD},
};

static rc call_refused(struct cx *cx, void *arg)
{
    struct http_response r;
    char url[128];
    int i = *(int *)arg;

    http_init(0);
    write_url(refusals[i].url, url, sizeof url);
    rc got = http_call(
        cx, &(struct http_request){.url = url, .total_ms = 2000, .refuse_private = true}, &r);
    ck_assert_msg(got == refusals[i].want, "%s: %s", refusals[i].title, error_info(got)->code);
    ck_assert_int_eq(r.outcome, HTTP_NOT_SENT);
    ck_assert_msg(!strstr(cx->err.text, "geheim"), "%s", cx->err.text);
    ck_assert_int_eq(__atomic_load_n(&server.connections, __ATOMIC_SEQ_CST), 0);
    http_response_release(&r);
    http_free();
    return OK;
}

START_TEST(refused)
{
    server_start();
    ck_ok(on_fiber(call_refused, &_i));
}
END_TEST

static rc call_bad_header(struct cx *cx, void *arg)
{
    static const struct http_header bad[][2] = {
        {{"X", "a\r\nY: b"}, {0}}, {{"X: Y", "a"}, {0}}, {{"X\n", "a"}, {0}}};
    struct http_response r;

    http_init(0);
    for (size_t i = 0; i < COUNT(bad); i++) {
        ck_rc(http_call(cx, &(struct http_request){.url = "http://127.0.0.1:1/", .headers = bad[i]},
                        &r),
              E_INVALID_FIELD);
        http_response_release(&r);
    }
    http_free();
    return OK;
}

START_TEST(bad_header)
{
    ck_ok(on_fiber(call_bad_header, NULL));
}
END_TEST

/* ---------------------------------------------------------------- giving up */

static rc silent_call(struct cx *cx, void *arg)
{
    struct http_response *r = arg;
    char url[128];

    snprintf(url, sizeof url, "http://127.0.0.1:%d/silence", server.port);
    return http_call(cx, &(struct http_request){.url = url, .total_ms = 10000}, r);
}

static rc cancel_body(struct cx *cx, void *arg)
{
    struct http_response r;
    bool early = *(int *)arg;
    rc got = OK;

    http_init(0);
    struct fiber *f = fiber_spawn(&(struct fiber_opts){.name = "asker"}, silent_call, &r);
    while (!early && !seen_any())
        try(fiber_sleep(cx, 5));
    if (early)
        try(fiber_yield(cx));
    fiber_cancel(f);
    try(fiber_join(cx, f, &got));
    ck_rc(got, E_CANCELLED);
    ck_assert_int_eq(r.outcome, early ? HTTP_NOT_SENT : HTTP_UNCLEAR);
    ck_assert_msg(r.why[0], "no words");
    http_response_release(&r);
    http_free();
    return OK;
}

START_TEST(cancelled)
{
    server_start();
    ck_ok(on_fiber(cancel_body, &_i));
}
END_TEST

static rc deadline_body(struct cx *cx, void *arg)
{
    struct http_response r;
    int64_t began = clock_mono_ms();

    http_init(0);
    {
        _cleanup_(cx_deadline_restore) struct cx_deadline d = cx_deadline_within(cx, 150);
        try(silent_call(cx, &r));
    }
    ck_assert_int_eq(r.outcome, HTTP_UNCLEAR);
    ck_assert_int_lt(clock_mono_ms() - began, 1000);
    http_response_release(&r);
    {
        _cleanup_(cx_deadline_restore) struct cx_deadline d = cx_deadline_within(cx, 0);
        try(silent_call(cx, &r));
    }
    ck_assert_int_eq(r.outcome, HTTP_NOT_SENT);
    http_response_release(&r);
    http_free();
    return OK;
}

START_TEST(deadline)
{
    server_start();
    ck_ok(on_fiber(deadline_body, NULL));
}
END_TEST

/* ---------------------------------------------------------------- many */

static int answered;

static rc one_of_many(struct cx *cx, void *arg)
{
    struct http_response r;
    char url[128];

    snprintf(url, sizeof url, "http://127.0.0.1:%d/ok", server.port);
    try(http_call(cx, &(struct http_request){.url = url, .total_ms = 15000}, &r));
    answered += r.outcome == HTTP_ANSWERED;
    http_response_release(&r);
    return OK;
}

static rc many_body(struct cx *cx, void *arg)
{
    struct fiber *f[200];

    http_init(8);
    for (size_t i = 0; i < COUNT(f); i++)
        f[i] = fiber_spawn(&(struct fiber_opts){.name = "asker"}, one_of_many, NULL);
    for (size_t i = 0; i < COUNT(f); i++)
        try(fiber_join(cx, f[i], NULL));
    ck_assert_int_eq(answered, COUNT(f));
    ck_assert_int_le(__atomic_load_n(&server.connections, __ATOMIC_SEQ_CST), 8);
    http_free();
    return OK;
}

START_TEST(many)
{
    server_start();
    ck_ok(on_fiber(many_body, NULL));
}
END_TEST

START_TEST(escaped)
{
    _cleanup_(buf_release) struct buf b = BUF(256);
    _cleanup_(buf_release) struct buf small = BUF(4);

    ck_assert(http_escape(&b, "aZ0-._~ &=/?#%+ş|\n"));
    ck_assert_str_eq(buf_str(&b), "aZ0-._~%20%26%3D%2F%3F%23%25%2B%C5%9F%7C%0A");
    ck_assert(!http_escape(&small, "ab cd"));
}
END_TEST

int main(void)
{
    const struct unit_row rows[] = {{"outcome", outcome, 2 * COUNT(outcomes)},
                                    {"facts", facts},
                                    {"connections", kept_and_fresh},
                                    {"refused", refused, COUNT(refusals)},
                                    {"header", bad_header},
                                    {"cancelled", cancelled, 2},
                                    {"deadline", deadline},
                                    {"many", many},
                                    {"escaped", escaped}};

    http_global_init();
    return unit_run("http", rows, COUNT(rows));
}
