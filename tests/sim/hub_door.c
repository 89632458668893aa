/* hub_door.c - see hub_door.h. */
#include "tests/sim/hub_door.h"
#include "base/id.h"
#include "base/json.h"
#include "base/text.h"
#include "rt/loop.h"
#include "rt/websocket.h"
#include "secure/tls.h"
#include <arpa/inet.h>
#include <event2/buffer.h>
#include <event2/bufferevent.h>
#include <event2/bufferevent_ssl.h>
#include <event2/event.h>
#include <event2/listener.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct door_session {
    struct door_session *next;
    struct hub_door *door;
    struct bufferevent *bev; /* while HTTP is spoken, and below the WebSocket */
    struct websocket *ws;
    char agent_id[256];
};

struct hub_door_inner {
    const struct tls *tls;
    struct evconnlistener *listener;
    struct door_session *sessions; /* newest first */
};

/* ---------------------------------------------------------------- sessions */

static void session_free(struct door_session *s)
{
    struct door_session **at = &s->door->in->sessions;

    while (*at != s)
        at = &(*at)->next;
    *at = s->next;
    if (s->ws)
        websocket_free(s->ws);
    else
        bufferevent_free(s->bev);
    free(s);
}

static struct door_session *newest(const struct hub_door *d)
{
    struct door_session *s = d->in->sessions;

    while (s && !s->ws)
        s = s->next;
    return s;
}

static void say(struct door_session *s, const char *text)
{
    websocket_send(s->ws, text, strlen(text));
}

static void on_close(void *arg, int code, const char *reason)
{
    struct door_session *s = arg;

    s->door->lost++;
    s->door->open--;
    s->door->close_code = code;
    session_free(s);
}

static void welcome(struct door_session *s)
{
    struct hub_door *d = s->door;
    char text[512], id[ID_LEN + 1];

    snprintf(text, sizeof text,
             "{\"type\":\"welcome\",\"session_id\":\"%s\",\"agent_id\":\"%s\",\"heartbeat_ms\":%"
             "lld,\"message_max\":262144}",
             id_new(id), s->agent_id, (long long)(d->heartbeat_ms ? d->heartbeat_ms : 30000));
    say(s, text);
    d->welcomed++;
}

static void on_message(void *arg, const char *text, size_t n)
{
    struct door_session *s = arg;
    struct hub_door *d = s->door;
    cJSON *o = cJSON_ParseWithLength(text, n);
    const char *type = cJSON_GetStringValue(cJSON_GetObjectItem(o, "type"));
    const char *job = cJSON_GetStringValue(cJSON_GetObjectItem(o, "job_id"));
    char ack[128];

    d->frames = xrealloc(d->frames, (d->frame_count + 1) * sizeof *d->frames);
    d->frames[d->frame_count++] = o;
    if (str_eq(type, "hello") && !d->no_welcome) {
        welcome(s);
    } else if (str_eq(type, "heartbeat") && !d->no_heartbeats) {
        say(s, "{\"type\":\"heartbeat\"}");
    } else if (str_eq(type, "result") && job && !d->no_result_ack) {
        snprintf(ack, sizeof ack, "{\"type\":\"result_ack\",\"job_id\":\"%s\"}", job);
        say(s, ack);
    }
}

/* ---------------------------------------------------------------- the upgrade */

/* A header's value, cut out in place of a copy; "" if it is not there. */
static char *header(const char *head, const char *name, char *out, size_t size)
{
    const char *at = strcasestr(head, name);
    size_t n = at ? strcspn(at + strlen(name), "\r\n") : 0;

    snprintf(out, size, "%.*s", (int)n, at ? at + strlen(name) : "");
    return out;
}

static void upgrade(struct door_session *s, const char *head)
{
    struct hub_door *d = s->door;
    struct evbuffer *out = bufferevent_get_output(s->bev);
    char key[64], accept[WEBSOCKET_ACCEPT_LEN + 1];

    header(head, "agent_id=", s->agent_id, sizeof s->agent_id);
    s->agent_id[strcspn(s->agent_id, " ")] = 0;
    snprintf(d->agent_id, sizeof d->agent_id, "%s", s->agent_id);
    header(head, "Authorization: Bearer ", d->bearer, sizeof d->bearer);
    evbuffer_add_printf(
        out,
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        "Sec-WebSocket-Accept: %s\r\n\r\n",
        websocket_accept(header(head, "Sec-WebSocket-Key: ", key, sizeof key), accept));
    s->ws = websocket_new(
        s->bev, &(struct websocket_opts){.arg = s, .on_message = on_message, .on_close = on_close});
    d->open++;
}

static void on_read(struct bufferevent *bev, void *arg)
{
    struct door_session *s = arg;
    struct hub_door *d = s->door;
    struct evbuffer *in = bufferevent_get_input(bev);
    struct evbuffer_ptr end = evbuffer_search(in, "\r\n\r\n", 4, NULL);
    char head[4096] = "";

    if (end.pos < 0)
        return;
    evbuffer_remove(in, head, MIN((size_t)end.pos + 4, sizeof head - 1));
    d->asked++;
    if (!d->refuse_status) {
        upgrade(s, head);
        return;
    }
    evbuffer_add_printf(bufferevent_get_output(bev), "HTTP/1.1 %d Refused\r\nContent-Length: 0\r\n",
                        d->refuse_status);
    if (d->retry_after_s)
        evbuffer_add_printf(bufferevent_get_output(bev), "Retry-After: %d\r\n", d->retry_after_s);
    evbuffer_add_printf(bufferevent_get_output(bev), "\r\n");
}

static void on_event(struct bufferevent *bev, short what, void *arg)
{
    if (what & (BEV_EVENT_EOF | BEV_EVENT_ERROR))
        session_free(arg);
}

