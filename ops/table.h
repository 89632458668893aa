/* table.h - answers: aligned columns for people, JSON for programs, from the same rows.
 *
 *     struct table *t = table_new("id", "status", "at", NULL);
 *     table_row(t, o.id, o.status, at);
 *     table_print(t, json);             [{"id":…,"status":…,"at":…}]        and frees it
 *
 * NULL prints as "-" and null. A column name may end in marks, which are not printed:
 *
 *     #     numbers: right-aligned; bare in JSON
 *     ?     booleans ("yes", "no"); true and false in JSON
 *     {}    JSON text: as it is
 *     +     (behind the others) a detail: left out where people see many rows
 *
 * What could speak to a terminal (control characters, marks that turn the direction of text) is
 * shown as "?"; programs get it escaped or as it is. */
#pragma once
#include "base/util.h"

struct table;
struct table *table_new(const char *first, ...) __attribute__((sentinel));
/* As many values as there are columns; copied. */
void table_row(struct table *t, ...);
/* To stdout, then frees t. one: an object of the first row instead of an array (people get "name
 * value" lines). */
void table_print(struct table *t, bool json);
void table_print_one(struct table *t, bool json);
/* A text that others wrote, so that it cannot speak to the terminal; to stdout. */
void table_put(const char *s);
struct table *table_free(struct table *t); /* unprinted; NULL in, NULL out */
