/* http.c - libcurl's multi socket API on the loop; http_plain.c serves what goes over plain http to an address.
 *
 *   fiber: build the easy handle --> starting list --loop_soon--> curl_multi_add_handle
 *   loop:  socket ready, timer     --> curl_multi_socket_action --> finished: outcome written, fiber woken
 *   fiber: woken --> copies nothing: the response was filled for it; or gave up --> abandoned list --loop_soon--> removed
 *
 * curl does all its work on the loop's stack: TLS handshakes and resolvers need more than a fiber has.
 *
 * How far a request got is asked of curl itself: it calls before_request() when the connection stands and the request is
 * about to be written, on every connection that it tries. Not called: not one byte left, NOT_SENT. Called: the request may
 * have arrived, and only a complete answer makes it ANSWERED. */
#include "rt/http.h"
#include "base/clock.h"
#include "base/text.h"
#include "rt/address.h"
#include "rt/frame.h"
#include "rt/http_plain.h"
#include "rt/loop.h"
#include "rt/spans.h"
#include <assert.h>
#include <ctype.h>
#include <curl/curl.h>
#include <event2/event.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#define URL_MAX    16000
#define MAX_BODY   MiB(1)
#define CONNECT_MS 5000
#define TOTAL_MS   30000
#define KEEP_SECONDS                                                                               \
    55L /* shorter than what servers commonly keep: a reused connection that dies is doubt */
#define SMALL_BODY   KiB(256)
#define SMALL_BUFFER 1024L /* thousands of questions wait at once, for answers of a line */
#define LARGE_BUFFER 16384L

struct call {
    struct call *next; /* in starting or abandoned */
    CURL *easy;
    struct curl_slist *headers;
    struct fiber *fiber;     /* NULL: nobody waits any more */
    struct http_response *r; /* the waiter's; NULL when it gave up */
    char *body;              /* curl sends from here */
    int64_t begun_mono_ms;
    bool refuse_private;
    bool added;   /* curl has it */
    bool sending; /* the request may have left */
    bool refused; /* an address was not public */
    bool too_long;
    /* The empty line after the headers has come: curl takes a head cut short for an answer. */
    bool head;
    bool done;
};

static struct {
    CURLM *multi;
    struct event *timer;
    struct call *starting, *abandoned;
    size_t living;
    bool unbound; /* no bound on the connections of one provider */
} http;

void http_global_init(void)
{
    if (curl_global_init(CURL_GLOBAL_DEFAULT) != 0)
        abort(); /* before any service: there is no memory or no TLS library */
}

/* ---------------------------------------------------------------- a call's end */

static void call_free(struct call *c)
{
    if (c->added)
        curl_multi_remove_handle(http.multi, c->easy);
    curl_easy_cleanup(c->easy);
    curl_slist_free_all(c->headers);
    free(c->body);
    free(c);
    http.living--;
}

static void say_why(struct http_response *r, const char *words)
{
    snprintf(r->why, sizeof r->why, "%s: %s after %lld ms",
             r->outcome == HTTP_NOT_SENT ? "the request was not sent"
                                         : "the request may have arrived, no complete answer came",
             words, (long long)r->took_ms);
}

static void fill(struct call *c, CURLcode result)
{
    struct http_response *r = c->r;
    curl_off_t after = 0;
    char *type = NULL;

    if (result == CURLE_OK && !c->head)
        result = CURLE_WEIRD_SERVER_REPLY;
    r->took_ms = clock_mono_ms() - c->begun_mono_ms;
    r->outcome = result == CURLE_OK ? HTTP_ANSWERED : c->sending ? HTTP_UNCLEAR : HTTP_NOT_SENT;
    curl_easy_getinfo(c->easy, CURLINFO_RESPONSE_CODE, &r->status);
    if (curl_easy_getinfo(c->easy, CURLINFO_CONTENT_TYPE, &type) == CURLE_OK && type)
        snprintf(r->content_type, sizeof r->content_type, "%s", type);
    if (curl_easy_getinfo(c->easy, CURLINFO_RETRY_AFTER, &after) == CURLE_OK && after > 0)
        r->retry_after_s = after;
    if (c->too_long)
        say_why(r, "the answer is longer than allowed");
    else if (c->refused)
        say_why(r, "the address is not public");
    else if (result != CURLE_OK)
        say_why(r, curl_easy_strerror(
                       result)); /* the generic sentence; curl's error buffer would hold the URL */
}

