/* test_detached.c - a connection that leaves HTTP: the 101, what comes after it in both directions, its end from either
 * side. The server is the hub's own, with a table of routes that has an echo. */
#include "base/clock.h"
#include "hub/api/api.h"
#include "hub/detached.h"
#include "hub/metrics.h"
#include "hub/router.h"
#include "hub/server.h"
#include "tests/e2e/wire.h"
#include "tests/support/on_fiber.h"
#include "tests/unit/unit.h"
#include <event2/buffer.h>
#include <event2/bufferevent.h>
#include <event2/event.h>

/* ---------------------------------------------------------------- the echo */

static struct {
    struct hub hub;
    int port;
    size_t open, ended; /* detached connections */
    size_t in_flight;   /* when the last byte was echoed */
} world;

struct echo {
    struct detached *d;
};

static void end(struct echo *e)
{
    e->d = detached_free(e->d);
    free(e);
    world.open--;
    world.ended++;
}

/* The last word is written. */
static void on_written(struct bufferevent *bev, void *arg)
{
    if (evbuffer_get_length(bufferevent_get_output(bev)) == 0)
        end(arg);
}

static void on_event(struct bufferevent *bev, short what, void *arg)
{
    (void)bev;
    if (what & (BEV_EVENT_EOF | BEV_EVENT_ERROR))
        end(arg);
}

/* Everything comes back; a '.' ends it from here. */
static void on_bytes(struct bufferevent *bev, void *arg)
{
    struct evbuffer *in = bufferevent_get_input(bev);
    struct evbuffer_ptr dot = evbuffer_search(in, ".", 1, NULL);

    bufferevent_write_buffer(bev, in);
    world.in_flight = server_in_flight(world.hub.server);
    if (dot.pos >= 0)
        bufferevent_setcb(bev, NULL, on_written, on_event, arg);
}

static rc echo(struct cx *cx, struct request *q)
{
    struct echo *e = xcalloc(1, sizeof *e);
    rc r;

    try(fiber_sleep(cx, 10)); /* who asks is looked up meanwhile */
    reply_header(q, "Upgrade", "echo");
    reply_header(q, "Connection", "Upgrade");
    r = server_detach(cx, q, &(struct detached_opts){.arg = e}, &e->d);
    if (r != OK) {
        free(e);
        return r;
    }
    world.open++;
    bufferevent_setcb(detached_bev(e->d), on_bytes, NULL, on_event, e);
    bufferevent_enable(detached_bev(e->d), EV_READ);
    if (evbuffer_get_length(bufferevent_get_input(detached_bev(e->d))) > 0)
        on_bytes(detached_bev(e->d), e);
    ck_assert(fiber_sleep(cx, 10) == OK); /* it may end before its handler does */
    return OK;
}

static rc plain(struct cx *cx, struct request *q)
{
    buf_puts(&q->out, "{\"status\":\"ok\"}");
    return reply_json(cx, q, 200);
}

/* In the place of the hub's own table. */
const struct route routes[] = {
    {M_GET, "/echo", PUBLIC, echo, 0, 101, "echo", "echo", NULL, NULL, NULL},
    {M_GET, "/healthz", PUBLIC, plain, 0, 200, "plain", "plain", NULL, NULL, NULL},
};
const size_t route_count = COUNT(routes);

/* ---------------------------------------------------------------- who talks to it */

#define ASK "GET /echo HTTP/1.1\r\nHost: x\r\nUpgrade: echo\r\nConnection: Upgrade\r\n\r\n"

/* A blocking client on a thread. */
struct talk {
    const char *send, *expect; /* expect NULL: until the other side closes */
    const char *then, *expect_then;
    bool hang_up;
    char heard[4096];
    bool ok;
};

