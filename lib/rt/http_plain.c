/* http_plain.c - connect, write, read, in the order of the lines, on the caller's fiber.
 *
 *   a kept connection, or connect ──> the request written ──> bytes read into http_answer ──> kept, or closed
 *        |                                |                         |
 *     NOT_SENT                      from here UNCLEAR          whole: ANSWERED
 *
 * A callback does nothing but wake the fiber. While a call waits for its answer it holds a descriptor, an event in the
 * frame of wait_for, and an http_answer; the bytes pass through one buffer that all share, since nobody parks while he
 * reads. A connection that was kept and turns out to be closed, before a byte of the answer came, is replaced once by a fresh
 * one: calls whose repetition would matter ask for a fresh one to begin with. */
#include "rt/http_plain.h"
#include "base/clock.h"
#include "base/text.h"
#include "rt/address.h"
#include "rt/frame.h"
#include "rt/http_answer.h"
#include "rt/loop.h"
#include <arpa/inet.h>
#include <assert.h>
#include <curl/curl.h>
#include <errno.h>
#include <event2/event.h>
#include <event2/event_struct.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define CONNECT_MS  5000
#define KEPT_MAX    128
#define KEEP_MS     55000 /* shorter than what servers commonly keep */
#define REQUEST_MAX MiB(16)

struct kept {
    int fd;
    struct sockaddr_storage address;
    int64_t since_mono_ms;
};
static struct {
    struct kept list[KEPT_MAX]; /* the oldest first */
    size_t n;
    struct event *timer;
    char bytes[KiB(16)];
} plain;

/* ---------------------------------------------------------------- the URL */

static bool port_and_address(const char *host, const char *port, struct sockaddr_storage *ret)
{
    struct sockaddr_in *v4 = (struct sockaddr_in *)ret;
    struct sockaddr_in6 *v6 = (struct sockaddr_in6 *)ret;
    char inside[INET6_ADDRSTRLEN] = "";
    uint16_t n = htons((uint16_t)atoi(port));

    memset(ret, 0, sizeof *ret);
    if (inet_pton(AF_INET, host, &v4->sin_addr) == 1) {
        v4->sin_family = AF_INET;
        v4->sin_port = n;
        return true;
    }
    size_t len = strlen(host);
    if (len < 3 || len - 2 >= sizeof inside || host[0] != '[' || host[len - 1] != ']')
        return false;
    memcpy(inside, host + 1, len - 2);
    if (inet_pton(AF_INET6, inside, &v6->sin6_addr) != 1)
        return false;
    v6->sin6_family = AF_INET6;
    v6->sin6_port = n;
    return true;
}

static socklen_t address_size(const struct sockaddr_storage *a)
{
    return a->ss_family == AF_INET ? sizeof(struct sockaddr_in) : sizeof(struct sockaddr_in6);
}

bool plain_url_read(const char *url, struct plain_url *ret)
{
    CURLU *u = curl_url();
    char *scheme = NULL, *host = NULL, *port = NULL, *path = NULL, *query = NULL, *user = NULL;

    *ret = (struct plain_url){0};
    if (!u)
        abort();
    bool ok = curl_url_set(u, CURLUPART_URL, url, CURLU_PATH_AS_IS) == CURLUE_OK &&
              curl_url_get(u, CURLUPART_SCHEME, &scheme, 0) == CURLUE_OK &&
              strcmp(scheme, "http") == 0 &&
              curl_url_get(u, CURLUPART_USER, &user, 0) == CURLUE_NO_USER &&
              curl_url_get(u, CURLUPART_HOST, &host, 0) == CURLUE_OK &&
              curl_url_get(u, CURLUPART_PORT, &port, CURLU_DEFAULT_PORT) == CURLUE_OK &&
              curl_url_get(u, CURLUPART_PATH, &path, 0) == CURLUE_OK;
    if (ok) {
        curl_url_get(u, CURLUPART_QUERY, &query, 0);
        ret->address = xmalloc(sizeof *ret->address);
        ok = port_and_address(host, port, ret->address);
        ret->host = strcmp(port, "80") == 0 ? xstrdup(host) : xasprintf("%s:%s", host, port);
        ret->target = query ? xasprintf("%s?%s", path, query) : xstrdup(path);
    }
    curl_free(scheme);
    curl_free(host);
    curl_free(port);
    curl_free(path);
    curl_free(query);
    curl_free(user);
    curl_url_cleanup(u);
    return ok;
}

