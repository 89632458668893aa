/* http_answer.c - lines while it is a head, bytes while it is a body; see http_answer.h. */
#include "rt/http_answer.h"
#include "base/clock.h"
#include "base/text.h"
#include <curl/curl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define LINE_MAX_BYTES KiB(16)
#define HEAD_MAX       KiB(128)

enum { STATUS_LINE, FIELDS, COUNTED, UNTIL_CLOSE, CHUNK_SIZE, CHUNK, CHUNK_END, TRAILER, ENDED };

void http_answer_begin(struct http_answer *a, struct http_response *r, bool head_request)
{
    *a = (struct http_answer){
        .r = r, .line = BUF(LINE_MAX_BYTES), .length = -1, .bodiless = head_request};
}

void http_answer_release(struct http_answer *a)
{
    buf_release(&a->line);
}

/* ---------------------------------------------------------------- the head */

static enum answer_progress read_status(struct http_answer *a, const char *line)
{
    if ((!starts_with(line, "HTTP/1.1 ") && !starts_with(line, "HTTP/1.0 ")) ||
        strspn(line + 9, "0123456789") != 3 || (line[12] != 0 && line[12] != ' '))
        return ANSWER_BAD;
    a->r->status = (line[9] - '0') * 100 + (line[10] - '0') * 10 + (line[11] - '0');
    a->keep = line[7] == '1';
    a->length = -1;
    a->chunked = false;
    a->state = FIELDS;
    return a->r->status < 100 || a->r->status == 101 ? ANSWER_BAD : ANSWER_MORE;
}

static enum answer_progress read_length(struct http_answer *a, const char *value)
{
    size_t digits = strspn(value, "0123456789");

    if (digits == 0 || digits > 15 || value[digits])
        return ANSWER_BAD;
    int64_t n = strtoll(value, NULL, 10);
    if (a->length >= 0 && a->length != n)
        return ANSWER_BAD;
    a->length = n;
    return ANSWER_MORE;
}

static int64_t read_seconds(const char *value)
{
    size_t digits = strspn(value, "0123456789");
    time_t at;

    if (digits > 0 && digits <= 9 && !value[digits])
        return strtoll(value, NULL, 10) > 0 ? strtoll(value, NULL, 10) : -1;
    at = curl_getdate(value, NULL);
    return at > clock_ms() / 1000 ? (int64_t)at - clock_ms() / 1000 : -1;
}

/* "close" among the words of Connection. */
static bool has_word(const char *list, const char *word)
{
    size_t n = strlen(word);

    for (; *list; list += strcspn(list, ",")) {
        list += strspn(list, ", \t");
        if (strncasecmp(list, word, n) == 0 && strchr(", \t", list[n]))
            return true; /* the end of the list counts: strchr finds NUL */
    }
    return false;
}

static enum answer_progress read_field(struct http_answer *a, char *line)
{
    char *colon = strchr(line, ':');

    if (*line == ' ' || *line == '\t') /* a field folded over two lines: of none that decides */
        return ANSWER_MORE;
    if (!colon || colon == line || colon[-1] == ' ' || colon[-1] == '\t')
        return ANSWER_BAD;
    *colon = 0;
    const char *value = str_trim(colon + 1);
    if (strcasecmp(line, "content-length") == 0)
        return read_length(a, value);
    if (strcasecmp(line, "transfer-encoding") == 0) {
        if (strcasecmp(value, "chunked") != 0 || a->chunked)
            return ANSWER_BAD; /* nothing else was asked for */
        a->chunked = true;
    } else if (strcasecmp(line, "connection") == 0) {
        a->keep = a->keep && !has_word(value, "close");
    } else if (strcasecmp(line, "content-type") == 0) {
        snprintf(a->r->content_type, sizeof a->r->content_type, "%s", value);
    } else if (strcasecmp(line, "retry-after") == 0) {
        a->r->retry_after_s = read_seconds(value);
    }
    return ANSWER_MORE;
}

/* The empty line: what follows? */
static enum answer_progress end_head(struct http_answer *a)
{
    long status = a->r->status;

