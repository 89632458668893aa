/* books.h - our books of orders beside the provider's ledger, when all is quiet.
 *
 * Each accepted order is completed and in the ledger exactly once, or in review (its reference was stored, its call was cut,
 * the provider does not know it) and there at most once. Nothing else is in the ledger. */
#pragma once
#include "tests/chaos/poster.h"
#include "tests/support/house.h"

/* Orders without an end and live jobs of theirs. */
int64_t books_unsettled(struct house *h);
/* Orders with what happened to them, a line each; the caller frees. */
char *books_timelines(struct house *h, const char *where);
/* Prints and asserts. tries: POSTs that it took. */
void books_compare(struct house *h, const struct poster *p, int tries);
