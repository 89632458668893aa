/* fuzz_call.c - a server that answers anything: lib/rt/http says what that means.
 *
 *   the target's fiber --POST--> [lib/rt/http] --loopback--> a peer on the same loop: sends the input and closes
 *
 * That an answer is complete decides about money: so nothing that does not begin as one, or has no whole head, is said to be. */
#include "base/log.h"
#include "rt/fiber.h"
#include "rt/http.h"
#include "rt/loop.h"
#include "tests/fuzz/fuzz.h"
#include <arpa/inet.h>
#include <event2/buffer.h>
#include <event2/bufferevent.h>
#include <event2/event.h>
#include <event2/listener.h>
#include <netinet/in.h>
#include <sys/socket.h>

#define BODY_MAX 512

static const uint8_t *input;
static size_t input_len;
static int port;
static struct bufferevent *peer;

static void peer_end(void)
{
    if (peer)
        bufferevent_free(TAKE_PTR(peer));
}

static void peer_written(struct bufferevent *b, void *arg)
{
    (void)b, (void)arg;
    peer_end();
}

static void peer_read(struct bufferevent *b, void *arg)
{
    struct evbuffer *in = bufferevent_get_input(b);

    (void)arg;
    evbuffer_drain(in, evbuffer_get_length(in));
    bufferevent_disable(b, EV_READ);
    if (input_len)
        bufferevent_write(b, input, input_len);
    else
        peer_end();
}

static void peer_event(struct bufferevent *b, short what, void *arg)
{
    (void)b, (void)what, (void)arg;
    peer_end();
}

static void accepted(struct evconnlistener *l, evutil_socket_t fd, struct sockaddr *sa, int len,
                     void *arg)
{
    (void)l, (void)sa, (void)len, (void)arg;
    peer_end();
    peer = bufferevent_socket_new(loop_base(), fd, BEV_OPT_CLOSE_ON_FREE);
    bufferevent_setcb(peer, peer_read, peer_written, peer_event, NULL);
    bufferevent_enable(peer, EV_READ | EV_WRITE);
}

static rc session(struct cx *cx, void *arg)
{
    struct http_response r;
    char url[64];

    (void)arg;
    /* An address goes over the fiber's own socket, a name through libcurl. */
    snprintf(url, sizeof url, "http://%s:%d/", input_len % 2 ? "localhost" : "127.0.0.1", port);
    FUZZ_MUST(http_call(cx,
                        &(struct http_request){.method = "POST",
                                               .url = url,
                                               .body = "a=1",
                                               .body_len = 3,
                                               .total_ms = 2000,
                                               .max_body = BODY_MAX,
                                               .fresh = true},
                        &r) == OK);
    FUZZ_MUST(r.body.len <= BODY_MAX && r.retry_after_s >= -1);
    FUZZ_MUST(strlen(r.why) < sizeof r.why);
    if (r.outcome == HTTP_ANSWERED) {
        FUZZ_MUST(input && input_len >= 12 && memcmp(input, "HTTP/", 5) == 0);
        FUZZ_MUST(memmem(input, input_len, "\n\r\n", 3) || memmem(input, input_len, "\n\n", 2));
        FUZZ_MUST(r.status >= 100 && r.status <= 999);
    } else {
        FUZZ_MUST(*r.why);
    }
    http_response_release(&r);
    loop_stop();
    return OK;
}

FUZZ(data, n)
{
    _cleanup_(cx_release) struct cx cx = CX_PLAIN("fuzz");
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof a;
    static bool ready;

    if (!ready) {
        http_global_init();
        log_setup(fopen("/dev/null", "we"), LOG_ERROR, LOG_LOGFMT);
        ready = true;
    }
    input = data;
    input_len = n;
    FUZZ_MUST(loop_init(&cx) == OK);
    http_init(0);
    struct evconnlistener *l = evconnlistener_new_bind(
        loop_base(), accepted, NULL, LEV_OPT_CLOSE_ON_FREE, 16, (struct sockaddr *)&a, sizeof a);
    FUZZ_MUST(l && getsockname(evconnlistener_get_fd(l), (struct sockaddr *)&a, &len) == 0);
    port = ntohs(a.sin_port);
    fiber_detach(fiber_spawn(&(struct fiber_opts){.name = "fuzz"}, session, NULL));
    loop_run();
    evconnlistener_free(l);
    peer_end();
    http_free();
    loop_free();
    return 0;
}
