/* fuzz_resp.c - a Redis that answers anything: every caller ends, with an answer or an error, and nothing leaks.
 *
 *   the target's fiber --command--> [lib/redis] --unix socket--> a peer on the same loop:
 *                                                               greets well, then sends the input and closes
 *
 * The first byte of the input chooses who asks. */
#include "base/log.h"
#include "queue/internal.h"
#include "rt/fiber.h"
#include "rt/loop.h"
#include "tests/fuzz/fuzz.h"
#include <event2/buffer.h>
#include <event2/bufferevent.h>
#include <event2/event.h>
#include <event2/listener.h>
#include <sys/queue.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

static const uint8_t *input;
static size_t input_len;
static char path[108];

/* ---------------------------------------------------------------- the peer */

struct peer {
    TAILQ_ENTRY(peer) link;
    struct bufferevent *b;
    bool greeted;
};

static TAILQ_HEAD(, peer) peers = TAILQ_HEAD_INITIALIZER(peers);

static void peer_end(struct bufferevent *b, void *arg)
{
    struct peer *p = arg;

    TAILQ_REMOVE(&peers, p, link);
    bufferevent_free(b);
    free(p);
}

/* The greeting is answered with a HELLO of a master; what comes after it gets the input. */
static void peer_read(struct bufferevent *b, void *arg)
{
    static const char hello[] =
        "*14\r\n$6\r\nserver\r\n$5\r\nredis\r\n$7\r\nversion\r\n$6\r\n7.0.15\r\n"
        "$5\r\nproto\r\n:2\r\n$2\r\nid\r\n:3\r\n$4\r\nmode\r\n$10\r\nstandalone\r\n"
        "$4\r\nrole\r\n$6\r\nmaster\r\n$7\r\nmodules\r\n*0\r\n+PONG\r\n";
    struct peer *p = arg;
    struct evbuffer *in = bufferevent_get_input(b);

    evbuffer_drain(in, evbuffer_get_length(in));
    if (!p->greeted) {
        p->greeted = true;
        bufferevent_write(b, hello, sizeof hello - 1);
        return;
    }
    if (input_len)
        bufferevent_write(b, input, input_len);
    bufferevent_disable(b, EV_READ);
    if (input_len)
        input_len = 0;
    else
        peer_end(b, p);
}

static void peer_written(struct bufferevent *b, void *arg)
{
    struct peer *p = arg;

    if (p->greeted && !(bufferevent_get_enabled(b) & EV_READ))
        peer_end(b, p);
}

static void peer_event(struct bufferevent *b, short what, void *arg)
{
    (void)what;
    peer_end(b, arg);
}

static void accepted(struct evconnlistener *l, evutil_socket_t fd, struct sockaddr *sa, int len,
                     void *arg)
{
    struct peer *p = xcalloc(1, sizeof *p);

    (void)l, (void)sa, (void)len, (void)arg;
    p->b = bufferevent_socket_new(loop_base(), fd, BEV_OPT_CLOSE_ON_FREE);
    TAILQ_INSERT_TAIL(&peers, p, link);
    bufferevent_setcb(p->b, peer_read, peer_written, peer_event, p);
    bufferevent_enable(p->b, EV_READ | EV_WRITE);
}

/* ---------------------------------------------------------------- who asks */

static void ask_claim(struct cx *cx, struct engine *e)
{
    struct claim_result c = {0};
    size_t refused;

    if (engine_claim(cx, e, "q", 10, 1000, NULL, 0, &c, &refused) == OK)
        for (size_t i = 0; i < c.n; i++)
            FUZZ_MUST(c.jobs[i].task && strlen(c.jobs[i].lease.id) == ID_LEN);
    claim_result_release(&c);
}

static void ask_extend(struct cx *cx, struct engine *e)
{
    const struct lease l[2] = {{.id = "01932b5e-0000-7000-8000-000000000001", .claim = 1},
                               {.id = "01932b5e-0000-7000-8000-000000000002", .claim = 1}};
    bool lost[2], cancel[2];

    (void)engine_extend(cx, e, "q", l, 2, 1000, lost, cancel);
}

static void ask_reschedule(struct cx *cx, struct engine *e)
{
    const struct lease l = {.id = "01932b5e-0000-7000-8000-000000000001", .claim = 1};

    (void)engine_reschedule(cx, e, "q", &l, 5, true);
}

static void ask_push(struct cx *cx, struct engine *e)
{
    struct job_new j[2] = {{.queue = "q", .task = "t"}, {.queue = "q", .task = "t"}};

    (void)engine_push(cx, e, j, 2);
}

static void ask_queues(struct cx *cx, struct engine *e)
{
    struct queue_stats *s;
    size_t n;

    if (engine_queues(cx, e, &s, &n) == OK)
        for (size_t i = 0; i < n; i++)
            FUZZ_MUST(strlen(s[i].name) <= QUEUE_NAME_MAX);
}

static void ask_last(struct cx *cx, struct engine *e)
{
    struct lease *l = NULL;
    size_t n;

    if (engine_last_claim(cx, e, "q", "host:1", &l, &n) == OK)
        free(l);
}

static void (*const askers[])(struct cx *, struct engine *) = {
    ask_claim, ask_extend, ask_push, ask_queues, ask_last, ask_reschedule};

static rc session(struct cx *cx, void *arg)
{
    struct redis *redis;
    char url[160];
    const uint8_t *which = arg;

    snprintf(url, sizeof url, "unix:%s", path);
    FUZZ_MUST(redis_new(cx, url, &redis) == OK);
    struct engine *e = engine_new(redis, NULL);
    askers[*which % COUNT(askers)](cx, e);
    engine_free(e);
    redis_free(redis);
    loop_stop();
    return OK;
}

FUZZ(data, n)
{
    _cleanup_(cx_release) struct cx cx = CX_PLAIN("fuzz");
    struct sockaddr_un a = {.sun_family = AF_UNIX};

    if (n < 1)
        return 0;
    if (!path[0]) {
        const char *tmp = getenv("TMPDIR");
        snprintf(path, sizeof path, "%s/fuzz-resp-%d", tmp && strlen(tmp) < 60 ? tmp : "/tmp",
                 (int)getpid());
        log_setup(fopen("/dev/null", "we"), LOG_ERROR, LOG_LOGFMT);
    }
    input = data + 1;
    input_len = n - 1;
    FUZZ_MUST(loop_init(&cx) == OK);
    unlink(path);
    snprintf(a.sun_path, sizeof a.sun_path, "%s", path);
    struct evconnlistener *l = evconnlistener_new_bind(
        loop_base(), accepted, NULL, LEV_OPT_CLOSE_ON_FREE, 16, (struct sockaddr *)&a, sizeof a);
    FUZZ_MUST(l);
    /* Who lost the connection before it could ask waits for the next one no longer than this. */
    fiber_detach(
        fiber_spawn(&(struct fiber_opts){.name = "fuzz", .timeout_ms = 40}, session, (void *)data));
    loop_run();
    evconnlistener_free(l);
    while (!TAILQ_EMPTY(&peers))
        peer_end(TAILQ_FIRST(&peers)->b, TAILQ_FIRST(&peers));
    unlink(path);
    loop_free();
    return 0;
}
