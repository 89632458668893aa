/* test_websocket_tls.c - frames over TLS: what our WebSocket does past libevent, in both versions.
 *
 *   server ──records──socketpair──> client      the server writes itself until the socket is full, then libevent does
 *   server <──many records at once──  client    the server reads ahead: more is with OpenSSL than the kernel tells of */
#include "base/clock.h"
#include "rt/loop.h"
#include "rt/websocket_internal.h"
#include "secure/tls.h"
#include "tests/unit/ca_folder.h"
#include <event2/bufferevent.h>
#include <event2/bufferevent_ssl.h>
#include <openssl/ssl.h>
#include <sys/socket.h>

enum { PATIENCE_MS = 30000, MANY = 100 };

static const int versions[] = {TLS1_2_VERSION, TLS1_3_VERSION};

struct side {
    struct tls *tls;
    struct websocket *w;
    struct bufferevent *bev;
    struct buf heard;
    int messages, closes;
};

struct both {
    struct folder ca;
    struct side server, client;
};

static void on_message(void *arg, const char *text, size_t n)
{
    struct side *s = arg;

    s->messages++;
    buf_append(&s->heard, text, n);
    buf_putc(&s->heard, '|');
}

static void on_close(void *arg, int code, const char *reason)
{
    struct side *s = arg;

    (void)code, (void)reason;
    s->closes++;
}

static void until(struct side *s, int messages)
{
    int64_t end = clock_mono_ms() + PATIENCE_MS;
    struct timeval tick = {.tv_usec = 100000};

    while (s->messages < messages && !s->closes && clock_mono_ms() < end) {
        event_base_loopexit(loop_base(), &tick);
        event_base_loop(loop_base(), EVLOOP_ONCE);
    }
    ck_assert_int_eq(s->closes, 0);
    ck_assert_int_eq(s->messages, messages);
}

static void side_open(struct side *s, struct folder *f, enum tls_side side, const char *name,
                      int fd, int version)
{
    struct tls_files files = {
        .cert = folder_path(f, arena_printf(&f->cx.arena, "issued/%s.crt", name)),
        .key = folder_path(f, arena_printf(&f->cx.arena, "issued/%s.key", name)),
        .ca = folder_path(f, "ca.crt")};
    SSL *ssl;

    folder_ok(f, tls_new(&f->cx, side, &files, &s->tls));
    ssl = SSL_new(tls_ctx(s->tls));
    ck_assert_int_eq(SSL_set_max_proto_version(ssl, version), 1);
    s->bev = bufferevent_openssl_socket_new(loop_base(), fd, ssl,
                                            side == TLS_SERVER ? BUFFEREVENT_SSL_ACCEPTING
                                                               : BUFFEREVENT_SSL_CONNECTING,
                                            BEV_OPT_CLOSE_ON_FREE);
    ck_assert(s->bev != NULL);
    bufferevent_enable(s->bev, EV_READ | EV_WRITE);
    s->heard = BUF(MiB(16));
}

static void side_upgrade(struct side *s, bool client)
{
    s->w = websocket_make(
        s->bev,
        &(struct websocket_opts){
            .unsent_max = MiB(8), .arg = s, .on_message = on_message, .on_close = on_close},
        client, WS_OPEN);
}

static void both_open(struct both *b, int version)
{
    int64_t end = clock_mono_ms() + PATIENCE_MS;
    int fd[2];

    *b = (struct both){.ca = folder_new()};
    folder_ok(&b->ca, loop_init(&b->ca.cx));
    folder_init(&b->ca, "Test CA");
    folder_issue(&b->ca, "hub", CA_SERVER);
    folder_issue(&b->ca, "cpe-1", CA_AGENT);
    ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, fd), 0);
    side_open(&b->server, &b->ca, TLS_SERVER, "hub", fd[0], version);
    side_open(&b->client, &b->ca, TLS_CLIENT, "cpe-1", fd[1], version);
    while (clock_mono_ms() < end &&
           (!SSL_is_init_finished(bufferevent_openssl_get_ssl(b->server.bev)) ||
            !SSL_is_init_finished(bufferevent_openssl_get_ssl(b->client.bev))))
        event_base_loop(loop_base(), EVLOOP_ONCE);
    ck_assert_int_eq(SSL_version(bufferevent_openssl_get_ssl(b->server.bev)), version);
    event_base_loop(loop_base(), EVLOOP_NONBLOCK);
    side_upgrade(&b->server, false);
    side_upgrade(&b->client, true);
}

static void both_end(struct both *b)
{
    b->server.w = websocket_free(b->server.w);
    b->client.w = websocket_free(b->client.w);
    event_base_loop(loop_base(),
                    EVLOOP_NONBLOCK); /* libevent lets its bufferevents go in the next turn */
    buf_release(&b->server.heard);
    buf_release(&b->client.heard);
    tls_free(b->server.tls);
    tls_free(b->client.tls);
    loop_free();
    folder_release(&b->ca);
}

/* All of them are in the socket before the server looks, and nothing follows that would wake it again. */
START_TEST(many_records_at_once)
{
    struct buf want = BUF(MiB(1));
    struct both b;

    both_open(&b, versions[_i]);
    for (int i = 0; i < MANY; i++) {
        char text[16];
        int n = snprintf(text, sizeof text, "beat %d", i);

        ck_assert(websocket_send(b.client.w, text, (size_t)n));
        buf_printf(&want, "%s|", text);
    }
    ck_assert_uint_eq(websocket_unsent(b.client.w), 0);
    until(&b.server, MANY);
    ck_assert_str_eq(buf_str(&b.server.heard), buf_str(&want));
    both_end(&b);
    buf_release(&want);
}
END_TEST

/* An answer that finds the socket free leaves at once, without a turn of the loop. */
START_TEST(an_answer_does_not_wait)
{
    struct both b;

    both_open(&b, versions[_i]);
    ck_assert(websocket_send(b.server.w, "now", 3));
    ck_assert_uint_eq(websocket_unsent(b.server.w), 0);
    until(&b.client, 1);
    both_end(&b);
}
END_TEST

/* Sizes below and above a record; the socket fills up at some byte of some of them. All arrive whole and in their order. */
START_TEST(a_full_socket)
{
    static const size_t sizes[] = {22, 5000, 16379, 16380, 16381, 3, 40000, 700, 1};
    struct buf want = BUF(MiB(16));
    struct both b;
    int sent = 0, held = 0;

    both_open(&b, versions[_i]);
    for (int round = 0; round < 3; round++) {
        bufferevent_disable(b.client.bev, EV_READ);
        for (held = 0; held < 20; sent++) { /* so many more once the socket is full */
            size_t n = sizes[(size_t)(sent + round) % COUNT(sizes)];
            char *text = xmalloc(n + 1);

            memset(text, 'a' + sent % 26, n);
            text[n] = 0;
            ck_assert(websocket_send(b.server.w, text, n));
            buf_printf(&want, "%s|", text);
            free(text);
            held += websocket_unsent(b.server.w) > 0;
        }
        bufferevent_enable(b.client.bev, EV_READ);
        until(&b.client, sent);
    }
    ck_assert(b.client.heard.len == want.len && memcmp(b.client.heard.p, want.p, want.len) == 0);
    both_end(&b);
    buf_release(&want);
}
END_TEST

UNIT(rt_websocket_tls, {"many", many_records_at_once, COUNT(versions)},
     {"at once", an_answer_does_not_wait, COUNT(versions)},
     {"full", a_full_socket, COUNT(versions)})
