/* order_row.h - rows of product_orders and order_placements into structs; for the .c files of this
 * room. */
#pragma once
#include "domain/orders/placements.h"

/* Columns as in orders.sql. */
rc order_read(struct cx *cx, const struct pg_result *res, int row, struct order *ret);
/* All rows of placements_of_order. */
rc placements_read(struct cx *cx, const struct pg_result *res, struct placement **ret,
                   size_t *ret_n);
/* n of them, from row `first` on. */
rc placements_read_some(struct cx *cx, const struct pg_result *res, int first, int n,
                        struct placement **ret);
/* Rows of a result whose column `col` holds ids in ascending order: the first row with this one, and how many
 * follow with the same; *ret_n 0: none. */
int rows_of(const struct pg_result *res, int col, const char *id, int *ret_n);
