/* ca_index.h - what a CA has issued: a file of lines, fields between tabs.
 *
 *   # serial  kind  name  issued_at  not_after  revoked_at  names
 *   4f…1a  client  shop-1  2026-01-05T10:11:12.000Z  2027-01-05T10:11:12.000Z  -  URI:urn:shop:1
 *
 * Times are RFC 3339; revoked_at is "-" until it is. Nothing is ever taken out. */
#pragma once
#include "secure/ca.h"

struct ca_index {
    struct ca_issued *rows; /* in cx's arena, like all texts */
    size_t n, room;
};

/* CONFIG, with the number of the line that cannot be read. */
rc ca_index_read(struct cx *cx, const char *path, struct ca_index *ret);
/* As a whole. OS. */
rc ca_index_write(struct cx *cx, const char *path, const struct ca_index *x);
/* A new row at the end, zeroed. Rows move. */
struct ca_issued *ca_index_add(struct cx *cx, struct ca_index *x);
/* By serial, else the newest of that name; NULL. */
struct ca_issued *ca_index_find(const struct ca_index *x, const char *which);
