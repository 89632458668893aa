/* player.c - frames of RFC 6455 by hand, so that the hub is not judged by its own code. */
#include "tests/e2e/player.h"
#include "base/id.h"
#include "base/json.h"
#include "base/text.h"
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define ANSWER_MS   30000
#define MESSAGE_MAX MiB(1)

enum opcode { OP_TEXT = 1, OP_CLOSE = 8, OP_PING = 9, OP_PONG = 10 };

/* ---------------------------------------------------------------- bytes */

static void write_all(struct player *p, const void *bytes, size_t n)
{
    for (size_t at = 0; at < n && !p->closed;) {
        ssize_t k = send(p->fd, (const char *)bytes + at, n - at, MSG_NOSIGNAL);
        if (k <= 0)
            p->closed = true;
        else
            at += (size_t)k;
    }
}

/* More bytes into p->in; false at the deadline or at the end. */
static bool read_more(struct player *p, int64_t until)
{
    struct pollfd fd = {.fd = p->fd, .events = POLLIN};
    int64_t left = until - support_now_ms();

    if (p->closed || p->len == MESSAGE_MAX || left <= 0 || poll(&fd, 1, (int)left) <= 0)
        return false;
    ssize_t k = read(p->fd, p->in + p->len, MESSAGE_MAX - p->len);
    if (k <= 0) {
        p->closed = true;
        return false;
    }
    p->len += (size_t)k;
    p->in[p->len] = 0;
    return true;
}

static void consume(struct player *p, size_t n)
{
    memmove(p->in, p->in + n, p->len - n + 1);
    p->len -= n;
}

static void send_frame(struct player *p, enum opcode op, const char *text, size_t n)
{
    unsigned char head[14], mask[4];
    size_t k = 0;

    head[k++] = 0x80 | (unsigned char)op;
    if (n < 126) {
        head[k++] = 0x80 | (unsigned char)n;
    } else if (n < 65536) {
        head[k++] = 0x80 | 126;
        head[k++] = (unsigned char)(n >> 8);
        head[k++] = (unsigned char)n;
    } else {
        head[k++] = 0x80 | 127;
        for (int shift = 56; shift >= 0; shift -= 8)
            head[k++] = (unsigned char)((uint64_t)n >> shift);
    }
    random_bytes(mask, sizeof mask);
    memcpy(head + k, mask, sizeof mask);
    _cleanup_(freep) char *masked = xmalloc(n + 1);
    for (size_t i = 0; i < n; i++)
        masked[i] = (char)(text[i] ^ mask[i % 4]);
    write_all(p, head, k + sizeof mask);
    write_all(p, masked, n);
}

/* A whole frame out of p->in (the hub does not fragment what is this short); its text is NUL-terminated
 * and lives until the next call. */
static bool take_frame(struct player *p, int64_t until, enum opcode *ret_op, char **ret_text)
{
    static char *text;
    size_t head = 2, n;

    for (;;) {
        const unsigned char *b = (const unsigned char *)p->in;
        bool whole = p->len >= 2;
        n = whole ? b[1] & 0x7f : 0;
        head = n == 126 ? 4 : n == 127 ? 10 : 2;
        if (whole && p->len >= head) {
            if (head == 4)
                n = (size_t)b[2] << 8 | b[3];
            if (head == 10) {
                n = 0;
                for (int i = 2; i < 10; i++)
                    n = n << 8 | b[i];
            }
            ck_assert_msg((b[0] & 0xf0) == 0x80 && !(b[1] & 0x80), "a frame of the hub is odd");
            if (p->len >= head + n)
                break;
        }
        if (!read_more(p, until))
            return false;
    }
    *ret_op = (enum opcode)(p->in[0] & 0x0f);
    free(text);
    *ret_text = text = xstrndup(p->in + head, n);
    if (*ret_op == OP_CLOSE && n >= 2)
        p->close_code = (unsigned char)p->in[head] << 8 | (unsigned char)p->in[head + 1];
    consume(p, head + n);
    return true;
}

/* ---------------------------------------------------------------- the handshake */

