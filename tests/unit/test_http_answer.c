/* test_http_answer.c - what is an answer, what is not, and what is missing; whole, and byte by byte. */
#include "rt/http_answer.h"
#include "tests/unit/unit.h"
#include <stdio.h>
#include <string.h>

struct answer_case {
    const char *title, *bytes;
    enum answer_progress taken,
        closed; /* after the bytes; after the connection's end behind them */
    long status;
    const char *body;
    bool keep, head; /* may the connection be kept; was it asked with HEAD */
};

#define OK11 "HTTP/1.1 200 OK\r\n"
static const struct answer_case cases[] = {
    {"counted", OK11 "Content-Length: 2\r\n\r\nok", ANSWER_WHOLE, ANSWER_WHOLE, 200, "ok", true},
    {"bare line feeds", "HTTP/1.1 200 OK\nContent-Length: 2\n\nok", ANSWER_WHOLE, ANSWER_WHOLE, 200,
     "ok", true},
    {"no reason", "HTTP/1.1 404\r\nContent-Length: 0\r\n\r\n", ANSWER_WHOLE, ANSWER_WHOLE, 404, "",
     true},
    {"1.0 is not kept", "HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nok", ANSWER_WHOLE,
     ANSWER_WHOLE, 200, "ok", false},
    {"closes", OK11 "Connection: x, Close\r\nContent-Length: 2\r\n\r\nok", ANSWER_WHOLE,
     ANSWER_WHOLE, 200, "ok", false},
    {"closed is another word", OK11 "Connection: closed\r\nContent-Length: 0\r\n\r\n", ANSWER_WHOLE,
     ANSWER_WHOLE, 200, "", true},
    {"until the end", OK11 "\r\nall of it", ANSWER_MORE, ANSWER_WHOLE, 200, "all of it", false},
    {"nothing until the end", OK11 "\r\n", ANSWER_MORE, ANSWER_WHOLE, 200, "", false},
    {"chunks",
     OK11 "Transfer-Encoding: chunked\r\n\r\n3;x=y\r\nabc\r\nA\r\n0123456789\r\n0\r\nT: 1\r\n\r\n",
     ANSWER_WHOLE, ANSWER_WHOLE, 200, "abc0123456789", true},
    {"chunks and a length",
     OK11 "Transfer-Encoding: chunked\r\nContent-Length: 9\r\n\r\n1\r\na\r\n0\r\n\r\n",
     ANSWER_WHOLE, ANSWER_WHOLE, 200, "a", false},
    {"after 100", "HTTP/1.1 100 Continue\r\n\r\n" OK11 "Content-Length: 1\r\n\r\nx", ANSWER_WHOLE,
     ANSWER_WHOLE, 200, "x", true},
    {"the length of 103 is nobody's",
     "HTTP/1.1 103 x\r\nContent-Length: 9\r\n\r\n" OK11 "Content-Length: 1\r\n\r\nx", ANSWER_WHOLE,
     ANSWER_WHOLE, 200, "x", true},
    {"204 has no body", "HTTP/1.1 204 x\r\nContent-Length: 5\r\n\r\n", ANSWER_WHOLE, ANSWER_WHOLE,
     204, "", true},
    {"304 has no body", "HTTP/1.1 304 x\r\n\r\n", ANSWER_WHOLE, ANSWER_WHOLE, 304, "", true},
    {"HEAD has no body", OK11 "Content-Length: 5\r\n\r\n", ANSWER_WHOLE, ANSWER_WHOLE, 200, "",
     true, true},
    {"the same length twice", OK11 "Content-Length: 1\r\nContent-Length: 1\r\n\r\nx", ANSWER_WHOLE,
     ANSWER_WHOLE, 200, "x", true},
    {"more than was said", OK11 "Content-Length: 1\r\n\r\nxy", ANSWER_WHOLE, ANSWER_WHOLE, 200, "x",
     false},
    {"a folded field", OK11 "X: a\r\n b\r\nContent-Length: 1\r\n\r\nx", ANSWER_WHOLE, ANSWER_WHOLE,
     200, "x", true},

    {"nothing", "", ANSWER_MORE, ANSWER_BAD, 0, "", false},
    {"half a status line", "HTTP/1.1 2", ANSWER_MORE, ANSWER_BAD, 0, "", false},
    {"half a head", OK11 "Conte", ANSWER_MORE, ANSWER_BAD, 200, "", false},
    {"a head without its end", OK11 "Content-Length: 0\r\n", ANSWER_MORE, ANSWER_BAD, 200, "",
     false},
    {"only 100", "HTTP/1.1 100 Continue\r\n\r\n", ANSWER_MORE, ANSWER_BAD, 0, "", false},
    {"half a body", OK11 "Content-Length: 5\r\n\r\nab", ANSWER_MORE, ANSWER_BAD, 200, "ab", false},
    {"half a chunk", OK11 "Transfer-Encoding: chunked\r\n\r\n5\r\nab", ANSWER_MORE, ANSWER_BAD, 200,
     "ab", false},
    {"no last chunk", OK11 "Transfer-Encoding: chunked\r\n\r\n2\r\nab\r\n", ANSWER_MORE, ANSWER_BAD,
     200, "ab", false},
    {"no end of the trailer", OK11 "Transfer-Encoding: chunked\r\n\r\n2\r\nab\r\n0\r\n",
     ANSWER_MORE, ANSWER_BAD, 200, "ab", false},

    {"no HTTP", "OK|10.12|980.88\n", ANSWER_BAD, ANSWER_BAD, 0, "", false},
    {"HTTP/2", "HTTP/2 200\r\n\r\n", ANSWER_BAD, ANSWER_BAD, 0, "", false},
    {"four digits", "HTTP/1.1 2000 x\r\n\r\n", ANSWER_BAD, ANSWER_BAD, 0, "", false},
    {"an upgrade", "HTTP/1.1 101 x\r\n\r\n", ANSWER_BAD, ANSWER_BAD, 101, "", false},
    {"two lengths", OK11 "Content-Length: 1\r\nContent-Length: 2\r\n\r\nx", ANSWER_BAD, ANSWER_BAD,
     200, "", false},
    {"a list of lengths", OK11 "Content-Length: 1, 1\r\n\r\nx", ANSWER_BAD, ANSWER_BAD, 200, "",
     false},
    {"a negative length", OK11 "Content-Length: -1\r\n\r\nx", ANSWER_BAD, ANSWER_BAD, 200, "",
     false},
    {"a length beyond all", OK11 "Content-Length: 99999999999999999999\r\n\r\nx", ANSWER_BAD,
     ANSWER_BAD, 200, "", false},
    {"another coding", OK11 "Transfer-Encoding: gzip\r\n\r\nx", ANSWER_BAD, ANSWER_BAD, 200, "",
     false},
    {"a field without a colon", OK11 "Hello\r\n\r\n", ANSWER_BAD, ANSWER_BAD, 200, "", false},
    {"a blank before the colon", OK11 "Content-Length : 1\r\n\r\nx", ANSWER_BAD, ANSWER_BAD, 200,
     "", false},
    {"a chunk without a size", OK11 "Transfer-Encoding: chunked\r\n\r\nxx\r\n", ANSWER_BAD,
     ANSWER_BAD, 200, "", false},
    {"a chunk beyond all", OK11 "Transfer-Encoding: chunked\r\n\r\nffffffffffffffff\r\n",
     ANSWER_BAD, ANSWER_BAD, 200, "", false},
    {"a chunk longer than said", OK11 "Transfer-Encoding: chunked\r\n\r\n1\r\nab\r\n0\r\n\r\n",
     ANSWER_BAD, ANSWER_BAD, 200, "a", false},
    {"longer than allowed", OK11 "Content-Length: 33\r\n\r\n012345678901234567890123456789012",
     ANSWER_TOO_LONG, ANSWER_BAD, 200, NULL, false},
};