static void forget_texts(struct plain_url *u)
{
    free(TAKE_PTR(u->host));
    free(TAKE_PTR(u->target));
}

void plain_url_release(struct plain_url *u)
{
    forget_texts(u);
    free(TAKE_PTR(u->address));
}

/* ---------------------------------------------------------------- the request */

bool plain_takes(const struct http_request *q)
{
    static const char *const ours[] = {
        "content-length", "transfer-encoding", "connection", "expect", "te", "upgrade"};

    for (const struct http_header *h = q->headers; h && h->name; h++) {
        for (size_t i = 0; i < COUNT(ours); i++) {
            if (strcasecmp(h->name, ours[i]) == 0)
                return false;
        }
    }
    return true;
}

static bool says(const struct http_header *h, const char *name)
{
    for (; h && h->name; h++) {
        if (strcasecmp(h->name, name) == 0)
            return true;
    }
    return false;
}

static void write_request(const struct http_request *q, const struct plain_url *u, struct buf *b)
{
    const char *method = q->method ? q->method : "GET";

    buf_printf(b, "%s %s HTTP/1.1\r\n", method, u->target);
    if (!says(q->headers, "host"))
        buf_printf(b, "Host: %s\r\n", u->host);
    if (!says(q->headers, "user-agent"))
        buf_puts(b, "User-Agent: mihwar/" MIHWAR_VERSION "\r\n");
    if (!says(q->headers, "accept"))
        buf_puts(b, "Accept: */*\r\n");
    for (const struct http_header *h = q->headers; h && h->name; h++)
        buf_printf(b, "%s: %s\r\n", h->name, h->value);
    if (strcmp(method, "HEAD") != 0 && (q->body || strcmp(method, "GET") != 0)) {
        if (q->body && !says(q->headers, "content-type"))
            buf_puts(b, "Content-Type: application/x-www-form-urlencoded\r\n");
        buf_printf(b, "Content-Length: %zu\r\n", q->body ? q->body_len : 0);
    }
    buf_puts(b, "\r\n");
    if (q->body && strcmp(method, "HEAD") != 0)
        buf_append(b, q->body, q->body_len);
}

/* ---------------------------------------------------------------- waiting for a descriptor */

struct readiness {
    struct fiber *fiber;
    bool ready;
};

static void on_ready(evutil_socket_t fd, short what, void *arg)
{
    struct readiness *w = arg;

    w->ready = true;
    fiber_wake(w->fiber);
}

static MW_OWN_FRAME rc wait_for(struct cx *cx, int fd, short what)
{
    struct readiness w = {.fiber = cx->fiber};
    struct event ev;
    rc r = OK;

    event_assign(&ev, loop_base(), fd, what, on_ready, &w);
    if (event_add(&ev, NULL) != 0)
        abort(); /* out of memory, or of kernel poll entries: this call would hang */
    fiber_shrink(); /* what libevent, connecting and writing needed of the stack: this may be a long wait */
    while (!w.ready && r == OK)
        r = fiber_park_in(cx, "http_call");
    event_del(&ev);
    return r;
}

/* ---------------------------------------------------------------- connections that are kept */

static void drop_first(size_t n)
{
    if (n == 0)
        return;
    for (size_t i = 0; i < n; i++)
        close(plain.list[i].fd);
    plain.n -= n;
    memmove(plain.list, plain.list + n, plain.n * sizeof *plain.list);
}