/* Calls that curl has finished: tell their fibers. */
static void collect(void)
{
    CURLMsg *m;
    int left;

    while ((m = curl_multi_info_read(http.multi, &left))) {
        struct call *c = NULL;
        CURLcode result = m->data.result;
        if (m->msg != CURLMSG_DONE)
            continue;
        curl_easy_getinfo(m->easy_handle, CURLINFO_PRIVATE, &c);
        if (c->r)
            fill(c, result);
        c->done = true;
        if (c->fiber)
            fiber_wake(c->fiber);
    }
}

/* ---------------------------------------------------------------- sockets and the timer, on the loop's stack */

static void on_socket(evutil_socket_t fd, short what, void *arg)
{
    int running,
        flags = (what & EV_READ ? CURL_CSELECT_IN : 0) | (what & EV_WRITE ? CURL_CSELECT_OUT : 0);

    curl_multi_socket_action(http.multi, fd, flags, &running);
    collect();
}

static void on_timer(evutil_socket_t fd, short what, void *arg)
{
    int running;

    curl_multi_socket_action(http.multi, CURL_SOCKET_TIMEOUT, 0, &running);
    collect();
}

static int watch_socket(CURL *easy, curl_socket_t fd, int what, void *arg, void *socket_arg)
{
    struct event *ev = socket_arg;
    short flags = EV_PERSIST;

    if (ev)
        event_free(ev);
    if (what == CURL_POLL_REMOVE) {
        curl_multi_assign(http.multi, fd, NULL);
        return 0;
    }
    flags |= what & CURL_POLL_IN ? EV_READ : 0;
    flags |= what & CURL_POLL_OUT ? EV_WRITE : 0;
    ev = event_new(loop_base(), fd, flags, on_socket, NULL);
    if (!ev || event_add(ev, NULL) != 0)
        abort(); /* out of memory, or of kernel poll entries: this call would hang */
    curl_multi_assign(http.multi, fd, ev);
    return 0;
}

static int set_timer(CURLM *multi, long ms, void *arg)
{
    struct timeval tv = {.tv_sec = ms / 1000, .tv_usec = ms % 1000 * 1000};

    if (ms < 0)
        event_del(http.timer);
    else if (event_add(http.timer, &tv) != 0)
        abort();
    return 0;
}

static void start_calls(void *arg)
{
    struct call *c;

    while ((c = http.starting)) {
        http.starting = c->next;
        c->next = NULL;
        if (curl_multi_add_handle(http.multi, c->easy) != CURLM_OK)
            abort(); /* only memory can be missing here */
        c->added = true;
    }
}

static void bury_calls(void *arg)
{
    struct call *c;

    while ((c = http.abandoned)) {
        http.abandoned = c->next;
        call_free(c);
    }
}

/* ---------------------------------------------------------------- what curl asks during a call */

static size_t on_body(char *p, size_t size, size_t n, void *arg)
{
    struct call *c = arg;

    if (!c->r)
        return 0;
    if (!buf_append(&c->r->body, p, size * n)) {
        c->too_long = true;
        return 0;
    }
    return size * n;
}

static size_t on_header(char *p, size_t size, size_t n, void *arg)
{
    struct call *c = arg;
    size_t len = size * n;

    if (!c->r)
        return 0;
    if (len > 5 && memcmp(p, "HTTP/", 5) == 0)
        c->head = false; /* a further head, after 1xx */
    else if (len <= 2)
        c->head = true;
    return len;
}

/* Before it connects: a private address does not even get a SYN. */
static curl_socket_t open_socket(void *arg, curlsocktype purpose, struct curl_sockaddr *a)
{
    struct call *c = arg;

    if (c->refuse_private && !address_is_public(&a->addr)) {
        c->refused = true;
        return CURL_SOCKET_BAD;
    }
    return socket(a->family, a->socktype | SOCK_CLOEXEC, a->protocol);
}