static void feed(const struct answer_case *c, size_t step)
{
    struct http_response r = {.body = BUF(32), .retry_after_s = -1};
    enum answer_progress got = ANSWER_MORE;
    struct http_answer a;
    size_t n = strlen(c->bytes);

    http_answer_begin(&a, &r, c->head);
    for (size_t i = 0; i < n && got == ANSWER_MORE; i += step)
        got = http_answer_take(&a, c->bytes + i, MIN(step, n - i));
    ck_assert_msg(got == c->taken, "%s, by %zu: %d", c->title, step, (int)got);
    ck_assert_msg(r.status == c->status, "%s, by %zu: status %ld", c->title, step, r.status);
    /* In pieces nobody looks at what comes behind the end; it is found when the connection is used again. */
    if (got == ANSWER_WHOLE && step > n)
        ck_assert_msg(a.keep == c->keep, "%s: keep", c->title);
    if (got != ANSWER_BAD && got != ANSWER_TOO_LONG) {
        got = http_answer_close(&a);
        ck_assert_msg(got == c->closed, "%s, by %zu, closed: %d", c->title, step, (int)got);
        ck_assert(!a.keep);
    }
    if (c->body)
        ck_assert_msg(strcmp(buf_str(&r.body), c->body) == 0, "%s, by %zu: '%s'", c->title, step,
                      buf_str(&r.body));
    ck_assert(a.touched == (n > 0));
    http_answer_release(&a);
    http_response_release(&r);
}

