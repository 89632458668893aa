/* request_row.h - rows of agents and requests into structs; for the .c files of this room. The order of the columns is that of
 * the queries in agents.sql and requests.sql. */
#pragma once
#include "domain/agents/requests.h"
#include "domain/row.h"

void agent_read(struct cx *cx, const struct pg_result *res, int row, struct agent *ret);
rc request_read(struct cx *cx, const struct pg_result *res, int row, struct command_request *ret);

/* hub and session in the first two columns of row 0; "" where there is none. */
void session_read(const struct pg_result *res, struct agent_session *ret);
/* How many of the first rows make a page: at most `limit`, and no more than an arena can hold beside the answer; one at least. */
size_t rows_of_page(const struct pg_result *res, int limit);
/* May PostgreSQL keep every number of this JSON (parsed before)? jsonb holds 131072 digits, and exponents up to that. And it writes
 * each number out in full: 1e9999 is ten thousand digits, so all exponents together are bounded, too. */
bool numbers_fit(const char *json);
/* A JSON object as text, or {} for NULL; *ret is json itself. INVALID_FIELD at pointer. */
rc object_check(struct cx *cx, const char *json, size_t max, const char *pointer, const char **ret);
/* Ids of a result's first column. */
rc ids_read(struct cx *cx, const struct pg_result *res, const char *const **ret, size_t *ret_n);

/* Frees the results of steps. */
void steps_release(struct pg_step *steps, size_t n);
