/* session_client.c - frames in, frames out, one loop. */
#include "tests/e2e/session_client.h"
#include "base/text.h"
#include "rt/fiber.h"
#include "rt/loop.h"
#include "rt/offload.h"
#include <arpa/inet.h>
#include <event2/bufferevent.h>
#include <event2/bufferevent_ssl.h>
#include <event2/event.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void clients_begin(void)
{
    _cleanup_(cx_release) struct cx cx = CX_PLAIN("clients");

    if (loop_init(&cx) != OK)
        support_die("no loop: %s", cx.err.text);
}

void clients_end(void)
{
    offload_free();
    loop_free();
}

void clients_turn(void)
{
    event_base_loop(loop_base(), EVLOOP_NONBLOCK | EVLOOP_NO_EXIT_ON_EMPTY);
    support_nap(2);
}

static void on_message(void *arg, const char *text, size_t n)
{
    struct client *c = arg;

    ck_assert_uint_lt(c->n, CLIENT_HEARD_MAX);
    c->heard[c->n++] = xstrndup(text, n);
}

static void on_open(void *arg)
{
    ((struct client *)arg)->opened = true;
}

static void on_close(void *arg, int code, const char *reason)
{
    struct client *c = arg;

    c->closed = true;
    c->code = code;
    snprintf(c->reason, sizeof c->reason, "%s", reason);
}

void client_ask(struct client *c, int port, const char *agent_id, const char *token)
{
    client_ask_over(c, NULL, port, agent_id, token);
}

void client_ask_over(struct client *c, SSL *ssl, int port, const char *agent_id, const char *token)
{
    _cleanup_(freep) char *target = xasprintf("/v1/agent/session?agent_id=%s", agent_id);
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
    struct bufferevent *bev =
        ssl ? bufferevent_openssl_socket_new(loop_base(), -1, ssl, BUFFEREVENT_SSL_CONNECTING,
                                             BEV_OPT_CLOSE_ON_FREE)
            : bufferevent_socket_new(loop_base(), -1, BEV_OPT_CLOSE_ON_FREE);

    to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    ck_assert(bev && bufferevent_socket_connect(bev, (struct sockaddr *)&to, sizeof to) == 0);
    *c = (struct client){0};
    c->ws = websocket_connect(bev, &(struct websocket_opts){
                                       .host = "127.0.0.1",
                                       .target = target,
                                       .bearer = token,
                                       .open_ms = CLIENT_PATIENCE_MS,
                                       .arg = c,
                                       .on_message = on_message,
                                       .on_open = on_open,
                                       .on_close = on_close,
                                   });
}

void client_open(struct client *c, int port, const char *agent_id, const char *token)
{
    client_ask(c, port, agent_id, token);
    client_wait(c->opened || c->closed);
    ck_assert_msg(c->opened, "%s was refused: %d %s", agent_id, c->code, c->reason);
}

void client_enter(struct client *c, int port, const char *agent_id, const char *token)
{
    client_open(c, port, agent_id, token);
    client_say(c, "{\"type\":\"hello\",\"version\":\"1.0\",\"metadata\":{}}");
    client_hear(c, "welcome");
}

void client_say(struct client *c, const char *fmt, ...)
{
    char *text = NULL;
    va_list ap;

    va_start(ap, fmt);
    ck_assert_int_ge(vasprintf(&text, fmt, ap), 0);
    va_end(ap);
    ck_assert_msg(websocket_send(c->ws, text, strlen(text)), "not said: %d %s", c->code, c->reason);
    free(text);
}

static bool next_is(struct client *c, const char *type)
{
    const cJSON *t;

    cJSON_Delete(c->frame);
    c->frame = cJSON_Parse(c->heard[c->at]);
    ck_assert_msg(c->frame != NULL, "not JSON: %s", c->heard[c->at]);
    free(TAKE_PTR(c->heard[c->at]));
    c->at++;
    t = cJSON_GetObjectItemCaseSensitive(c->frame, "type");
    return t && str_eq(t->valuestring, type);
}

const cJSON *client_hear(struct client *c, const char *type)
{
    for (;;) {
        int64_t end = support_now_ms() + CLIENT_PATIENCE_MS;

        while (c->at == c->n && !c->closed && support_now_ms() < end)
            clients_turn();
        ck_assert_msg(c->at < c->n, "no %s came: %d %s", type, c->code, c->reason);
        if (next_is(c, type))
            return c->frame;
    }
}

const char *client_text(const struct client *c, const char *member)
{
    static char texts[16][512];
    static unsigned turn;
    char *out = texts[turn++ % COUNT(texts)];
    const cJSON *v = cJSON_GetObjectItemCaseSensitive(c->frame, member);
    _cleanup_(freep) char *printed = v && !cJSON_IsString(v) ? cJSON_PrintUnformatted(v) : NULL;

    snprintf(out, sizeof texts[0], "%s", printed ? printed : v ? v->valuestring : "");
    return out;
}

bool client_heard(struct client *c, const char *type)
{
    _cleanup_(freep) char *mark = xasprintf("\"type\":\"%s\"", type);

    clients_turn();
    for (size_t i = c->at; i < c->n; i++) {
        if (strstr(c->heard[i], mark))
            return true;
    }
    return false;
}

int client_code(struct client *c)
{
    client_wait(c->closed);
    return c->code;
}

void client_drop(struct client *c)
{
    c->ws = websocket_free(c->ws);
    for (; c->at < c->n; c->at++)
        free(c->heard[c->at]);
    cJSON_Delete(c->frame);
    *c = (struct client){0};
}

void client_leave(struct client *c)
{
    websocket_close(c->ws, WEBSOCKET_NORMAL, "");
    client_code(c);
    client_drop(c);
}

struct on_loop {
    rc (*fn)(struct cx *cx, void *arg);
    void *arg;
    rc r;
};

static rc on_loop_body(struct cx *cx, void *arg)
{
    struct on_loop *o = arg;

    o->r = o->fn(cx, o->arg);
    if (o->r != OK)
        printf("on_clients_loop: %s: %s\n", error_info(o->r)->code, cx_words(cx, o->r));
    loop_stop();
    return OK;
}

rc on_clients_loop(rc (*fn)(struct cx *cx, void *arg), void *arg)
{
    struct on_loop o = {fn, arg, OK};
    struct fiber_opts fo = {.name = "test", .timeout_ms = CLIENT_PATIENCE_MS};

    fiber_detach(fiber_spawn(&fo, on_loop_body, &o));
    loop_run();
    return o.r;
}
