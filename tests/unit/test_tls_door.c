/* test_tls_door.c - the hub's own server behind its mTLS door, in this process: bodies and streams through TLS, connections that
 * leave HTTP, and what a reload does to those that stand. A table of routes made for it.
 *
 *   client on a thread ──TLS──► door ─► server ─► routes below      step by step: the fiber waits while the client talks */
#include "hub/api/api.h"
#include "hub/detached.h"
#include "hub/interceptor.h"
#include "hub/metrics.h"
#include "hub/realtime/sse.h"
#include "hub/router.h"
#include "hub/server.h"
#include "tests/support/on_fiber.h"
#include "tests/unit/ca_folder.h"
#include <arpa/inet.h>
#include <errno.h>
#include <event2/buffer.h>
#include <event2/bufferevent.h>
#include <event2/event.h>
#include <netinet/tcp.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <signal.h>

static struct {
    struct folder ca;
    struct settings settings;
    struct hub hub;
    struct door_address at[DOOR_KINDS];
    size_t open, unwelcome, errors; /* detached connections; who was told how */
    size_t refused;                 /* reported by the door */
    bool told;                      /* the next one asks for on_unwelcome */
    bool streaming;
} world;

/* ---------------------------------------------------------------- routes */

struct echo {
    struct detached *d;
};

static void end(struct echo *e)
{
    detached_free(e->d);
    free(e);
    world.open--;
}

static void on_bytes(struct bufferevent *bev, void *arg)
{
    (void)arg;
    bufferevent_write_buffer(bev, bufferevent_get_input(bev));
}

static void on_event(struct bufferevent *bev, short what, void *arg)
{
    (void)bev;
    if (what & BEV_EVENT_ERROR)
        world.errors++;
    end(arg);
}

static void on_unwelcome(void *arg)
{
    world.unwelcome++;
    end(arg);
}

static rc echo(struct cx *cx, struct request *q)
{
    struct echo *e = xcalloc(1, sizeof *e);
    struct detached_opts o = {.on_unwelcome = world.told ? on_unwelcome : NULL, .arg = e};
    rc r;

    reply_header(q, "Upgrade", "echo");
    reply_header(q, "X-Name", q->cert_name);
    r = server_detach(cx, q, &o, &e->d);
    if (r != OK) {
        free(e);
        return r;
    }
    world.open++;
    bufferevent_setcb(detached_bev(e->d), on_bytes, NULL, on_event, e);
    bufferevent_enable(detached_bev(e->d), EV_READ);
    on_bytes(detached_bev(e->d), e);
    return OK;
}

/* What came goes back. */
static rc mirror(struct cx *cx, struct request *q)
{
    buf_append(&q->out, q->body, q->body_len);
    return reply_json(cx, q, 200);
}

static rc who(struct cx *cx, struct request *q)
{
    buf_printf(&q->out, "{\"door\":\"%s\",\"name\":\"%s\"}", door_kind_word(q->door), q->cert_name);
    return reply_json(cx, q, 200);
}

/* Until the caller goes. */
static rc stream(struct cx *cx, struct request *q)
{
    struct sse s;
    int n = 0;

    world.streaming = true;
    sse_open(cx, &s, q);
    while (!s.closed) {
        char id[16];
        snprintf(id, sizeof id, "%d", n++);
        sse_event(&s, id, "tick", "{}");
        if (fiber_sleep(cx, 5) != OK)
            break;
    }
    sse_close(&s);
    world.streaming = false;
    return OK;
}

const struct route routes[] = {
    {M_GET, "/echo", PUBLIC, echo, 0, 101, "echo", "echo", NULL, NULL, NULL},
    {M_POST, "/mirror", PUBLIC, mirror, 0, 200, "mirror", "mirror", NULL, NULL, NULL},
    {M_GET, "/who", PUBLIC, who, 0, 200, "who", "who", NULL, NULL, NULL},
    {M_GET, "/stream", PUBLIC, stream, 0, 200, "stream", "stream", NULL, NULL, NULL},
};
const size_t route_count = COUNT(routes);

