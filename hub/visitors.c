/* visitors.c - one record per connection, kept alive by a reference to its bufferevent.
 *
 * evhttp tells when a connection ends only for those that have made a request (closecb); the others
 * are found dead by a sweep: bufferevent_free takes the callbacks away, and our reference keeps the
 * struct readable and its socket ours until then. The sweep also ends those who take too long.
 *
 * A page of evhttp's own is recognised where it is written: one addition to the output buffer of
 * this size, beginning so. It is replaced before the loop writes it. */
#include "hub/visitors.h"
#include "base/buf.h"
#include "base/clock.h"
#include "base/id.h"
#include "base/log.h"
#include "hub/metrics.h"
#include "hub/request.h"
#include "hub/router.h"
#include "rt/loop.h"
#include <event2/buffer.h>
#include <event2/bufferevent.h>
#include <event2/event.h>
#include <event2/listener.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define PAGE_START "<HTML><HEAD>\n<TITLE>"
#define PAGE_MIN   64
#define PAGE_MAX   192
#define HEAD_MAX   KiB(4)
#define PAUSE_MS   100

struct visitor {
    struct visitor *next, **link;
    struct visitors *of;
    struct bufferevent *bev;
    struct evbuffer_cb_entry *on_input, *on_output;
    int fd;                /* its place in by_fd; -1: nothing was sent yet */
    int64_t since_mono_ms; /* the first byte of a request that is not complete yet; 0: none */
};

struct visitors {
    struct visitors_opts o;
    struct visitor *first;
    struct visitor **by_fd; /* those that have sent something */
    size_t fds;
    struct event *sweep, *resume;
    bool sweeping;
    struct evconnlistener *listener;
};

static struct timeval tv_of(int64_t ms)
{
    return (struct timeval){.tv_sec = ms / 1000, .tv_usec = ms % 1000 * 1000};
}

/* ------------------------------------------------------------------ a page of evhttp's */

/* What libevent found wrong, by the status it chose. */
static rc page_meaning(const struct visitors *v, int status, char *words, size_t size)
{
    if (status == 413) {
        snprintf(words, size, "the body has more than %lld bytes, or its chunks cannot be read",
                 v->o.body_max);
        return E_BODY_TOO_LARGE;
    }
    snprintf(words, size,
             status == 417 ? "only 'Expect: 100-continue' is understood here"
                           : "the request line or a header cannot be read, or all of "
                             "them have more than %ld bytes",
             v->o.headers_max);
    return E_BAD_REQUEST;
}

static void page_print(const struct visitors *v, int status, struct buf *out)
{
    _cleanup_(buf_release) struct buf body = BUF(KiB(2));
    char words[160], id[ID_LEN + 1], date[40];
    time_t now = time(NULL);
    struct tm tm;
    rc r = page_meaning(v, status, words, sizeof words);

    id_new(id);
    strftime(date, sizeof date, "%a, %d %b %Y %H:%M:%S GMT", gmtime_r(&now, &tm));
    problem_print(&body,
                  &(struct problem){.code = r, .status = status, .words = words, .request_id = id});
    buf_printf(out,
               "HTTP/1.1 %d %s\r\nX-Request-Id: %s\r\nContent-Type: application/problem+json\r\n"
               "Cache-Control: no-store\r\nX-Content-Type-Options: nosniff\r\n"
               "Connection: close\r\nDate: %s\r\nContent-Length: %zu\r\n\r\n",
               status,
               status == 413   ? "Content Too Large"
               : status == 417 ? "Expectation Failed"
                               : "Bad Request",
               id, date, body.len);
    buf_append(out, body.p, body.len);
    metrics_request(v->o.metrics, route_count, status, 0);
    log_ev(LOG_DEBUG, "request.unreadable", kv_int("status", status), kv_str("request_id", id));
}

/* The head stands before the page; before that, perhaps, "100 Continue". */
static size_t head_start(const char *all, size_t n)
{
    static const char mark[] = "HTTP/1.";

    for (size_t i = n; i-- > 0;) {
        if (n - i >= sizeof mark - 1 && memcmp(all + i, mark, sizeof mark - 1) == 0)
            return i;
    }
    return n;
}

