/* znet_parse.h - what a znet panel's text answers mean. Pure: a response in, an answer out (in the arena).
 *
 * The decision tables are rows walked from the top; the first that matches speaks, its name is in answer.row, and the last
 * row of each table matches everything and decides nothing. Source of the rules: the vendor's document and the behaviour
 * of a server of the family, where both agree or doubt costs nothing (worker/providers/README.md). */
#pragma once
#include "rt/http.h"
#include "worker/providers/provider.h"

/* pin_ekle.php: "OK|cost|balance", "code|text". */
void znet_parse_place(struct arena *a, const struct http_response *r, struct answer *ret);

/* pin_kontrol.php: "OK|1|pin|text". An empty body is UNKNOWN_REFERENCE only by row ("empty"): it also means bad credentials,
 * so the adapter asks for the balance before it believes it. */
void znet_parse_status(struct arena *a, const struct http_response *r, struct answer *ret);

/* bakiye_kontrol.php: "OK|12755.23[|debt]". */
void znet_parse_balance(struct arena *a, const struct http_response *r, struct balance_answer *ret);

/* pin_listesi.php (JSON). Rows go into cx's arena. */
void znet_parse_catalogue(struct cx *cx, const struct http_response *r,
                          struct catalogue_answer *ret);

/* Names of the rows, for the test that wants each to have spoken; NULL past the end. */
const char *znet_place_row(size_t i);
const char *znet_status_row(size_t i);