static void on_age(evutil_socket_t fd, short what, void *arg)
{
    int64_t now = clock_mono_ms();
    size_t old = 0;

    while (old < plain.n && now - plain.list[old].since_mono_ms >= KEEP_MS)
        old++;
    drop_first(old);
    if (plain.n > 0) {
        struct timeval tv = {.tv_sec = 1};
        if (event_add(plain.timer, &tv) != 0)
            abort();
    }
}

static void keep(int fd, const struct sockaddr_storage *address)
{
    if (plain.n == KEPT_MAX)
        drop_first(1);
    plain.list[plain.n++] =
        (struct kept){.fd = fd, .address = *address, .since_mono_ms = clock_mono_ms()};
    if (!plain.timer)
        plain.timer = evtimer_new(loop_base(), on_age, NULL);
    if (!plain.timer)
        abort();
    if (plain.n == 1)
        on_age(-1, 0, NULL);
}

/* Nothing came on it since: no end, and no byte that nobody asked for. */
static bool is_silent(int fd)
{
    char c;

    return recv(fd, &c, 1, MSG_PEEK | MSG_DONTWAIT) < 0 &&
           (errno == EAGAIN || errno == EWOULDBLOCK);
}

/* The latest kept connection to this address; -1: none. */
static int take_kept(const struct sockaddr_storage *address)
{
    for (size_t i = plain.n; i > 0; i--) {
        struct kept k = plain.list[i - 1];
        if (memcmp(&k.address, address, sizeof *address) != 0)
            continue;
        plain.n--;
        memmove(plain.list + i - 1, plain.list + i, (plain.n - (i - 1)) * sizeof *plain.list);
        if (clock_mono_ms() - k.since_mono_ms < KEEP_MS && is_silent(k.fd))
            return k.fd;
        close(k.fd);
    }
    return -1;
}

void plain_free(void)
{
    drop_first(plain.n);
    if (plain.timer)
        event_free(TAKE_PTR(plain.timer));
}

/* ---------------------------------------------------------------- one exchange */

struct exchange {
    const struct http_request *q;
    struct plain_url *u;
    struct http_response *r;
    int fd;
    bool kept;       /* the connection had served before */
    bool sending;    /* a byte of the request may have left */
    const char *why; /* what went wrong */
    struct http_answer answer;
};

