/* verdict.c - the table of verdict.h, from the top. */
#include "worker/tasks/verdict.h"
#include "queue/backoff.h"

static int64_t age_ms(const struct placement *p, int64_t now_ms)
{
    return now_ms - (p->sent_ms ? p->sent_ms : p->created_ms);
}

enum verdict verdict_of(const struct placement *p, enum answer_kind k,
                        const struct verdict_rules *r, int64_t now_ms)
{
    bool late = age_ms(p, now_ms) >= r->order_timeout_ms;
    bool doubted = p->status == PLACEMENT_UNCONFIRMED;

    if (k == ANSWER_DONE)
        return VERDICT_DONE;
    if (k == ANSWER_FAILED)
        return VERDICT_REJECTED;
    if (k == ANSWER_PENDING)
        return late ? VERDICT_OPEN_TIMED_OUT : VERDICT_OPEN;
    if (late)
        return VERDICT_TIMED_OUT;
    if (doubted && k != ANSWER_NOT_SENT && age_ms(p, now_ms) >= r->review_after_ms)
        return VERDICT_REVIEW;
    if (doubted && k == ANSWER_UNKNOWN_REFERENCE && r->may_resend)
        return VERDICT_RESEND;
    return VERDICT_NOTHING;
}

int64_t ask_again_ms(const struct placement *p, int asked, int64_t base_ms, int64_t cap_ms,
                     const struct verdict_rules *r, int64_t now_ms, uint64_t random)
{
    const struct backoff b = {
        .base_ms = base_ms, .cap_ms = cap_ms, .factor = 2, .jitter = JITTER_EQUAL};
    int64_t from = now_ms - age_ms(p, now_ms);
    int64_t at = now_ms + backoff_delay_ms(&b, MAX(asked, 1), 0, random);
    int64_t end = from + r->order_timeout_ms;

    if (p->status == PLACEMENT_UNCONFIRMED)
        end = MIN(end, from + r->review_after_ms);
    return end > now_ms ? MIN(at, end) : at;
}
