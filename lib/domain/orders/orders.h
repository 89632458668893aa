/* orders.h - an order as it is read: loaded, listed, shown.
 *
 * Writing is elsewhere: order_create.h accepts, order_flow.h moves. Texts of a loaded order are in
 * cx's arena. PINs stay sealed until somebody with the keys shows them. */
#pragma once
#include "base/buf.h"
#include "base/id.h"
#include "pg/pg.h"
#include "secure/seal.h"

enum order_status {
    ORDER_PENDING,     /* accepted here, certainly not at a provider */
    ORDER_SENDING,     /* reference stored, call under way */
    ORDER_SENT,        /* the provider accepted */
    ORDER_UNCONFIRMED, /* may or may not have arrived; being asked */
    ORDER_COMPLETED,
    ORDER_FAILED,
    ORDER_CANCELLED,
    ORDER_REVIEW, /* a person must decide */
    ORDER_STATUS_COUNT
};
const char *order_status_word(enum order_status s);
bool order_status_parse(const char *word, enum order_status *ret);
static inline bool order_status_final(enum order_status s)
{
    return s == ORDER_COMPLETED || s == ORDER_FAILED || s == ORDER_CANCELLED;
}

struct order {
    const char *id, *tenant_id, *product_id, *package_id;
    const char *user_identifier, *extra_field; /* extra_field NULL: none */
    int quantity;
    enum order_status status;
    const char *integration_id, *provider, *provider_referans,
        *external_status;           /* NULL until placed */
    const char *pin_sealed;         /* unit 1; NULL: none */
    const char *const *pins_sealed; /* quantity > 1 and completed: one per unit, NULL for a unit
                                       without; else NULL */
    const char *note, *cost_amount, *cost_currency; /* NULL: none */
    int attempts, version;
    const char *callback_url, *reference;                  /* NULL: none */
    int64_t created_ms, sent_ms, completed_ms, updated_ms; /* 0: not yet */
};

/* tenant_id NULL: of any tenant (workers, operators). NOT_FOUND, also for another tenant's. Parks.
 */
rc order_load(struct cx *cx, struct pg *db, const char *tenant_id, const char *id,
              struct order *ret) MW_PARKS;
/* By the reference a provider or a client knows it under; tenant_id NULL: any. NOT_FOUND. Parks. */
rc order_find(struct cx *cx, struct pg *db, const char *tenant_id, const char *reference,
              struct order *ret) MW_PARKS;

struct order_filter {
    const char *tenant_id;      /* NULL: all */
    const char *status;         /* a word, NULL: any */
    const char *package_id;     /* NULL: any */
    int64_t since_ms, until_ms; /* created in [since, until); 0: open */
    const char *after; /* the cursor: the last id of the page before; NULL: the first page */
    int limit;         /* 1..500; 0: 50 */
};
/* Newest first. next holds ID_LEN + 1 bytes: the cursor of the next page or "". INVALID_FIELD
 * (/status, /package_id, /after, /limit). Parks. */
rc order_list(struct cx *cx, struct pg *db, const struct order_filter *f, struct order **ret,
              size_t *ret_n, char *next) MW_PARKS;

/* The object of the outside contract; pin_codes is there when quantity > 1. seal NULL: PINs read as
 * null (listings of the CLI, logs). Errors: CRYPTO, BUFFER_FULL. Does not park. */
rc order_json(struct cx *cx, const struct seal_keys *seal, const struct order *o, struct buf *out);
/* The context a PIN is sealed under. Arena. */
const char *order_pin_context(struct cx *cx, const char *order_id, int unit);

struct order_event {
    int64_t id, at_ms;  /* id 0: "created"; grows with time within an order */
    const char *kind;   /* created, sending, sent, unsent, refused, unconfirmed, open, completed,
                           failed, … (lib/domain/README.md) */
    const char *status; /* the order's, after it */
    int unit;           /* 0: the whole order */
    const char *provider, *referans, *detail; /* NULL: none */
    const char *actor;
};
/* Oldest first, those after `after_id` (-1: all, with the creation). limit 1..500. The order is not
 * checked to exist or to be the caller's: load it first. Parks. */
rc order_events(struct cx *cx, struct pg *db, const char *order_id, int64_t after_id, int limit,
                struct order_event **ret, size_t *ret_n) MW_PARKS;
rc order_event_json(struct cx *cx, const struct order_event *e, struct buf *out);

/* The channel that carries the id of each order that changed (pg_listen). Creation is not
 * announced. */
#define ORDER_CHANNEL "mw_order"