static void talk(void *arg)
{
    struct talk *t = arg;
    int fd = wire_open(world.port);

    t->ok = wire_send(fd, t->send, strlen(t->send)) &&
            wire_read(fd, t->heard, sizeof t->heard, t->expect, 30000);
    if (t->ok && t->then)
        t->ok = wire_send(fd, t->then, strlen(t->then)) &&
                wire_read(fd, t->heard, sizeof t->heard, t->expect_then, 30000);
    close(fd);
}

static const struct {
    const char *title;
    struct talk talk;
    bool draining;
    const char *heard[4];
    size_t ended;
} cases[] = {
    {"echo, ended by the hub",
     {.send = ASK, .expect = "\r\n\r\n", .then = "ping and an end."},
     false,
     {"HTTP/1.1 101 Switching Protocols\r\n", "Upgrade: echo\r\nConnection: Upgrade\r\n",
      "X-Request-Id: ", "\r\n\r\nping and an end"},
     1},
    {"ended by the caller",
     {.send = ASK, .expect = "\r\n\r\n", .then = "ping", .expect_then = "ping"},
     false,
     {"HTTP/1.1 101 ", "\r\n\r\nping"},
     1},
    {"bytes right behind the request",
     {.send = ASK "early", .expect = "early", .then = "late", .expect_then = "earlylate"},
     false,
     {"HTTP/1.1 101 "},
     1},
    {"a hub that is going away",
     {.send = ASK, .expect = "request_id"},
     true,
     {"HTTP/1.1 503 ", "Retry-After: 1\r\n", "\"overloaded\"", "going away"},
     0},
    {"a plain request beside",
     {.send = "GET /healthz HTTP/1.1\r\n\r\n", .expect = "ok\"}"},
     false,
     {"HTTP/1.1 200 "},
     0},
};

static rc converse(struct cx *cx, void *arg)
{
    struct door_address at[DOOR_KINDS];
    int i = *(int *)arg;
    struct settings s = {0};
    struct talk *t = xcalloc(1, sizeof *t);

    try(settings_load(cx, &s, NULL));
    world.hub =
        (struct hub){.settings = &s, .metrics = metrics_new(), .draining = cases[i].draining};
    try(settings_set(cx, &s, "hub_listen", "127.0.0.1:0", "test"));
    try(server_reserve(cx, &s, at));
    try(server_open(cx, &world.hub, at, &world.hub.server));
    world.port = at[DOOR_WEB].port;
    *t = cases[i].talk;
    try(offload_run(cx, talk, t, NULL));
    ck_assert_msg(t->ok, "case: %s: heard '%s'", cases[i].title, t->heard);
    for (size_t k = 0; k < COUNT(cases[i].heard) && cases[i].heard[k]; k++)
        ck_assert_msg(strstr(t->heard, cases[i].heard[k]), "case: %s: heard '%s'", cases[i].title,
                      t->heard);
    for (int64_t end_ms = clock_mono_ms() + 30000;
         world.ended < cases[i].ended && clock_mono_ms() < end_ms;)
        try(fiber_sleep(cx, 5));
    try(server_drained(cx, world.hub.server, 30000));
    ck_assert_int_eq((int)world.ended, (int)cases[i].ended);
    ck_assert_int_eq((int)world.open, 0);
    if (cases[i].talk.then && strcmp(cases[i].title, "bytes right behind the request") != 0)
        ck_assert_int_le((int)world.in_flight, 1);
    ck_assert_int_eq((int)metric_sum(world.hub.metrics, METRIC_UPGRADES), (int)cases[i].ended);
    server_stop(world.hub.server);
    server_flush(world.hub.server);
    world.hub.server = server_free(world.hub.server);
    metrics_free(world.hub.metrics);
    settings_release(&s);
    close(at[DOOR_WEB].fd);
    free(t);
    return OK;
}

START_TEST(detached_connections)
{
    int i = _i;

    ck_assert_int_eq(on_fiber(converse, &i), OK);
}
END_TEST

UNIT(detached, {"detached", detached_connections, COUNT(cases)})
