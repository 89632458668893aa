/* fuzz_celery.c - what lies in a Celery queue or comes over its remote control: refused, or a message that is still the same one
 * when it comes back for another try.
 *
 *   first byte   0  the rest is an envelope as it is
 *                1  members of the headers, line feed, the body: wrapped up here, because nobody guesses base64
 *                2  the same, for the remote control
 *                3  a signature */
#include "base/text.h"
#include "celery/canvas.h"
#include "celery/message.h"
#include "celery/pidbox.h"
#include "tests/fuzz/fuzz.h"

enum { AS_IT_IS, WRAPPED, CONTROL, SIGNATURE, KINDS };

static bool same(const char *a, const char *b)
{
    return a == b || (a && b && strcmp(a, b) == 0);
}

static bool same_raw(struct raw a, struct raw b)
{
    return a.n == b.n && (a.n == 0 || memcmp(a.p, b.p, a.n) == 0);
}

static void look(const struct celery_message *m)
{
    FUZZ_MUST(m->protocol == 1 || m->protocol == 2);
    FUZZ_MUST(!str_empty(m->task) && !str_empty(m->id) && !str_empty(m->tag));
    FUZZ_MUST(m->priority >= 0 && m->priority <= 9 && m->retries >= 0 && m->deaths >= 0);
    FUZZ_MUST(m->hard_ms >= 0 && m->soft_ms >= 0 && m->group_index >= -1);
    FUZZ_MUST(raw_is_array(m->args) && raw_is_object(m->kwargs));
    FUZZ_MUST(!m->chord.n || raw_is_object(m->chord));
    (void)raw_count(m->args);
}

/* Whose place it takes in a workflow, what it is given, how long it may take: none of it changes on the way. */
static void still(const struct celery_message *a, const struct celery_message *b)
{
    look(b);
    FUZZ_MUST(same(a->task, b->task) && same(a->id, b->id) && same(a->group, b->group));
    FUZZ_MUST(same(a->reply_to, b->reply_to) && same(a->correlation_id, b->correlation_id));
    FUZZ_MUST(same(a->exchange, b->exchange) && same(a->routing_key, b->routing_key));
    FUZZ_MUST(same_raw(a->args, b->args) && same_raw(a->kwargs, b->kwargs));
    FUZZ_MUST(same_raw(a->callbacks, b->callbacks) && same_raw(a->errbacks, b->errbacks));
    FUZZ_MUST(same_raw(a->chain, b->chain) && same_raw(a->chord, b->chord));
    FUZZ_MUST(a->group_index == b->group_index && a->priority == b->priority);
    FUZZ_MUST(a->expires_ms == b->expires_ms && a->ignore_result == b->ignore_result);
    FUZZ_MUST(a->hard_ms == b->hard_ms && a->soft_ms == b->soft_ms);
}

static void comes_back(struct cx *cx, const struct celery_message *m)
{
    _cleanup_(buf_release) struct buf again = BUF(MiB(1)), redelivered = BUF(MiB(1));
    const int64_t eta_ms = INT64_C(1795305600000);
    struct celery_message k;

    celery_message_again(&again, m, true, eta_ms);
    if (buf_ok(&again) && m->retries < CELERY_RETRIES_MAX) {
        rc r = celery_message_read(cx, buf_str(&again), again.len, &k);
        if (r == E_TOO_DEEP && m->protocol == 1) /* its chord lies one level deeper now */
            return;
        FUZZ_MUST(r == OK);
        still(m, &k);
        FUZZ_MUST(k.retries == m->retries + 1 && k.eta_ms == eta_ms && same(k.parent_id, m->id));
    }
    celery_message_redelivered(&redelivered, m, true);
    if (buf_ok(&redelivered)) {
        FUZZ_MUST(celery_message_read(cx, buf_str(&redelivered), redelivered.len, &k) == OK);
        still(m, &k);
        FUZZ_MUST(k.redelivered && k.retries == m->retries && k.eta_ms == m->eta_ms);
        FUZZ_MUST(k.deaths == m->deaths + 1 || m->deaths == CELERY_DEATHS_MAX);
    }
}

static void read_message(struct cx *cx, const char *text, size_t n)
{
    struct celery_message m;

    if (celery_message_read(cx, text, n, &m) != OK)
        return;
    look(&m);
    comes_back(cx, &m);
}

static void read_control(struct cx *cx, const char *text, size_t n)
{
    struct celery_request q;

    if (celery_request_read(cx, text, n, "c@host", &q) == OK)
        FUZZ_MUST(q.method && q.clock >= 0);
}

static void read_signature(struct cx *cx, const char *text, size_t n)
{
    struct raw sig;

    if (raw_read(cx, text, n, MiB(1), &sig) != OK)
        return;
    const char *id = celery_final_id(cx, sig);
    FUZZ_MUST(!id || utf8_valid(id, strlen(id)));
    (void)celery_parts(sig);
}

/* Before the first line feed the headers, behind it the body. */
static void wrap(struct buf *b, char *text, size_t n)
{
    char *lf = memchr(text, '\n', n), *body = lf ? lf + 1 : text + n;

    if (lf)
        *lf = 0;
    celery_envelope_write(b, text, body, (size_t)(text + n - body), "", "q");
}

FUZZ(data, n)
{
    _cleanup_(cx_release) struct cx cx = CX_PLAIN("fuzz");
    _cleanup_(buf_release) struct buf wrapped = BUF(MiB(1));

    if (n < 1)
        return 0;
    _cleanup_(freep) char *text = fuzz_text(data + 1, n - 1);
    switch (data[0] % KINDS) {
    case AS_IT_IS:
        read_message(&cx, text, n - 1);
        break;
    case WRAPPED:
        wrap(&wrapped, text, n - 1);
        read_message(&cx, buf_str(&wrapped), wrapped.len);
        break;
    case CONTROL:
        wrap(&wrapped, text, n - 1);
        read_control(&cx, buf_str(&wrapped), wrapped.len);
        break;
    default:
        read_signature(&cx, text, n - 1);
    }
    return 0;
}