static void page_replace(struct visitors *v, struct evbuffer *out, size_t page_at)
{
    _cleanup_(buf_release) struct buf ours = BUF(KiB(8));
    const char *all = (const char *)evbuffer_pullup(out, -1);
    size_t head = all ? head_start(all, page_at) : page_at;
    int status;

    if (head == page_at)
        return;
    status = atoi(all + page_at + sizeof PAGE_START - 1);
    if (status < 400 || status > 499)
        status = 400;
    buf_append(&ours, all, head);
    page_print(v, status, &ours);
    if (!buf_ok(&ours))
        return;
    evbuffer_drain(out, evbuffer_get_length(out));
    evbuffer_add(out, ours.p, ours.len);
}

static void on_output(struct evbuffer *out, const struct evbuffer_cb_info *info, void *arg)
{
    struct visitor *it = arg;
    char start[sizeof PAGE_START - 1];
    struct evbuffer_ptr at;

    if (info->n_added == 0)
        return;
    it->since_mono_ms = 0;
    if (info->n_added < PAGE_MIN || info->n_added > PAGE_MAX || info->orig_size > HEAD_MAX)
        return;
    evbuffer_unfreeze(out, /* at_front= */ 1); /* bufferevent lets nobody else take from it */
    if (evbuffer_ptr_set(out, &at, info->orig_size, EVBUFFER_PTR_SET) == 0 &&
        evbuffer_copyout_from(out, &at, start, sizeof start) == (ev_ssize_t)sizeof start &&
        memcmp(start, PAGE_START, sizeof start) == 0)
        page_replace(it->of, out, info->orig_size);
    evbuffer_freeze(out, /* at_front= */ 1);
}

/* ------------------------------------------------------------------ coming and going */

static void leave(struct visitor *it)
{
    evbuffer_remove_cb_entry(bufferevent_get_input(it->bev), it->on_input);
    evbuffer_remove_cb_entry(bufferevent_get_output(it->bev), it->on_output);
    if (it->fd >= 0 && it->of->by_fd[it->fd] == it)
        it->of->by_fd[it->fd] = NULL;
    *it->link = it->next;
    if (it->next)
        it->next->link = it->link;
    bufferevent_decref(it->bev);
    free(it);
}

static void on_close(struct evhttp_connection *conn, void *arg)
{
    (void)conn;
    leave(arg);
}

static void note_fd(struct visitor *it)
{
    struct visitors *v = it->of;
    size_t fd;

    it->fd = bufferevent_getfd(it->bev);
    if (it->fd < 0)
        return;
    fd = (size_t)it->fd;
    if (fd >= v->fds) {
        size_t more = MAX(fd + 1, v->fds * 2);
        v->by_fd = xrealloc(v->by_fd, more * sizeof *v->by_fd);
        memset(v->by_fd + v->fds, 0, (more - v->fds) * sizeof *v->by_fd);
        v->fds = more;
    }
    v->by_fd[fd] = it;
}

static void on_input(struct evbuffer *in, const struct evbuffer_cb_info *info, void *arg)
{
    struct visitor *it = arg;

    (void)in;
    if (info->n_added == 0)
        return;
    if (it->fd < 0)
        note_fd(it);
    if (it->since_mono_ms == 0)
        it->since_mono_ms = clock_mono_ms();
}

static void sweep_soon(struct visitors *v)
{
    struct timeval tv = tv_of(MIN(MAX(v->o.limit_ms / 4, 50), 1000));

    if (!v->sweeping && v->first)
        v->sweeping = evtimer_add(v->sweep, &tv) == 0;
}

/* evhttp calls it for each connection. */
static struct bufferevent *arrive(struct event_base *base, void *arg)
{
    struct visitors *v = arg;
    /* the bufferevent closes its socket: evhttp would close it under our reference, and the next
     * connection with this number would find our events on it */
    struct bufferevent *bev = bufferevent_socket_new(base, -1, BEV_OPT_CLOSE_ON_FREE);
    struct visitor *it;

    if (!bev)
        return NULL; /* evhttp makes its own, unwatched */
    bufferevent_incref(bev);
    it = xcalloc(1, sizeof *it);
    *it = (struct visitor){.next = v->first, .link = &v->first, .of = v, .bev = bev, .fd = -1};
    if (v->first)
        v->first->link = &it->next;
    v->first = it;
    it->on_input = evbuffer_add_cb(bufferevent_get_input(bev), on_input, it);
    it->on_output = evbuffer_add_cb(bufferevent_get_output(bev), on_output, it);
    sweep_soon(v);
    return bev;
}

