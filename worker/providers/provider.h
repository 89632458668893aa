/* provider.h - an outside shop that sells what was ordered: four questions, and answers that decide money.
 *
 *      place(unit, reference) --> ACCEPTED | DONE           it is theirs now: ask status
 *                                 ALREADY_SENT | UNCLEAR    it may be theirs: ask status, send nothing again
 *                                 REFUSED                   certain: nothing was bought; the fallback may be tried
 *                                 NOT_SENT | TROUBLE        certain: nothing was bought; later, at the same provider
 *
 *      status(reference)      --> PENDING | DONE | FAILED   they know it
 *                                 UNKNOWN_REFERENCE         they say, or it seems, that they do not know it
 *                                 UNCLEAR | TROUBLE | NOT_SENT   the question was not answered: nothing is learned
 *
 * "Certain" means that this very answer proves it. Only what is listed as such in the adapters' tables (znet_parse.c,
 * generic_parse.c) is; everything else that comes back, however odd, is UNCLEAR.
 *
 * All text of an answer is valid UTF-8 without control characters, bounded, and lives in the context's arena. `verbatim` is
 * what the provider wrote with PINs and credentials masked: it goes into order_events. `pins` are secrets: seal them. */
#pragma once
#include "base/cx.h"

enum answer_kind {
    ANSWER_UNCLEAR, /* zero: an answer nobody filled in decides nothing */
    ANSWER_NOT_SENT,
    ANSWER_TROUBLE,
    ANSWER_REFUSED,
    ANSWER_ALREADY_SENT,
    ANSWER_ACCEPTED,
    ANSWER_PENDING,
    ANSWER_DONE,
    ANSWER_FAILED,
    ANSWER_UNKNOWN_REFERENCE,
    ANSWER_KINDS
};

/* Why, as far as the provider's words tell. */
enum answer_reason {
    REASON_NONE,
    REASON_NO_BALANCE,  /* the dealer's account is empty */
    REASON_UNAVAILABLE, /* out of stock, closed */
    REASON_BAD_PRODUCT, /* no such product or package there */
    REASON_BAD_PLAYER,  /* the customer's id is refused */
    REASON_ACCESS,      /* credentials, API permission, IP address: an operator must act */
    REASON_MAINTENANCE,
    REASON_RATE,
    REASON_OTHER,
    ANSWER_REASONS
};

#define ANSWER_PINS_MAX     8    /* of one unit */
#define ANSWER_NOTE_MAX     1000 /* bytes */
#define ANSWER_PIN_MAX      2000 /* bytes */
#define ANSWER_VERBATIM_MAX 1000 /* bytes */

struct answer {
    enum answer_kind kind;
    enum answer_reason reason;
    const char *row;  /* the row of the decision table that spoke, for events and tests; static */
    const char *code; /* the provider's own code, or NULL */
    const char *note; /* the provider's words, or NULL */
    const char *cost; /* decimal, never negative, or NULL */
    const char *balance;           /* decimal, or NULL */
    const char *provider_order_id; /* or NULL */
    const char *pins[ANSWER_PINS_MAX];
    size_t npins;
    const char *verbatim; /* masked, or NULL when nothing came back */
    bool healthy;         /* it answered as it should, whatever it said: what the breaker counts */
    int64_t retry_after_ms; /* TROUBLE: as the provider asked; 0: it did not */
    int64_t took_ms;
};

const char *answer_kind_name(enum answer_kind k);     /* "accepted" */
const char *answer_reason_name(enum answer_reason r); /* "no_balance", "" for NONE */

/* One unit to buy. Strings are borrowed for the call. */
struct place_request {
    const char *reference; /* stored before the call */
    const char *product;   /* of the package's mapping (znet: oyun_bilgi_id) */
    const char *kupur;     /* its second half, or "" */
    const char *user_identifier;
    const char *extra_field; /* or NULL */
    const char *phone;       /* the customer's, or NULL */
};

struct balance_answer {
    bool ok;
    const char *balance, *debt; /* decimals; debt may be NULL */
    struct answer answer;       /* when not ok: TROUBLE, UNCLEAR or NOT_SENT, and the words */
};

struct catalogue_row {
    const char *id;              /* the provider's id of the row, unique in the list */
    const char *product, *kupur; /* what place wants to be told; kupur may be "" */
    const char *name, *game;     /* cleaned of HTML; game may be "" */
    const char *price;           /* decimal or NULL */
    const char *raw;             /* the row as the provider gave it, JSON object text */
    bool available;
    bool ambiguous; /* its pair orders another row too: not to be routed by itself */
};
struct catalogue_answer {
    bool ok;
    struct catalogue_row *rows;
    size_t n, skipped;    /* skipped: rows without an id or a name */
    struct answer answer; /* when not ok */
};

/* What an adapter implements; `self` is its own opened configuration. Return codes are only the caller's own trouble
 * (CANCELLED, CONFIG); everything that happened outside is in the answer. All park. */
struct provider_ops {
    const char *kind; /* "znet" */
    rc (*place)(struct cx *cx, void *self, const struct place_request *q, struct answer *ret);
    rc (*status)(struct cx *cx, void *self, const char *reference, struct answer *ret);
    rc (*balance)(struct cx *cx, void *self, struct balance_answer *ret);
    rc (*catalogue)(struct cx *cx, void *self, struct catalogue_answer *ret);
    void (*free)(void *self);
};