/* The connection stands (new or kept); nothing was written yet. */
static int before_request(void *arg, char *ip, char *own_ip, int port, int own_port)
{
    struct call *c = arg;

    if (!c->r) /* its caller has left, and was told NOT_SENT: so not a byte leaves */
        return CURL_PREREQFUNC_ABORT;
    if (c->refuse_private &&
        !address_text_is_public(ip)) { /* a connection kept from a call that did not mind */
        c->refused = true;
        return CURL_PREREQFUNC_ABORT;
    }
    c->sending = true;
    return CURL_PREREQFUNC_OK;
}

/* ---------------------------------------------------------------- the caller's side */

static rc check_url(struct cx *cx, const char *url)
{
    CURLU *u = curl_url();
    char *scheme = NULL, *host = NULL;

    if (!u)
        abort();
    bool ok = url && strlen(url) <= URL_MAX &&
              curl_url_set(u, CURLUPART_URL, url, 0) == CURLUE_OK &&
              curl_url_get(u, CURLUPART_SCHEME, &scheme, 0) == CURLUE_OK &&
              curl_url_get(u, CURLUPART_HOST, &host, 0) == CURLUE_OK && *host &&
              (strcmp(scheme, "http") == 0 || strcmp(scheme, "https") == 0);
    curl_free(scheme);
    curl_free(host);
    curl_url_cleanup(u);
    if (!ok)
        return fail(cx, INVALID_FIELD,
                    "this is not an http or https URL"); /* its text may hold a secret */
    return OK;
}

static bool one_line(const char *s)
{
    for (; *s; s++) {
        if ((unsigned char)*s < 0x20 || *s == 0x7f)
            return false;
    }
    return true;
}

static void add_line(struct call *c, const char *line)
{
    c->headers = curl_slist_append(c->headers, line);
    if (!c->headers)
        abort();
}

static rc check_headers(struct cx *cx, const struct http_header *h)
{
    for (; h && h->name; h++) {
        if (!one_line(h->name) || !one_line(h->value) || !*h->name || strpbrk(h->name, ": "))
            return fail(cx, INVALID_FIELD, "a header holds characters that are not allowed there");
    }
    return OK;
}

static void add_headers(struct call *c, const struct http_header *h)
{
    for (; h && h->name; h++) {
        _cleanup_(freep) char *line =
            *h->value ? xasprintf("%s: %s", h->name, h->value)
                      : xasprintf("%s;", h->name); /* curl's way to send it empty */
        add_line(c, line);
    }
}

static void set_up(struct call *c, const struct http_request *q, int64_t total_ms)
{
    CURL *e = c->easy;

    curl_easy_setopt(e, CURLOPT_PRIVATE, c);
    curl_easy_setopt(e, CURLOPT_URL, q->url);
    curl_easy_setopt(e, CURLOPT_PATH_AS_IS, 1L); /* no "/../" of a parameter becomes another page */
    curl_easy_setopt(e, CURLOPT_PROTOCOLS_STR, "http,https");
    curl_easy_setopt(e, CURLOPT_PROXY, ""); /* the environment does not decide where orders go */
    curl_easy_setopt(e, CURLOPT_HTTP_VERSION, (long)CURL_HTTP_VERSION_1_1);
    curl_easy_setopt(e, CURLOPT_FOLLOWLOCATION, 0L);
    curl_easy_setopt(e, CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(e, CURLOPT_QUICK_EXIT,
                     1L); /* giving up does not wait for a slow resolver's thread */
    curl_easy_setopt(e, CURLOPT_BUFFERSIZE,
                     q->max_body && q->max_body <= SMALL_BODY ? SMALL_BUFFER : LARGE_BUFFER);
    curl_easy_setopt(e, CURLOPT_MAXAGE_CONN, KEEP_SECONDS);
    curl_easy_setopt(e, CURLOPT_USERAGENT, "mihwar/" MIHWAR_VERSION);
    curl_easy_setopt(e, CURLOPT_CONNECTTIMEOUT_MS,
                     (long)(q->connect_ms > 0 ? q->connect_ms : CONNECT_MS));
    curl_easy_setopt(e, CURLOPT_TIMEOUT_MS, (long)total_ms);
    curl_easy_setopt(e, CURLOPT_FRESH_CONNECT, q->fresh ? 1L : 0L);
    curl_easy_setopt(e, CURLOPT_SSL_VERIFYPEER, q->insecure_tls ? 0L : 1L);
    curl_easy_setopt(e, CURLOPT_SSL_VERIFYHOST, q->insecure_tls ? 0L : 2L);
    curl_easy_setopt(e, CURLOPT_WRITEFUNCTION, on_body);
    curl_easy_setopt(e, CURLOPT_WRITEDATA, c);
    curl_easy_setopt(e, CURLOPT_HEADERFUNCTION, on_header);
    curl_easy_setopt(e, CURLOPT_HEADERDATA, c);
    curl_easy_setopt(e, CURLOPT_OPENSOCKETFUNCTION, open_socket);
    curl_easy_setopt(e, CURLOPT_OPENSOCKETDATA, c);
    curl_easy_setopt(e, CURLOPT_PREREQFUNCTION, before_request);
    curl_easy_setopt(e, CURLOPT_PREREQDATA, c);
    bool get = !q->method || strcmp(q->method, "GET") == 0;
    if (q->method && strcmp(q->method, "HEAD") == 0) {
        curl_easy_setopt(e, CURLOPT_NOBODY, 1L);
    } else if (q->body || !get) {
        c->body = xmalloc(q->body_len + 1);
        if (q->body_len)
            memcpy(c->body, q->body, q->body_len);
        curl_easy_setopt(e, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)q->body_len);
        curl_easy_setopt(e, CURLOPT_POSTFIELDS, c->body);
        curl_easy_setopt(e, CURLOPT_CUSTOMREQUEST, q->method);
        add_line(c, "Expect:"); /* no waiting for "100 Continue" */
    }
    curl_easy_setopt(e, CURLOPT_HTTPHEADER, c->headers);
}