static MW_OWN_FRAME rc connected(struct cx *cx, struct exchange *x)
{
    _cleanup_(cx_deadline_restore) _unused_ struct cx_deadline d =
        cx_deadline_within(cx, x->q->connect_ms > 0 ? x->q->connect_ms : CONNECT_MS);
    int error = 0, on = 1;
    socklen_t size = sizeof error;

    x->fd = socket(x->u->address->ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (x->fd < 0) {
        x->why = "no socket could be opened";
        return OK;
    }
    setsockopt(x->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    if (connect(x->fd, (const struct sockaddr *)x->u->address, address_size(x->u->address)) == 0)
        return OK;
    if (errno == EINPROGRESS) {
        try(wait_for(cx, x->fd, EV_WRITE));
        getsockopt(x->fd, SOL_SOCKET, SO_ERROR, &error, &size);
    } else {
        error = errno;
    }
    if (error)
        x->why = "could not connect to the server";
    return OK;
}

/* Whatever keeps it from being written: what the server has said already is read afterwards. */
static rc send_all(struct cx *cx, struct exchange *x, const struct buf *request)
{
    for (size_t sent = 0; sent < request->len;) {
        x->sending = true;
        ssize_t k = send(x->fd, request->p + sent, request->len - sent, MSG_NOSIGNAL);
        if (k >= 0)
            sent += (size_t)k;
        else if (errno == EAGAIN || errno == EWOULDBLOCK)
            try(wait_for(cx, x->fd, EV_WRITE));
        else if (errno != EINTR)
            break;
    }
    return OK;
}

static enum answer_progress read_some(struct exchange *x)
{
    for (;;) {
        ssize_t k = recv(x->fd, plain.bytes, sizeof plain.bytes, 0);
        if (k == 0)
            return http_answer_close(&x->answer);
        if (k < 0 && errno == EINTR)
            continue;
        if (k < 0)
            return errno == EAGAIN || errno == EWOULDBLOCK ? ANSWER_MORE : ANSWER_BAD;
        enum answer_progress got = http_answer_take(&x->answer, plain.bytes, (size_t)k);
        if (got != ANSWER_MORE)
            return got;
    }
}

static rc receive(struct cx *cx, struct exchange *x, enum answer_progress *ret)
{
    for (;;) {
        try(wait_for(cx, x->fd, EV_READ));
        *ret = read_some(x);
        if (*ret != ANSWER_MORE)
            return OK;
    }
}

/* The answer is whole, or x->why says what is wrong with it. */
static void judge(struct exchange *x, enum answer_progress got)
{
    if (got == ANSWER_WHOLE)
        x->r->outcome = HTTP_ANSWERED;
    else
        x->why = got == ANSWER_TOO_LONG ? "the answer is longer than allowed"
                 : x->answer.touched    ? "the answer broke off or was no HTTP"
                                        : "the connection ended without an answer";
}

static void let_go(struct exchange *x)
{
    if (x->fd >= 0 && x->r->outcome == HTTP_ANSWERED && x->answer.keep)
        keep(x->fd, x->u->address);
    else if (x->fd >= 0)
        close(x->fd);
    x->fd = -1;
    http_answer_release(&x->answer);
}

/* Once, on a connection that was kept or on one of its own. */
static rc exchange(struct cx *cx, struct exchange *x)
{
    _cleanup_(buf_release) struct buf request = BUF(REQUEST_MAX);
    enum answer_progress got = ANSWER_BAD;
    rc r = OK;

    x->why = NULL;
    x->fd = x->q->fresh || x->kept ? -1 : take_kept(x->u->address);
    x->kept = x->fd >= 0;
    http_answer_begin(&x->answer, x->r, x->q->method && strcmp(x->q->method, "HEAD") == 0);
    if (!x->kept)
        r = connected(cx, x);
    if (r == OK && !x->why) {
        write_request(x->q, x->u, &request);
        if (!buf_ok(&request))
            x->why = "the request is too long";
    }
    if (r == OK && !x->why)
        r = send_all(cx, x, &request);
    buf_release(&request);
    if (!x->kept)
        forget_texts(x->u); /* it is not written again, and thousands wait */
    if (r == OK && !x->why)
        r = receive(cx, x, &got);
    if (r == OK && !x->why)
        judge(x, got);
    let_go(x);
    return r;
}

rc plain_call(struct cx *cx, const struct http_request *q, struct plain_url *u, int64_t total_ms,
              struct http_response *r, const char **ret_why, bool *ret_refused)
{
    _cleanup_(cx_deadline_restore) _unused_ struct cx_deadline d = cx_deadline_within(cx, total_ms);
    struct exchange x = {.q = q, .u = u, .r = r, .fd = -1};

    *ret_refused = q->refuse_private && !address_is_public((const struct sockaddr *)u->address);
    *ret_why = "the address is not public";
    if (*ret_refused)
        return OK;
    rc result = exchange(cx, &x);
    if (result == OK && r->outcome != HTTP_ANSWERED && x.kept && !x.answer.touched)
        result = exchange(cx, &x);
    if (r->outcome != HTTP_ANSWERED)
        r->outcome = x.sending ? HTTP_UNCLEAR : HTTP_NOT_SENT;
    *ret_why = result == E_CANCELLED ? "it was cancelled"
               : result != OK        ? "the time was up"
                                     : x.why;
    return result == E_DEADLINE ? OK : result;
}
