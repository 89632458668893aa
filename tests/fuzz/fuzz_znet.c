/* fuzz_znet.c - what a znet panel may answer: whatever it is, money is only said to be spent or spared by an answer of the
 * shape that proves it, and no word of it leaves unbounded. */
#include "base/text.h"
#include "tests/fuzz/fuzz.h"
#include "worker/providers/znet_parse.h"

static void bounded(const char *s, size_t max)
{
    FUZZ_MUST(!s || (strlen(s) <= max && utf8_valid(s, strlen(s))));
}

static void look(const struct answer *a)
{
    FUZZ_MUST(a->kind < ANSWER_KINDS && a->reason < ANSWER_REASONS && a->row);
    FUZZ_MUST(a->npins <= ANSWER_PINS_MAX);
    bounded(a->note, ANSWER_NOTE_MAX);
    bounded(a->verbatim, ANSWER_VERBATIM_MAX);
    for (size_t i = 0; i < a->npins; i++)
        bounded(a->pins[i], ANSWER_PIN_MAX);
    FUZZ_MUST(!a->cost || a->cost[0] != '-');
}

static size_t skip_blanks(const char *s, size_t n, size_t i)
{
    while (i < n && (unsigned char)s[i] <= ' ')
        i++;
    return i;
}

/* A byte order mark, blanks and control characters before the answer say nothing. */
static size_t skip_noise(const char *s, size_t n)
{
    size_t i = skip_blanks(s, n, 0);

    return n - i >= 3 && memcmp(s + i, "\xef\xbb\xbf", 3) == 0 ? skip_blanks(s, n, i + 3) : i;
}

FUZZ(data, n)
{
    static const long statuses[] = {200, 200, 200, 201, 302, 404, 500, 503};
    _cleanup_(cx_release) struct cx cx = CX_PLAIN("fuzz");
    struct http_response r = {.body = BUF(MiB(2))};
    struct answer a = {0};
    struct balance_answer balance = {0};
    struct catalogue_answer list = {0};

    if (n < 1)
        return 0;
    r.outcome = (enum http_outcome)(data[0] % 8 < 6 ? HTTP_ANSWERED : data[0] % 2);
    r.status = r.outcome == HTTP_ANSWERED ? statuses[data[0] / 8 % COUNT(statuses)] : 0;
    buf_append(&r.body, data + 1, n - 1);
    buf_putc(&r.body, 0); /* the memory is there, and NUL-terminated */
    r.body.len = n - 1;
    const char *body = buf_str(&r.body);
    bool good = r.status >= 200 && r.status <= 299;
    size_t at = skip_noise(body, n - 1);

    znet_parse_place(&cx.arena, &r, &a);
    look(&a);
    if (a.kind == ANSWER_ACCEPTED || a.kind == ANSWER_DONE)
        FUZZ_MUST(r.outcome == HTTP_ANSWERED && good && n - 1 - at >= 2 &&
                  strncasecmp(body + at, "OK", 2) == 0);
    if (a.kind == ANSWER_REFUSED)
        FUZZ_MUST(r.outcome == HTTP_ANSWERED && good && memchr(body, '|', n - 1));
    if (r.outcome == HTTP_UNCLEAR)
        FUZZ_MUST(a.kind == ANSWER_UNCLEAR);
    a = (struct answer){0};
    znet_parse_status(&cx.arena, &r, &a);
    look(&a);
    if (a.kind == ANSWER_DONE || a.kind == ANSWER_FAILED)
        FUZZ_MUST(r.outcome == HTTP_ANSWERED && good && n - 1 - at >= 4 &&
                  strncasecmp(body + at, "OK", 2) == 0);
    znet_parse_balance(&cx.arena, &r, &balance);
    FUZZ_MUST(!balance.ok || (balance.balance && good));
    znet_parse_catalogue(&cx, &r, &list);
    for (size_t i = 0; list.ok && i < list.n; i++)
        FUZZ_MUST(list.rows[i].id && list.rows[i].name);
    buf_release(&r.body);
    return 0;
}