/* The waiter leaves: curl is told from the loop, and what comes until then is dropped. */
static void abandon(struct call *c)
{
    c->fiber = NULL;
    c->r = NULL;
    for (struct call **p = &http.starting; *p; p = &(*p)->next) {
        if (*p == c) {
            *p = c->next;
            break;
        }
    }
    c->next = http.abandoned;
    http.abandoned = c;
    loop_soon(bury_calls, NULL);
}

/* Makes the call and lets the loop start it. */
static void begin(struct cx *cx, const struct http_request *q, int64_t total_ms,
                  struct http_response *r, struct call **ret)
{
    struct call *c = xcalloc(1, sizeof *c);

    c->easy = curl_easy_init();
    if (!c->easy)
        abort();
    http.living++;
    c->begun_mono_ms = clock_mono_ms();
    c->refuse_private = q->refuse_private;
    add_headers(c, q->headers);
    set_up(c, q, total_ms);
    c->fiber = cx->fiber;
    c->r = r;
    c->next = http.starting;
    http.starting = c;
    loop_soon(start_calls, NULL);
    *ret = c;
}

static rc not_public(struct cx *cx)
{
    return fail(cx, ADDRESS_REFUSED, "this address is not public and may not be called from here");
}

static rc call_plainly(struct cx *cx, const struct http_request *q, struct plain_url *u,
                       int64_t total_ms, struct http_response *r)
{
    int64_t begun = clock_mono_ms();
    const char *why;
    bool refused;

    rc result = plain_call(cx, q, u, total_ms, r, &why, &refused);
    r->took_ms = clock_mono_ms() - begun;
    if (r->outcome != HTTP_ANSWERED)
        say_why(r, why);
    return refused ? not_public(cx) : result;
}