/* In the place of the hub's own interceptor: everybody may; what the door reports is counted. */
rc intercept(struct cx *cx, struct request *q)
{
    return OK;
}

rc intercept_after(struct cx *cx, struct request *q, rc r)
{
    return r;
}

void intercept_handshake(struct hub *hub, const char *ip, const char *name, const char *why)
{
    world.refused++;
    ck_assert_str_eq(ip, "127.0.0.1");
    ck_assert_msg(*why, "refused without a reason");
}

/* ---------------------------------------------------------------- a caller */

struct caller {
    const char *name;
    int version;
    SSL_CTX *ctx;
    SSL *ssl;
    int fd;
    /* one step */
    const char *say, *expect; /* expect NULL: until the hub closes */
    size_t say_len;
    char *heard;
    size_t heard_len, heard_max;
    bool ok;
};

static int knock(void)
{
    struct sockaddr_in to = {.sin_family = AF_INET,
                             .sin_port = htons((uint16_t)world.at[DOOR_MTLS].port),
                             .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

    if (fd < 0 || connect(fd, (struct sockaddr *)&to, sizeof to) != 0)
        abort();
    return fd;
}

static void take_files(struct caller *c)
{
    const char *key =
        folder_path(&world.ca, arena_printf(&world.ca.cx.arena, "issued/%s.key", c->name));
    const char *crt =
        folder_path(&world.ca, arena_printf(&world.ca.cx.arena, "issued/%s.crt", c->name));

    c->ctx = SSL_CTX_new(TLS_client_method());
    ck_assert(SSL_CTX_set_max_proto_version(c->ctx, c->version) == 1 &&
              SSL_CTX_use_certificate_file(c->ctx, crt, SSL_FILETYPE_PEM) == 1 &&
              SSL_CTX_use_PrivateKey_file(c->ctx, key, SSL_FILETYPE_PEM) == 1);
    c->ssl = SSL_new(c->ctx);
    c->heard_max = MiB(5);
    c->heard = xcalloc(1, c->heard_max + 1);
}

static void come(void *arg)
{
    struct caller *c = arg;
    struct timeval limit = {.tv_sec = 30};
    int on = 1;

    c->fd = knock();
    setsockopt(c->fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
    setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    SSL_set_fd(c->ssl, c->fd);
    c->ok = SSL_connect(c->ssl) == 1;
    ERR_clear_error();
}

static void talk(void *arg)
{
    struct caller *c = arg;

    for (size_t done = 0; done < c->say_len;) {
        size_t n = 0;
        if (SSL_write_ex(c->ssl, c->say + done, c->say_len - done, &n) != 1)
            break;
        done += n;
    }
    c->heard_len = 0;
    for (;;) {
        size_t n = 0;
        c->heard[c->heard_len] = 0;
        c->ok = c->expect && strstr(c->heard, c->expect);
        if (c->ok || c->heard_len == c->heard_max ||
            SSL_read_ex(c->ssl, c->heard + c->heard_len, c->heard_max - c->heard_len, &n) != 1)
            break;
        c->heard_len += n;
    }
    if (!c->expect) /* a timeout is no end */
        c->ok = errno != EAGAIN && errno != EWOULDBLOCK;
    ERR_clear_error();
}

static rc caller_come(struct cx *cx, struct caller *c, const char *name, int version)
{
    *c = (struct caller){.name = name, .version = version};
    take_files(c);
    return offload_run(cx, come, c, NULL);
}

/* Say something, and wait for the answer. */
static rc caller_talk(struct cx *cx, struct caller *c, const char *say, const char *expect)
{
    c->say = say;
    c->say_len = strlen(say);
    c->expect = expect;
    errno = 0;
    return offload_run(cx, talk, c, NULL);
}

static void caller_leave(struct caller *c)
{
    SSL_free(c->ssl);
    SSL_CTX_free(c->ctx);
    close(c->fd);
    free(c->heard);
}

/* ---------------------------------------------------------------- the frame */

static rc open_world(struct cx *cx)
{
    const struct {
        const char *name, *file;
    } files[] = {{"mtls_cert", "issued/hub.crt"},
                 {"mtls_key", "issued/hub.key"},
                 {"mtls_ca", "ca.crt"},
                 {"mtls_crl", "ca.crl"}};
    struct settings *s = &world.settings;

    world.ca = folder_new();
    folder_init(&world.ca, "Test CA");
    folder_issue(&world.ca, "hub", CA_SERVER);
    folder_issue(&world.ca, "cpe-1", CA_AGENT);
    folder_issue(&world.ca, "cpe-2", CA_AGENT);
    try(settings_load(cx, s, NULL));
    try(settings_set(cx, s, "hub_listen", "127.0.0.1:0", "test"));
    try(settings_set(cx, s, "mtls_listen", "127.0.0.1:0", "test"));
    for (size_t i = 0; i < COUNT(files); i++)
        try(settings_set(cx, s, files[i].name, folder_path(&world.ca, files[i].file), "test"));
    world.hub = (struct hub){.settings = s, .metrics = metrics_new()};
    try(server_reserve(cx, s, world.at));
    return server_open(cx, &world.hub, world.at, &world.hub.server);
}

static bool none_open(void)
{
    return world.open == 0;
}

static bool no_stream(void)
{
    return !world.streaming;
}

static rc until(struct cx *cx, bool (*cond)(void))
{
    for (int i = 0; i < 6000 && !cond(); i++)
        try(fiber_sleep(cx, 5));
    return cond() ? OK : fail(cx, DEADLINE, "it did not come true");
}

static rc close_world(struct cx *cx)
{
    try(until(cx, none_open));
    server_stop(world.hub.server);
    try(server_drained(cx, world.hub.server, 30000));
    fiber_cancel_all();
    server_flush(world.hub.server);
    world.hub.server = server_free(world.hub.server);
    metrics_free(world.hub.metrics);
    settings_release(&world.settings);
    folder_release(&world.ca);
    for (size_t i = 0; i < DOOR_KINDS; i++)
        close(world.at[i].fd);
    return OK;
}

static rc in_world(struct cx *cx, void *arg)
{
    rc (*body)(struct cx *) = *(rc(**)(struct cx *))arg;

    try(open_world(cx));
    try(body(cx));
    return close_world(cx);
}

/* START_TEST(name) around a function that gets a fiber's context; _i is in `turn`. */
static int turn;
#define WORLD_TEST(name)                                                                           \
    static rc name##_body(struct cx *cx);                                                          \
    START_TEST(name)                                                                               \
    {                                                                                              \
        rc (*body)(struct cx *) = name##_body;                                                     \
        turn = _i;                                                                                 \
        signal(SIGPIPE, SIG_IGN);                                                                  \
        ck_assert_int_eq(on_fiber(in_world, &body), OK);                                           \
    }                                                                                              \
    END_TEST                                                                                       \
    static rc name##_body(struct cx *cx)

static const int versions[] = {TLS1_2_VERSION, TLS1_3_VERSION};

/* ---------------------------------------------------------------- requests */

WORLD_TEST(who_asks)
{
    struct caller c;

    try(caller_come(cx, &c, "cpe-1", versions[turn]));
    ck_assert(c.ok);
    for (int i = 0; i < 3; i++) {
        try(caller_talk(cx, &c, "GET /who HTTP/1.1\r\n\r\n", "\"name\":\"cpe-1\"}"));
        ck_assert_msg(c.ok && strstr(c.heard, "\"door\":\"mtls\""), "%s", c.heard);
    }
    caller_leave(&c);
    return OK;
}

static const struct {
    size_t n, chunk; /* chunk 0: one length */
} bodies[] = {{1, 0},      {16384, 0},     {16385, 0},      {300000, 0},
              {MiB(1), 0}, {300000, 7000}, {MiB(1), 65536}, {40000, 13}};

/* Byte for byte, both ways. */
WORLD_TEST(a_body_comes_back)
{
    size_t n = bodies[turn].n, chunk = bodies[turn].chunk;
    _cleanup_(freep) char *body = xcalloc(1, n + 1);
    struct buf b = BUF(MiB(4));
    struct caller c;

    for (size_t i = 0; i < n; i++)
        body[i] = (char)('a' + (i * 7 + i / 251) % 26);
    buf_printf(&b, "POST /mirror HTTP/1.1\r\nConnection: close\r\n");
    if (!chunk)
        buf_printf(&b, "Content-Length: %zu\r\n\r\n%s", n, body);
    else
        buf_printf(&b, "Transfer-Encoding: chunked\r\n\r\n");
    for (size_t i = 0; chunk && i < n; i += chunk)
        buf_printf(&b, "%zx\r\n%.*s\r\n", MIN(chunk, n - i), (int)MIN(chunk, n - i), body + i);
    if (chunk)
        buf_puts(&b, "0\r\n\r\n");
    try(caller_come(cx, &c, "cpe-1", TLS1_3_VERSION));
    try(caller_talk(cx, &c, b.p, NULL));
    const char *answer = strstr(c.heard, "\r\n\r\n");
    ck_assert_msg(c.ok && answer && strncmp(c.heard, "HTTP/1.1 200", 12) == 0, "%.200s", c.heard);
    ck_assert_msg(strcmp(answer + 4, body) == 0, "%zu bytes came back of %zu", strlen(answer + 4),
                  n);
    caller_leave(&c);
    buf_release(&b);
    return OK;
}

WORLD_TEST(a_stream_ends_with_its_caller)
{
    struct caller c;

    try(caller_come(cx, &c, "cpe-1", versions[turn]));
    try(caller_talk(cx, &c, "GET /stream HTTP/1.1\r\n\r\n", "id: 9\n"));
    ck_assert_msg(c.ok && world.streaming, "%s", c.heard);
    caller_leave(&c);
    return until(cx, no_stream);
}

/* ---------------------------------------------------------------- connections that leave HTTP */

#define UPGRADE "GET /echo HTTP/1.1\r\nUpgrade: echo\r\n\r\n"

WORLD_TEST(an_echo)
{
    struct caller c;

    try(caller_come(cx, &c, "cpe-1", versions[turn]));
    try(caller_talk(cx, &c, UPGRADE "early", "\r\n\r\nearly"));
    ck_assert_msg(c.ok && strstr(c.heard, "HTTP/1.1 101 ") && strstr(c.heard, "X-Name: cpe-1\r\n"),
                  "%s", c.heard);
    for (int i = 0; i < 20; i++) {
        try(caller_talk(cx, &c, "and once more", "and once more"));
        ck_assert(c.ok);
    }
    ck_assert_uint_eq(world.open, 1);
    caller_leave(&c);
    return OK;
}

/* Who was revoked is told in the way that he asked for; who was not goes on; idle and busy, in HTTP and beyond. */
WORLD_TEST(a_reload_ends_the_revoked)
{
    struct caller stays, goes, waits;

    world.told = turn == 0;
    try(caller_come(cx, &goes, "cpe-1", TLS1_3_VERSION));
    try(caller_talk(cx, &goes, UPGRADE, "\r\n\r\n"));
    try(caller_come(cx, &waits, "cpe-1", TLS1_3_VERSION));
    try(caller_talk(cx, &waits, "GET /who HTTP/1.1\r\n\r\n", "cpe-1"));
    try(caller_come(cx, &stays, "cpe-2", TLS1_3_VERSION));
    try(caller_talk(cx, &stays, UPGRADE, "\r\n\r\n"));
    ck_assert(goes.ok && stays.ok && waits.ok);

    folder_revoke(&world.ca, "cpe-1");
    server_reload(world.hub.server);
    server_reload(world.hub.server); /* while the first is on its way */
    try(caller_talk(cx, &goes, "", NULL));
    try(caller_talk(cx, &waits, "", NULL));
    try(caller_talk(cx, &stays, "still here", "still here"));
    ck_assert(goes.ok && waits.ok && stays.ok);
    ck_assert_uint_eq(world.unwelcome, turn == 0);
    ck_assert_uint_eq(world.errors, turn != 0);
    ck_assert_int_eq((int)metric_sum(world.hub.metrics, METRIC_UNWELCOME), 2);
    ck_assert_uint_eq(world.refused, 2);
    caller_leave(&goes);
    caller_leave(&waits);
    caller_leave(&stays);
    return OK;
}

/* A stream under way is a request under way: it ends all the same. */
WORLD_TEST(a_reload_ends_a_stream)
{
    struct caller c;

    try(caller_come(cx, &c, "cpe-1", TLS1_3_VERSION));
    try(caller_talk(cx, &c, "GET /stream HTTP/1.1\r\n\r\n", "id: 3\n"));
    ck_assert(c.ok);
    folder_revoke(&world.ca, "cpe-1");
    server_reload(world.hub.server);
    try(until(cx, no_stream));
    caller_leave(&c);
    return OK;
}

/* It began under the old list, and is judged by the new one. */
WORLD_TEST(a_reload_amid_a_handshake)
{
    struct caller c = {.name = "cpe-1", .version = versions[turn]};
    char bytes[16384];
    BIO *in = BIO_new(BIO_s_mem()), *out = BIO_new(BIO_s_mem());
    bool revoked = false;

    take_files(&c);
    SSL_set_bio(c.ssl, in, out);
    SSL_set_connect_state(c.ssl);
    c.fd = knock();
    for (int i = 0; i < 400 && !SSL_get_shutdown(c.ssl); i++) {
        ERR_clear_error();
        int r = SSL_do_handshake(c.ssl);
        if (r != 1 && SSL_get_error(c.ssl, r) != SSL_ERROR_WANT_READ)
            break;
        for (int n; (n = BIO_read(out, bytes, sizeof bytes)) > 0;)
            ck_assert_int_eq((int)send(c.fd, bytes, (size_t)n, MSG_NOSIGNAL), n);
        try(fiber_sleep(cx, 5));
        for (ssize_t n; (n = recv(c.fd, bytes, sizeof bytes, MSG_DONTWAIT)) >= 0;) {
            if (n == 0)
                goto closed;
            BIO_write(in, bytes, (int)n);
            if (!revoked) { /* the hub's first flight is here, our certificate is not there */
                folder_revoke(&world.ca, "cpe-1");
                server_reload(world.hub.server);
                revoked = true;
            }
        }
    }
closed:
    ERR_clear_error();
    ck_assert(revoked);
    ck_assert_int_eq((int)metric_sum(world.hub.metrics, METRIC_HANDSHAKES), 0);
    ck_assert_int_eq((int)metric_sum(world.hub.metrics, METRIC_HANDSHAKES_REFUSED), 1);
    ck_assert_int_eq((int)metric_sum(world.hub.metrics, METRIC_HANDSHAKES_OPEN), 0);
    caller_leave(&c);
    return OK;
}

/* A certificate that ends while its connection stands. */
WORLD_TEST(an_expired_certificate)
{
    struct ca_request q = {.name = "brief", .kind = CA_AGENT, .until_ms = clock_ms() + 4000};
    struct ca_issued issued;
    struct caller c;

    folder_ok(&world.ca, ca_issue(&world.ca.cx, world.ca.dir, &q, &issued));
    try(caller_come(cx, &c, "brief", TLS1_3_VERSION));
    if (!c.ok) { /* this machine took longer than that */
        caller_leave(&c);
        return OK;
    }
    try(caller_talk(cx, &c, UPGRADE, "\r\n\r\n"));
    while (clock_ms() <= issued.until_ms)
        try(fiber_sleep(cx, 50));
    server_reload(world.hub.server); /* the same walk as every minute's */
    try(caller_talk(cx, &c, "", NULL));
    ck_assert(c.ok && world.errors == 1);
    caller_leave(&c);
    return OK;
}

UNIT(tls_door, {"who asks", who_asks, COUNT(versions)},
     {"bodies", a_body_comes_back, COUNT(bodies)},
     {"streams", a_stream_ends_with_its_caller, COUNT(versions)},
     {"echo", an_echo, COUNT(versions)}, {"a reload", a_reload_ends_the_revoked, 2},
     {"a reload in a stream", a_reload_ends_a_stream, 0},
     {"a reload amid a handshake", a_reload_amid_a_handshake, COUNT(versions)},
     {"expired", an_expired_certificate, 0})
