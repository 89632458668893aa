/* step.h - what the order tasks share: their arguments, their transactions, the words of an answer. */
#pragma once
#include "domain/orders/order_flow.h"
#include "worker/providers/pool.h"
#include "worker/task.h"

/* {"order_id": UUID}: out holds ID_LEN + 1 bytes. INVALID_FIELD, BAD_JSON: the job is malformed. */
rc args_id(struct cx *cx, const struct job *job, const char *name, char *out);

/* The step of a task's transaction: jobs go through job_enqueue. */
struct order_step step_of(struct job *job, struct pg_tx *tx);

/* Stores a fact that was bought dearly (what a provider answered to an order): tries again for a minute while the store is away, and
 * stores it also when this attempt has lost its job meanwhile. A fact stays a fact: the steps of order_flow.h look at the placement
 * under the order's lock and refuse what comes too late. fn may run several times. Parks. */
typedef rc (*fact_fn)(struct cx *cx, const struct order_step *st, void *arg);
rc store_fact(struct cx *cx, struct job *job, fact_fn fn, void *arg) MW_PARKS;

/* Strings are the answer's and the arena's. */
struct provider_words words_of(struct cx *cx, const struct provider *p, const struct answer *a);
/* PINs as one text, a line each; NULL: none. */
const char *pins_of(struct cx *cx, const struct answer *a);
