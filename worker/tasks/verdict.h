/* verdict.h - what an answer about a placement means for it, given how long it has been asked about. Pure.
 *
 *   the answer            placement     after review_after      after order_timeout
 *   done                  any           completed
 *   failed                any           rejected: the fallback, or failed
 *   pending               any           open (it has arrived)    failed: "Timeout …"
 *   unknown reference     unconfirmed   resend where the provider merges or refuses duplicates; else as silence
 *   silence, trouble      unconfirmed   nothing, then review     review
 *   never reached         unconfirmed   nothing                  review: nobody was asked; when it is back it can tell
 *   any of these          sent          nothing                  failed: "Timeout …" */
#pragma once
#include "domain/orders/placements.h"
#include "worker/providers/provider.h"

enum verdict {
    VERDICT_NOTHING,
    VERDICT_OPEN,
    VERDICT_DONE,
    VERDICT_REJECTED,
    VERDICT_RESEND,
    VERDICT_REVIEW,
    VERDICT_TIMED_OUT,
    VERDICT_OPEN_TIMED_OUT, /* it is there, and too late all the same */
};
struct verdict_rules {
    bool may_resend;
    int64_t review_after_ms, order_timeout_ms;
};
enum verdict verdict_of(const struct placement *p, enum answer_kind k,
                        const struct verdict_rules *r, int64_t now_ms);

/* When to ask again about a placement asked about `asked` times: base * 2^(asked-1), at most cap, half of it random; never past the
 * moment in which review_after or order_timeout decides. */
int64_t ask_again_ms(const struct placement *p, int asked, int64_t base_ms, int64_t cap_ms,
                     const struct verdict_rules *r, int64_t now_ms, uint64_t random);