    if (status < 200) {
        a->state = STATUS_LINE;
        a->r->status = 0;
        return ANSWER_MORE;
    }
    if (a->chunked && a->length >= 0)
        a->keep = false; /* chunks count (RFC 9112, 6.3), but nobody should say both */
    if (a->bodiless || status == 204 || status == 304) {
        a->state = ENDED;
        return ANSWER_WHOLE;
    }
    if (a->chunked) {
        a->state = CHUNK_SIZE;
    } else if (a->length >= 0) {
        a->left = a->length;
        a->state = a->left > 0 ? COUNTED : ENDED;
    } else {
        a->state = UNTIL_CLOSE;
        a->keep = false;
    }
    return a->state == ENDED ? ANSWER_WHOLE : ANSWER_MORE;
}

/* ---------------------------------------------------------------- chunks */

static enum answer_progress read_chunk_size(struct http_answer *a, const char *line)
{
    size_t digits = strspn(line, "0123456789abcdefABCDEF");

    if (digits == 0 || digits > 12 || !strchr("; \t", line[digits]))
        return ANSWER_BAD;
    a->left = strtoll(line, NULL, 16);
    a->state = a->left > 0 ? CHUNK : TRAILER;
    return ANSWER_MORE;
}

/* ---------------------------------------------------------------- bytes */

static enum answer_progress read_line(struct http_answer *a, char *line)
{
    switch (a->state) {
    case STATUS_LINE:
        return read_status(a, line);
    case FIELDS:
        return *line ? read_field(a, line) : end_head(a);
    case CHUNK_SIZE:
        return read_chunk_size(a, line);
    case CHUNK_END:
        a->state = CHUNK_SIZE;
        return *line ? ANSWER_BAD : ANSWER_MORE;
    default: /* TRAILER: its fields are nobody's */
        if (*line)
            return ANSWER_MORE;
        a->state = ENDED;
        return ANSWER_WHOLE;
    }
}

/* As much of a line as came; *used bytes of p are its. */
static enum answer_progress take_line(struct http_answer *a, const char *p, size_t n, size_t *used)
{
    const char *end = memchr(p, '\n', n);

    *used = end ? (size_t)(end - p) + 1 : n;
    a->head += a->state == CHUNK_SIZE || a->state == CHUNK_END ? 0 : *used;
    if (a->head > HEAD_MAX || !buf_append(&a->line, p, *used))
        return ANSWER_TOO_LONG;
    if (!end)
        return ANSWER_MORE;
    size_t len = a->line.len - 1;
    if (len > 0 && a->line.p[len - 1] == '\r')
        len--;
    a->line.p[len] = 0;
    enum answer_progress got =
        strlen(a->line.p) == len ? read_line(a, a->line.p) : ANSWER_BAD; /* a NUL in a head */
    buf_reset(&a->line);
    return got;
}

static enum answer_progress take_body(struct http_answer *a, const char *p, size_t n, size_t *used)
{
    *used = a->state == UNTIL_CLOSE ? n : (size_t)MIN((int64_t)n, a->left);
    if (!buf_append(&a->r->body, p, *used))
        return ANSWER_TOO_LONG;
    if (a->state == UNTIL_CLOSE || (a->left -= (int64_t)*used) > 0)
        return ANSWER_MORE;
    a->state = a->state == CHUNK ? CHUNK_END : ENDED;
    return a->state == ENDED ? ANSWER_WHOLE : ANSWER_MORE;
}

enum answer_progress http_answer_take(struct http_answer *a, const char *p, size_t n)
{
    enum answer_progress got = a->state == ENDED ? ANSWER_WHOLE : ANSWER_MORE;

    a->touched |= n > 0;
    while (n > 0 && got == ANSWER_MORE) {
        size_t used;
        bool body = a->state == COUNTED || a->state == UNTIL_CLOSE || a->state == CHUNK;
        got = body ? take_body(a, p, n, &used) : take_line(a, p, n, &used);
        p += used;
        n -= used;
    }
    if (n > 0)
        a->keep = false;
    return got;
}

enum answer_progress http_answer_close(struct http_answer *a)
{
    a->keep = false;
    if (a->state == UNTIL_CLOSE)
        a->state = ENDED;
    return a->state == ENDED ? ANSWER_WHOLE : ANSWER_BAD;
}
