/* pages.c - evhttp's own error pages, in our words.
 *
 * A page of evhttp's own is recognised where it is written: one addition to the output buffer of
 * this size, beginning so. It is replaced before the loop writes it. */
#include "hub/pages.h"
#include "base/buf.h"
#include "base/id.h"
#include "base/log.h"
#include "hub/metrics.h"
#include "hub/request.h"
#include "hub/router.h"
#include <event2/buffer.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define PAGE_START "<HTML><HEAD>\n<TITLE>"
#define PAGE_MIN   64
#define PAGE_MAX   192
#define HEAD_MAX   KiB(4)

/* What libevent found wrong, by the status it chose. */
static rc page_meaning(const struct pages *p, int status, char *words, size_t size)
{
    if (status == 413) {
        snprintf(words, size, "the body has more than %lld bytes, or its chunks cannot be read",
                 p->body_max);
        return E_BODY_TOO_LARGE;
    }
    snprintf(words, size,
             status == 417 ? "only 'Expect: 100-continue' is understood here"
                           : "the request line or a header cannot be read, or all of "
                             "them have more than %ld bytes",
             p->headers_max);
    return E_BAD_REQUEST;
}

static void page_print(const struct pages *p, int status, struct buf *out)
{
    _cleanup_(buf_release) struct buf body = BUF(KiB(2));
    char words[160], id[ID_LEN + 1], date[40];
    time_t now = time(NULL);
    struct tm tm;
    rc r = page_meaning(p, status, words, sizeof words);

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
    metrics_request(p->metrics, route_count, status, 0);
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

static void page_replace(const struct pages *p, struct evbuffer *out, size_t page_at)
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
    page_print(p, status, &ours);
    if (!buf_ok(&ours))
        return;
    evbuffer_drain(out, evbuffer_get_length(out));
    evbuffer_add(out, ours.p, ours.len);
}

void pages_mend(const struct pages *p, struct evbuffer *out, const struct evbuffer_cb_info *info)
{
    char start[sizeof PAGE_START - 1];
    struct evbuffer_ptr at;

    if (info->n_added < PAGE_MIN || info->n_added > PAGE_MAX || info->orig_size > HEAD_MAX)
        return;
    if (evbuffer_ptr_set(out, &at, info->orig_size, EVBUFFER_PTR_SET) == 0 &&
        evbuffer_copyout_from(out, &at, start, sizeof start) == (ev_ssize_t)sizeof start &&
        memcmp(start, PAGE_START, sizeof start) == 0)
        page_replace(p, out, info->orig_size);
}
