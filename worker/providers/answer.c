/* answer.c - names of what a provider can say, as they stand in order_events and logs. */
#include "worker/providers/provider.h"
#include <assert.h>

const char *answer_kind_name(enum answer_kind k)
{
    static const char *const names[ANSWER_KINDS] = {
        [ANSWER_UNCLEAR] = "unclear",
        [ANSWER_NOT_SENT] = "not_sent",
        [ANSWER_TROUBLE] = "trouble",
        [ANSWER_REFUSED] = "refused",
        [ANSWER_ALREADY_SENT] = "already_sent",
        [ANSWER_ACCEPTED] = "accepted",
        [ANSWER_PENDING] = "pending",
        [ANSWER_DONE] = "done",
        [ANSWER_FAILED] = "failed",
        [ANSWER_UNKNOWN_REFERENCE] = "unknown_reference",
    };

    assert((unsigned)k < ANSWER_KINDS);
    return names[k];
}

const char *answer_reason_name(enum answer_reason r)
{
    static const char *const names[ANSWER_REASONS] = {
        [REASON_NONE] = "",
        [REASON_NO_BALANCE] = "no_balance",
        [REASON_UNAVAILABLE] = "unavailable",
        [REASON_BAD_PRODUCT] = "bad_product",
        [REASON_BAD_PLAYER] = "bad_player",
        [REASON_ACCESS] = "access",
        [REASON_MAINTENANCE] = "maintenance",
        [REASON_RATE] = "rate",
        [REASON_OTHER] = "other",
    };

    assert((unsigned)r < ANSWER_REASONS);
    return names[r];
}
