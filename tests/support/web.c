/* web.c - libcurl's blocking face, for tests that stand outside as a front end does. */
#include "tests/support/web.h"
#include "base/buf.h"
#include "base/json.h"
#include "tests/support/proc.h"
#include <curl/curl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#define BODY_MAX MiB(32)

static size_t take(char *p, size_t size, size_t n, void *arg)
{
    return buf_append(arg, p, size * n) ? size * n : 0;
}

static struct curl_slist *headers_of(const struct web_request *q)
{
    struct curl_slist *list = NULL;
    bool typed = false;
    for (const char *const *h = q->headers; h && *h; h++) {
        list = curl_slist_append(list, *h);
        typed = typed || strncasecmp(*h, "content-type:", 13) == 0;
    }
    if (q->body && !typed)
        list = curl_slist_append(list, "Content-Type: application/json");
    if (q->bearer) {
        _cleanup_(freep) char *line = xasprintf("Authorization: Bearer %s", q->bearer);
        list = curl_slist_append(list, line);
    }
    return curl_slist_append(list, "Expect:");
}

struct web_reply web_do(const struct web_request *q)
{
    static bool ready;
    struct buf body = BUF(BODY_MAX), headers = BUF(MiB(1));
    struct web_reply r = {0};
    long status = 0;

