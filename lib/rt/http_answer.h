/* http_answer.h - the answer to one HTTP/1.1 request, out of the bytes of its connection.
 *
 *     status line ── fields ── empty line ── body: none | counted | chunked | until the connection ends
 *          ^  1xx: the next head  |
 *          `----------------------'
 *
 * Strict where it matters: an answer is whole only when nothing of it is missing and nothing about its length is in
 * doubt. What is no HTTP, or says its length twice, is bad; the caller then knows only that his request went out. */
#pragma once
#include "rt/http.h"

enum answer_progress {
    ANSWER_MORE,     /* bytes are missing */
    ANSWER_WHOLE,    /* status, fields and body are there */
    ANSWER_BAD,      /* this is no answer */
    ANSWER_TOO_LONG, /* more than the body's ceiling, or than a head may have */
};

struct http_answer {
    struct http_response *r; /* status, body, fields are written here as they come */
    struct buf line;         /* of the head, while it is not complete */
    int64_t left;            /* of the counted body, or of the chunk */
    int64_t length;          /* said by the head; -1: not said */
    size_t head;             /* bytes of all heads and trailers */
    unsigned char state;
    bool bodiless; /* asked with HEAD */
    bool chunked;
    bool keep;    /* the connection may serve another request */
    bool touched; /* a byte came */
};

void http_answer_begin(struct http_answer *a, struct http_response *r, bool head_request);
/* n bytes that came. Bytes behind the end of the answer make the connection unfit to be kept. */
enum answer_progress http_answer_take(struct http_answer *a, const char *p, size_t n);
/* The connection ended in order. */
enum answer_progress http_answer_close(struct http_answer *a);
void http_answer_release(struct http_answer *a);
