/* catalogue.h - a provider's list of goods, whatever its rows look like. */
#pragma once
#include "base/json.h"
#include "worker/providers/provider.h"

#define CATALOGUE_MAX  MiB(4)
#define CATALOGUE_ROWS 20000 /* with the byte ceiling: what fits an attempt's arena */

/* One row; false when it has not what a row needs. Texts go to cx's arena. */
typedef bool catalogue_row_fn(struct cx *cx, const cJSON *config, const cJSON *o,
                              struct catalogue_row *ret);

/* Reads every element of list; what `read` does not take is counted as skipped. With too many rows
 * ret says so in its note and stays as it was; otherwise it is ok. config is for `read`. */
void catalogue_read(struct cx *cx, const cJSON *list, catalogue_row_fn *read, const cJSON *config,
                    int64_t took_ms, struct catalogue_answer *ret);
