/* order_row.h - rows of product_orders and order_placements into structs; for the .c files of this
 * room. */
#pragma once
#include "domain/orders/placements.h"

/* Columns as in orders.sql. */
rc order_read(struct cx *cx, const struct pg_result *res, int row, struct order *ret);
/* All rows of placements_of_order. */
rc placements_read(struct cx *cx, const struct pg_result *res, struct placement **ret,
                   size_t *ret_n);