START_TEST(answers)
{
    for (size_t step = 1; step <= 7; step++)
        feed(&cases[_i], step);
    feed(&cases[_i], 4096);
}
END_TEST

/* A head that never ends, in one line and in many. */
START_TEST(endless_heads)
{
    static const char *const lines[] = {"xxxxxxxxxxxxxxxx", "X: y\r\n", "HTTP/1.1 100 x\r\n\r\n"};

    for (size_t i = 0; i < COUNT(lines); i++) {
        struct http_response r = {.body = BUF(32)};
        enum answer_progress got = ANSWER_MORE;
        struct http_answer a;
        http_answer_begin(&a, &r, false);
        if (i < 2)
            got = http_answer_take(&a, OK11, strlen(OK11));
        for (int n = 0; n < 100000 && got == ANSWER_MORE; n++)
            got = http_answer_take(&a, lines[i], strlen(lines[i]));
        ck_assert_int_eq(got, ANSWER_TOO_LONG);
        http_answer_release(&a);
        http_response_release(&r);
    }
}
END_TEST

START_TEST(a_nul_in_the_head)
{
    static const char bytes[] = "HTTP/1.1 200 OK\r\nX: a\0b\r\n\r\n";
    struct http_response r = {.body = BUF(32)};
    struct http_answer a;

    http_answer_begin(&a, &r, false);
    ck_assert_int_eq(http_answer_take(&a, bytes, sizeof bytes - 1), ANSWER_BAD);
    http_answer_release(&a);
    http_response_release(&r);
}
END_TEST

START_TEST(fields)
{
    static const char bytes[] =
        OK11 "content-type:  text/x; charset=utf-8 \r\nRETRY-AFTER: 7\r\nContent-Length: 0\r\n\r\n";
    struct http_response r = {.body = BUF(32), .retry_after_s = -1};
    struct http_answer a;

    http_answer_begin(&a, &r, false);
    ck_assert_int_eq(http_answer_take(&a, bytes, sizeof bytes - 1), ANSWER_WHOLE);
    ck_assert_str_eq(r.content_type, "text/x; charset=utf-8");
    ck_assert_int_eq(r.retry_after_s, 7);
    http_answer_release(&a);
    http_response_release(&r);
}
END_TEST

UNIT(http_answer, {"answers", answers, COUNT(cases)}, {"endless heads", endless_heads},
     {"a NUL", a_nul_in_the_head}, {"fields", fields})