static rc call_out(struct cx *cx, const struct http_request *q, struct http_response *r)
{
    int64_t total_ms = MIN(q->total_ms > 0 ? q->total_ms : TOTAL_MS, cx_left_ms(cx));
    rc result = OK;
    struct call *c;

    _cleanup_(plain_url_release) struct plain_url u = {0};

    assert(http.multi && cx->fiber);
    *r = (struct http_response){.outcome = HTTP_NOT_SENT,
                                .body = BUF(q->max_body ? q->max_body : MAX_BODY),
                                .retry_after_s = -1};
    try(check_url(cx, q->url));
    if (cx->cancelled)
        return fail(cx, CANCELLED, "the request was cancelled before it was sent");
    if (total_ms <= 0) {
        snprintf(r->why, sizeof r->why, "the request was not sent: no time was left for it");
        return OK;
    }
    try(check_headers(cx, q->headers));
    if (http.unbound && plain_takes(q) && plain_url_read(q->url, &u))
        return call_plainly(cx, q, &u, total_ms, r);
    begin(cx, q, total_ms, r, &c);

    fiber_shrink();
    while (!c->done && result == OK)
        result = fiber_park(cx);
    bool done = c->done, refused = c->refused;
    if (!done) { /* deadline or cancelled: how far it got is as certain as it was at the end */
        r->took_ms = clock_mono_ms() - c->begun_mono_ms;
        r->outcome = c->sending ? HTTP_UNCLEAR : HTTP_NOT_SENT;
        say_why(r, result == E_CANCELLED ? "it was cancelled" : "the time was up");
    }
    abandon(c);
    if (done && refused && r->outcome == HTTP_NOT_SENT)
        return not_public(cx);
    return !done && result == E_CANCELLED ? result : OK;
}

/* Who is called, without what may be secret in a URL. In cx's arena. */
static const char *host_of(struct cx *cx, const char *url)
{
    const char *host = strstr(url, "://");
    size_t n = host ? strcspn(host += 3, "/?#") : 0;
    const char *at = host ? memrchr(host, '@', n) : NULL;

    if (at) {
        n -= (size_t)(at + 1 - host);
        host = at + 1;
    }
    return host ? arena_strndup(&cx->arena, host, n) : NULL;
}

static MW_OWN_FRAME void tell_span(struct cx *cx, struct span *span, const struct http_request *q,
                                   const struct http_response *r, rc result)
{
    static const char *const outcomes[] = {
        [HTTP_NOT_SENT] = "not sent", [HTTP_UNCLEAR] = "unclear", [HTTP_ANSWERED] = "answered"};
    char status[24] = "";

    if (r->outcome == HTTP_ANSWERED)
        snprintf(status, sizeof status, "%ld", r->status);
    span_end(cx, span, result == OK && r->outcome == HTTP_ANSWERED && r->status < 500,
             SPAN_FACTS({"http.request.method", q->method ? q->method : "GET"},
                        {"server.address", host_of(cx, q->url)}, {"outcome", outcomes[r->outcome]},
                        {"http.response.status_code", *status ? status : NULL}));
}

rc http_call(struct cx *cx, const struct http_request *q, struct http_response *r)
{
    struct span span;

    span_begin(cx, &span, SPAN_CLIENT, q->what ? q->what : "http.call");
    rc result = call_out(cx, q, r);
    if (span.live)
        tell_span(cx, &span, q, r, result);
    return result;
}

void http_response_release(struct http_response *r)
{
    buf_release(&r->body);
}

/* ---------------------------------------------------------------- per process */

void http_init(long max_host_connections)
{
    assert(!http.multi);
    http.unbound = max_host_connections == 0;
    http.multi = curl_multi_init();
    http.timer = evtimer_new(loop_base(), on_timer, NULL);
    if (!http.multi || !http.timer)
        abort();
    curl_multi_setopt(http.multi, CURLMOPT_SOCKETFUNCTION, watch_socket);
    curl_multi_setopt(http.multi, CURLMOPT_TIMERFUNCTION, set_timer);
    curl_multi_setopt(http.multi, CURLMOPT_MAX_HOST_CONNECTIONS, max_host_connections);
    curl_multi_setopt(http.multi, CURLMOPT_PIPELINING, (long)CURLPIPE_NOTHING);
}

void http_free(void)
{
    if (!http.multi)
        return;
    bury_calls(NULL);
    plain_free();
    assert(http.living == 0); /* every fiber that waited has ended */
    curl_multi_cleanup(http.multi);
    event_free(http.timer);
    http.multi = NULL;
    http.timer = NULL;
}

bool http_escape(struct buf *out, const char *s)
{
    static const char hex[] = "0123456789ABCDEF";

    for (; *s; s++) {
        unsigned char c = (unsigned char)*s;
        if (isalnum(c) || c == '-' || c == '.' || c == '_' || c == '~') {
            buf_putc(out, (char)c);
        } else {
            char three[3] = {'%', hex[c >> 4], hex[c & 15]};
            buf_append(out, three, sizeof three);
        }
    }
    return buf_ok(out);
}
