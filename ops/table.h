/* table.h - answers: aligned columns for people, JSON for programs, from the same rows.
 *
 *     struct table *t = table_new("id", "status", "at", NULL);
 *     table_row(t, o.id, o.status, at);
 *     table_print(t, json);             [{"id":…,"status":…,"at":…}]        and frees it
 *
 * NULL prints as "-" and null. A column name ending in "#" holds numbers, in "?" booleans, in "{}"
 * JSON text (right-aligned or as it is for people, unquoted in JSON); the mark is not printed.
 * Control characters are shown as "?": a table is no place for escape sequences. */
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
