/* surely.h - a write that is sent again when nobody knows what became of it; for the .c files of these rooms.
 *
 * Its rows have ids that were made before the first try, so what was committed after all is found to be ours. */
#pragma once
#include "base/cx.h"

/* Sends, a few times at most, while the answer is STORE_DOUBT or PG_RETRY; the last answer. Once a try was in doubt, no later failure of the store
 * may say that nothing was accepted: it becomes STORE_DOUBT, unless about_rows tells that the code is about what was sent. Parks between
 * tries on a fiber; outside one it does not rest. */
rc surely(struct cx *cx, rc (*send)(struct cx *cx, void *arg), void *arg,
          bool (*about_rows)(rc)) MW_PARKS;
/* For about_rows, of a statement with many rows: a failure that one row's contents can bring about. */
bool surely_of_a_row(rc r);