static int connect_to(const char *url)
{
    const char *port = strrchr(url, ':');
    struct sockaddr_in sa = {.sin_family = AF_INET,
                             .sin_port = htons((uint16_t)atoi(port + 1)),
                             .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

    if (fd >= 0 && connect(fd, (struct sockaddr *)&sa, sizeof sa) < 0) {
        close(fd);
        fd = -1;
    }
    return fd;
}

struct player *player_open(const char *url, const char *agent_id, const char *token)
{
    struct player *p = xcalloc(1, sizeof *p);
    int64_t until = support_now_ms() + ANSWER_MS;
    char *end;

    p->in = xcalloc(1, MESSAGE_MAX + 1);
    p->fd = connect_to(url);
    p->closed = p->fd < 0;
    _cleanup_(freep) char *ask =
        xasprintf("GET /v1/agent/session?agent_id=%s HTTP/1.1\r\nHost: %s\r\nUpgrade: websocket\r\n"
                  "Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
                  "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nAuthorization: Bearer %s\r\n\r\n",
                  agent_id, url + strlen("http://"), token);
    write_all(p, ask, strlen(ask));
    while (!(end = strstr(p->in, "\r\n\r\n"))) {
        if (!read_more(p, until))
            return p;
    }
    p->status = atoi(p->in + strlen("HTTP/1.1 "));
    if (p->status == 101)
        ck_assert_msg(strstr(p->in, "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=") != NULL, "%s", p->in);
    consume(p, (size_t)(end + 4 - p->in));
    return p;
}

struct player *player_join(const char *url, const char *agent_id, const char *token,
                           const char *metadata)
{
    struct player *p = player_open(url, agent_id, token);

    ck_assert_msg(p->status == 101, "%s was not let in: %d %s", agent_id, p->status, p->in);
    player_say(p, "{\"type\":\"hello\",\"version\":\"1.0\",\"metadata\":%s}",
               metadata ? metadata : "{}");
    cJSON *m = player_next(p, ANSWER_MS);
    const char *type = cJSON_GetStringValue(cJSON_GetObjectItem(m, "type"));
    const char *session = cJSON_GetStringValue(cJSON_GetObjectItem(m, "session_id"));
    ck_assert_msg(str_eq(type, "welcome") && session, "%s: no welcome (%s), close code %d",
                  agent_id, type ? type : "-", p->close_code);
    snprintf(p->session, sizeof p->session, "%s", session);
    cJSON_Delete(m);
    return p;
}

/* ---------------------------------------------------------------- messages */

void player_say(struct player *p, const char *fmt, ...)
{
    _cleanup_(freep) char *text = NULL;
    va_list ap;

    va_start(ap, fmt);
    if (vasprintf(&text, fmt, ap) < 0)
        abort();
    va_end(ap);
    send_frame(p, OP_TEXT, text, strlen(text));
}

cJSON *player_next(struct player *p, int deadline_ms)
{
    int64_t until = support_now_ms() + deadline_ms;
    enum opcode op;
    char *text;

    while (take_frame(p, until, &op, &text)) {
        if (op == OP_CLOSE) {
            p->closed = true;
            return NULL;
        }
        if (op == OP_PING)
            send_frame(p, OP_PONG, text, strlen(text));
        if (op != OP_TEXT)
            continue;
        cJSON *m = cJSON_Parse(text);
        ck_assert_msg(m != NULL, "not JSON: %s", text);
        if (!str_eq(cJSON_GetStringValue(cJSON_GetObjectItem(m, "type")), "heartbeat"))
            return m;
        cJSON_Delete(m);
        player_say(p, "{\"type\":\"heartbeat\"}");
    }
    return NULL;
}

static bool knows(const struct player *p, const char *job_id)
{
    for (size_t i = 0; i < p->nknown; i++)
        if (strcmp(p->known[i], job_id) == 0)
            return true;
    return false;
}

static void remember(struct player *p, const char *job_id)
{
    if (!knows(p, job_id) && p->nknown < COUNT(p->known))
        snprintf(p->known[p->nknown++], sizeof p->known[0], "%s", job_id);
}

static bool is_known_command(const struct player *p, const cJSON *m)
{
    const char *job = cJSON_GetStringValue(cJSON_GetObjectItem(m, "job_id"));

    return job && knows(p, job) &&
           str_eq(cJSON_GetStringValue(cJSON_GetObjectItem(m, "type")), "command");
}

/* A message of this type; its job_id. */
static const char *expect(struct player *p, const char *type, const char *command, int deadline_ms)
{
    static char ids[16][ID_LEN + 1];
    static unsigned turn;
    char *out = ids[turn++ % COUNT(ids)];
    cJSON *m;

    while ((m = player_next(p, deadline_ms)) && is_known_command(p, m))
        cJSON_Delete(m);
    _cleanup_(freep) char *text = m ? cJSON_PrintUnformatted(m) : NULL;
    const char *job = cJSON_GetStringValue(cJSON_GetObjectItem(m, "job_id"));

    ck_assert_msg(
        m && job && str_eq(cJSON_GetStringValue(cJSON_GetObjectItem(m, "type")), type) &&
            (!command || str_eq(cJSON_GetStringValue(cJSON_GetObjectItem(m, "command")), command)),
        "wanted a %s %s, got %s (closed %d, code %d)", type, command ? command : "",
        text ? text : "nothing", p->closed, p->close_code);
    snprintf(out, sizeof ids[0], "%s", job);
    cJSON_Delete(m);
    return out;
}

const char *player_command(struct player *p, const char *command, int deadline_ms)
{
    return expect(p, "command", command, deadline_ms);
}

void player_ack(struct player *p, const char *job_id)
{
    remember(p, job_id);
    player_say(p, "{\"type\":\"ack\",\"job_id\":\"%s\"}", job_id);
}

void player_result(struct player *p, const char *job_id, const char *status, const char *response,
                   int deadline_ms)
{
    remember(p, job_id);
    player_say(p, "{\"type\":\"result\",\"job_id\":\"%s\",\"status\":\"%s\",\"response\":%s}",
               job_id, status, response);
    if (deadline_ms > 0)
        ck_assert_str_eq(expect(p, "result_ack", NULL, deadline_ms), job_id);
}

struct player *player_cut(struct player *p)
{
    if (p) {
        if (p->fd >= 0)
            close(p->fd);
        free(p->in);
        free(p);
    }
    return NULL;
}

void player_cutp(struct player **p)
{
    *p = player_cut(*p);
}