static bool is_gone(const struct visitor *it)
{
    bufferevent_event_cb cb = NULL;

    bufferevent_getcb(it->bev, NULL, NULL, &cb, NULL);
    return !cb;
}

/* Reading is off while a request is under way: that time is the request's own. */
static bool is_late(const struct visitor *it, int64_t now_mono_ms)
{
    return it->since_mono_ms && now_mono_ms - it->since_mono_ms >= it->of->o.limit_ms &&
           (bufferevent_get_enabled(it->bev) & EV_READ);
}

static void on_sweep(evutil_socket_t fd, short what, void *arg)
{
    struct visitors *v = arg;
    int64_t now = clock_mono_ms();

    (void)fd;
    (void)what;
    v->sweeping = false;
    for (struct visitor *it = v->first, *next; it; it = next) {
        next = it->next;
        if (is_gone(it)) {
            leave(it);
        } else if (is_late(it, now)) {
            it->since_mono_ms = now;
            metric_add(v->o.metrics, METRIC_TOO_SLOW, 1);
            bufferevent_trigger_event(it->bev, BEV_EVENT_TIMEOUT | BEV_EVENT_READING, 0);
        }
    }
    sweep_soon(v);
}

/* ------------------------------------------------------------------ accepting */

static struct visitors *accepting; /* whose listener it is: libevent's callback does not say */

static void on_resume(evutil_socket_t fd, short what, void *arg)
{
    struct visitors *v = arg;

    (void)fd;
    (void)what;
    if (v->listener)
        evconnlistener_enable(v->listener);
}

/* No descriptors, no memory: the connection stays in the kernel's queue, and the loop would be told
 * of it again at once. */
static void on_accept_error(struct evconnlistener *listener, void *arg)
{
    struct visitors *v = accepting;
    struct timeval tv = tv_of(PAUSE_MS);

    (void)arg; /* evhttp's */
    if (!v)
        return;

    metric_add(v->o.metrics, METRIC_ACCEPT_PAUSED, 1);
    evconnlistener_disable(listener);
    evtimer_add(v->resume, &tv);
}

void visitors_watch_accept(struct visitors *v, struct evhttp_bound_socket *bound)
{
    accepting = v;
    v->listener = evhttp_bound_socket_get_listener(bound);
    evconnlistener_set_error_cb(v->listener, on_accept_error);
}

void visitors_forget_accept(struct visitors *v)
{
    v->listener = NULL;
    accepting = NULL;
}

/* ------------------------------------------------------------------ all of them */

struct visitors *visitors_new(struct evhttp *http, const struct visitors_opts *o)
{
    struct visitors *v = xcalloc(1, sizeof *v);

    v->o = *o;
    v->sweep = evtimer_new(loop_base(), on_sweep, v);
    v->resume = evtimer_new(loop_base(), on_resume, v);
    evhttp_set_bevcb(http, arrive, v);
    return v;
}

static struct visitor *visitor_of(struct visitors *v, struct evhttp_connection *conn)
{
    struct bufferevent *bev = evhttp_connection_get_bufferevent(conn);
    int fd = bufferevent_getfd(bev);
    struct visitor *it = fd >= 0 && (size_t)fd < v->fds ? v->by_fd[fd] : NULL;

    return it && it->bev == bev ? it : NULL;
}

void visitors_asked(struct visitors *v, struct evhttp_connection *conn)
{
    struct visitor *it = visitor_of(v, conn);

    if (it)
        evhttp_connection_set_closecb(conn, on_close, it);
}

void visitors_forget(struct visitors *v, struct evhttp_connection *conn)
{
    struct visitor *it = visitor_of(v, conn);

    if (it)
        leave(it);
}

bool visitors_unsent(const struct visitors *v)
{
    for (const struct visitor *it = v->first; it; it = it->next) {
        if (!is_gone(it) && evbuffer_get_length(bufferevent_get_output(it->bev)) > 0)
            return true;
    }
    return false;
}

struct visitors *visitors_free(struct visitors *v)
{
    if (v) {
        while (v->first)
            leave(v->first);
        event_free(v->sweep);
        event_free(v->resume);
        free(v->by_fd);
        free(v);
    }
    return NULL;
}