    if (!ready)
        curl_global_init(CURL_GLOBAL_DEFAULT);
    ready = true;
    CURL *c = curl_easy_init();
    struct curl_slist *list = headers_of(q);
    curl_easy_setopt(c, CURLOPT_URL, q->url);
    curl_easy_setopt(c, CURLOPT_HTTPHEADER, list);
    curl_easy_setopt(c, CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(c, CURLOPT_TIMEOUT_MS, (long)(q->timeout_ms ? q->timeout_ms : 10000));
    curl_easy_setopt(c, CURLOPT_WRITEFUNCTION, take);
    curl_easy_setopt(c, CURLOPT_WRITEDATA, &body);
    curl_easy_setopt(c, CURLOPT_HEADERFUNCTION, take);
    curl_easy_setopt(c, CURLOPT_HEADERDATA, &headers);
    if (q->body) {
        curl_easy_setopt(c, CURLOPT_POSTFIELDS, q->body);
        curl_easy_setopt(c, CURLOPT_POSTFIELDSIZE_LARGE,
                         (curl_off_t)(q->body_len ? q->body_len : strlen(q->body)));
    }
    if (q->method)
        curl_easy_setopt(c, CURLOPT_CUSTOMREQUEST, q->method);
    if (q->method && strcmp(q->method, "HEAD") == 0)
        curl_easy_setopt(c, CURLOPT_NOBODY, 1L);

    int64_t start = support_now_ms();
    CURLcode code = curl_easy_perform(c);
    r.took_ms = (int)(support_now_ms() - start);
    curl_easy_getinfo(c, CURLINFO_RESPONSE_CODE, &status);
    if (code == CURLE_OK)
        r.status = (int)status;
    else
        snprintf(r.why, sizeof(r.why), "%s", curl_easy_strerror(code));
    curl_slist_free_all(list);
    curl_easy_cleanup(c);

    r.body_len = body.len;
    r.body = buf_take(&body);
    r.headers = buf_take(&headers);
    r.json = cJSON_Parse(r.body);
    return r;
}

void web_reply_release(struct web_reply *r)
{
    free(r->body);
    free(r->headers);
    cJSON_Delete(r->json);
    *r = (struct web_reply){0};
}

const char *web_text(const struct web_reply *r, const char *path)
{
    static char numbers[8][40];
    static unsigned turn;
    const cJSON *v = json_path(r->json, path);
    if (!v)
        return NULL;
    if (cJSON_IsString(v))
        return v->valuestring;
    if (cJSON_IsNull(v))
        return "";
    if (cJSON_IsBool(v))
        return cJSON_IsTrue(v) ? "true" : "false";
    if (!cJSON_IsNumber(v))
        return cJSON_IsArray(v) ? "[]" : "{}";
    char *out = numbers[turn++ % COUNT(numbers)];
    snprintf(out, sizeof(numbers[0]), "%.15g", v->valuedouble);
    return out;
}

const char *web_header(const struct web_reply *r, const char *name)
{
    static char values[4][512];
    static unsigned turn;
    size_t n = strlen(name);
    for (const char *line = r->headers; line && *line; line = strchr(line, '\n')) {
        line += *line == '\n';
        if (strncasecmp(line, name, n) == 0 && line[n] == ':') {
            char *out = values[turn++ % COUNT(values)];
            const char *v = line + n + 1 + strspn(line + n + 1, " ");
            snprintf(out, sizeof(values[0]), "%.*s", (int)strcspn(v, "\r\n"), v);
            return out;
        }
    }
    return NULL;
}

/* ---------------------------------------------------------------- server-sent events */

struct sse {
    CURLM *multi;
    CURL *easy;
    struct curl_slist *list;
    struct buf in;
    char event[64], *data;
    bool ended;
};

struct sse *sse_open(const char *url, const char *bearer)
{
    struct sse *s = xcalloc(1, sizeof(*s));
    const char *accept[] = {"Accept: text/event-stream", NULL};
    struct web_request q = {.bearer = bearer, .headers = accept};
    s->in = BUF(BODY_MAX);
    s->list = headers_of(&q);
    s->multi = curl_multi_init();
    s->easy = curl_easy_init();
    curl_easy_setopt(s->easy, CURLOPT_URL, url);
    curl_easy_setopt(s->easy, CURLOPT_HTTPHEADER, s->list);
    curl_easy_setopt(s->easy, CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(s->easy, CURLOPT_WRITEFUNCTION, take);
    curl_easy_setopt(s->easy, CURLOPT_WRITEDATA, &s->in);
    curl_multi_add_handle(s->multi, s->easy);
    return s;
}

/* Takes one event (lines up to an empty one) out of the buffer. */
static bool cut_event(struct sse *s)
{
    const char *text = buf_str(&s->in);
    const char *end = strstr(text, "\n\n");
    if (!end)
        return false;
    struct buf data = BUF(BODY_MAX);
    snprintf(s->event, sizeof(s->event), "message");
    for (const char *line = text; line < end + 1; line = strchr(line, '\n') + 1) {
        size_t n = strcspn(line, "\r\n");
        if (strncmp(line, "event: ", 7) == 0)
            snprintf(s->event, sizeof(s->event), "%.*s", (int)(n - 7), line + 7);
        else if (strncmp(line, "data: ", 6) == 0)
            buf_append(&data, line + 6, n - 6);
    }
    bool there = data.len > 0;
    free(s->data);
    s->data = buf_take(&data);
    buf_consume(&s->in, (size_t)(end + 2 - text));
    return there || cut_event(s); /* comments and retry lines are no events */
}

bool sse_next(struct sse *s, int deadline_ms, const char **ret_event, const char **ret_data)
{
    int64_t end = support_now_ms() + deadline_ms;
    int running = 1;
    bool got;
    while (!(got = cut_event(s)) && !s->ended && support_now_ms() < end) {
        curl_multi_perform(s->multi, &running);
        s->ended = running == 0;
        if (!s->ended)
            curl_multi_poll(s->multi, NULL, 0, 20, NULL);
    }
    if (got && ret_event)
        *ret_event = s->event;
    if (got && ret_data)
        *ret_data = s->data;
    return got;
}

struct sse *sse_close(struct sse *s)
{
    if (!s)
        return NULL;
    curl_multi_remove_handle(s->multi, s->easy);
    curl_easy_cleanup(s->easy);
    curl_multi_cleanup(s->multi);
    curl_slist_free_all(s->list);
    buf_release(&s->in);
    free(s->data);
    free(s);
    return NULL;
}
