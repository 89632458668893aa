/* generic_parse.h - what the answers of a configured provider mean. Pure: a checked configuration and a response in, an answer
 * out (in cx's arena). As znet_parse.h: rows walked from the top, the last decides nothing.
 *
 * The state of the order itself ("data.status") speaks before an error code, a code before silence. What is said at the top level only
 * ("status":"OK") never ends an order. */
#pragma once
#include "rt/http.h"
#include "worker/providers/generic_config.h"
#include "worker/providers/provider.h"

void generic_parse_place(struct cx *cx, const cJSON *config, const struct http_response *r,
                         struct answer *ret);
void generic_parse_status(struct cx *cx, const cJSON *config, const struct http_response *r,
                          struct answer *ret);
void generic_parse_balance(struct cx *cx, const cJSON *config, const struct http_response *r,
                           struct balance_answer *ret);
void generic_parse_catalogue(struct cx *cx, const cJSON *config, const struct http_response *r,
                             struct catalogue_answer *ret);
/* Names of the rows; NULL past the end. */
const char *generic_row(size_t i);