static void on_accept(struct evconnlistener *l, evutil_socket_t fd, struct sockaddr *from, int len,
                      void *arg)
{
    struct hub_door *d = arg;
    struct door_session *s = xcalloc(1, sizeof *s);

    s->door = d;
    s->next = d->in->sessions;
    d->in->sessions = s;
    s->bev = d->in->tls
                 ? bufferevent_openssl_socket_new(loop_base(), fd, SSL_new(tls_ctx(d->in->tls)),
                                                  BUFFEREVENT_SSL_ACCEPTING, BEV_OPT_CLOSE_ON_FREE)
                 : bufferevent_socket_new(loop_base(), fd, BEV_OPT_CLOSE_ON_FREE);
    bufferevent_setcb(s->bev, on_read, NULL, on_event, s);
    bufferevent_enable(s->bev, EV_READ | EV_WRITE);
}

/* ---------------------------------------------------------------- life */

rc hub_door_new(struct cx *cx, const struct tls *tls, int port, struct hub_door **ret)
{
    struct sockaddr_in a = {.sin_family = AF_INET,
                            .sin_addr.s_addr = htonl(INADDR_LOOPBACK),
                            .sin_port = htons((uint16_t)port)};
    struct hub_door *d = xcalloc(1, sizeof *d);

    d->in = xcalloc(1, sizeof *d->in);
    d->in->tls = tls;
    d->in->listener =
        evconnlistener_new_bind(loop_base(), on_accept, d,
                                LEV_OPT_CLOSE_ON_FREE | LEV_OPT_REUSEABLE | LEV_OPT_CLOSE_ON_EXEC,
                                128, (struct sockaddr *)&a, sizeof a);
    if (!d->in->listener) {
        free(d->in);
        free(d);
        return fail(cx, OS, "port %d is taken", port);
    }
    *ret = d;
    return OK;
}

int hub_door_port(const struct hub_door *d)
{
    struct sockaddr_in a;
    socklen_t len = sizeof a;

    getsockname(evconnlistener_get_fd(d->in->listener), (struct sockaddr *)&a, &len);
    return ntohs(a.sin_port);
}

struct hub_door *hub_door_free(struct hub_door *d)
{
    if (!d)
        return NULL;
    evconnlistener_free(d->in->listener);
    while (d->in->sessions)
        session_free(d->in->sessions);
    for (size_t i = 0; i < d->frame_count; i++)
        cJSON_Delete(d->frames[i]);
    free(d->frames);
    free(d->in);
    free(d);
    return NULL;
}

/* ---------------------------------------------------------------- verbs */

void hub_door_say(struct hub_door *d, const char *text)
{
    struct door_session *s = newest(d);

    if (s)
        say(s, text);
}

bool hub_door_say_to(struct hub_door *d, const char *agent_id, const char *text)
{
    struct door_session *s = d->in->sessions;

    while (s && (!s->ws || strcmp(s->agent_id, agent_id) != 0))
        s = s->next;
    return s && websocket_send(s->ws, text, strlen(text));
}

void hub_door_command(struct hub_door *d, const char *job_id, const char *command,
                      const char *payload, int64_t timeout_ms)
{
    _cleanup_(freep) char *text = xasprintf("{\"type\":\"command\",\"job_id\":\"%s\",\"command\":"
                                            "\"%s\",\"payload\":%s,\"timeout_ms\":%lld}",
                                            job_id, command, payload, (long long)timeout_ms);
    hub_door_say(d, text);
}

void hub_door_result_ack(struct hub_door *d, const char *job_id)
{
    _cleanup_(freep) char *text = xasprintf("{\"type\":\"result_ack\",\"job_id\":\"%s\"}", job_id);

    hub_door_say(d, text);
}

void hub_door_close(struct hub_door *d, int code)
{
    struct door_session *s = newest(d);

    if (s)
        websocket_close(s->ws, code, "said the test");
}

static void end_without_a_word(struct hub_door *d, struct door_session *s)
{
    d->lost++;
    d->open--;
    d->close_code = 0;
    session_free(s);
}

void hub_door_cut(struct hub_door *d)
{
    struct door_session *s = newest(d);

    if (s)
        end_without_a_word(d, s);
}

void hub_door_cut_in_frame(struct hub_door *d)
{
    struct door_session *s = newest(d);
    const unsigned char half[] = {0x81, 126, 0x01, 0x00,
                                  '{',  '"', 't',  'y'}; /* 256 bytes are promised */

    if (!s || write(bufferevent_getfd(s->bev), half, sizeof half) != sizeof half)
        return;
    end_without_a_word(d, s);
}

static bool is(const cJSON *frame, const char *type, const char *job_id)
{
    return str_eq(cJSON_GetStringValue(cJSON_GetObjectItem(frame, "type")), type) &&
           (!job_id || str_eq(cJSON_GetStringValue(cJSON_GetObjectItem(frame, "job_id")), job_id));
}

int hub_door_count(const struct hub_door *d, const char *type, const char *job_id)
{
    int n = 0;

    for (size_t i = 0; i < d->frame_count; i++)
        n += is(d->frames[i], type, job_id);
    return n;
}

const char *hub_door_text(const struct hub_door *d, const char *type, const char *job_id,
                          const char *path)
{
    static char printed[4][32];
    static int turn;
    const cJSON *v = NULL;

    for (size_t i = 0; i < d->frame_count; i++) {
        if (is(d->frames[i], type, job_id))
            v = json_path(d->frames[i], path);
    }
    if (!cJSON_IsNumber(v))
        return cJSON_IsString(v) ? v->valuestring : "";
    char *out = printed[turn++ % 4];
    snprintf(out, sizeof printed[0], "%g", v->valuedouble);
    return out;
}
