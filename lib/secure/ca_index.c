/* ca_index.c - see ca_index.h. */
#include "secure/ca_index.h"
#include "base/buf.h"
#include "base/clock.h"
#include "base/text.h"
#include "secure/pem.h"
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define HEAD      "# serial\tkind\tname\tissued_at\tnot_after\trevoked_at\tnames\n"
#define FIELDS    7
#define INDEX_MAX MiB(16) /* some 80 000 certificates */

struct ca_issued *ca_index_add(struct cx *cx, struct ca_index *x)
{
    if (x->n == x->room) {
        struct ca_issued *more =
            arena_alloc(&cx->arena, (x->room = 2 * x->room + 16) * sizeof *more);
        if (x->n > 0)
            memcpy(more, x->rows, x->n * sizeof *more);
        x->rows = more;
    }
    return &x->rows[x->n++];
}

struct ca_issued *ca_index_find(const struct ca_index *x, const char *which)
{
    for (size_t i = 0; i < x->n; i++) {
        if (strcasecmp(x->rows[i].serial, which) == 0)
            return &x->rows[i];
    }
    for (size_t i = x->n; i-- > 0;) {
        if (strcmp(x->rows[i].name, which) == 0)
            return &x->rows[i];
    }
    return NULL;
}

/* ---------------------------------------------------------------- reading */

static bool read_row(char *line, struct ca_issued *row)
{
    unsigned char serial[CA_SERIAL_LEN / 2];
    char *field[FIELDS];

    for (int i = 0; i < FIELDS; i++) {
        field[i] = strsep(&line, "\t");
        if (!field[i] || !*field[i])
            return false;
    }
    if (line || strlen(field[0]) != CA_SERIAL_LEN || !hex_decode(field[0], serial, sizeof serial) ||
        !ca_kind_parse(field[1], &row->kind) || !clock_parse(field[3], &row->issued_ms) ||
        !clock_parse(field[4], &row->until_ms) ||
        (strcmp(field[5], "-") != 0 && !clock_parse(field[5], &row->revoked_ms)))
        return false;
    hex_encode(serial, sizeof serial, row->serial);
    row->name = field[2];
    row->names = field[6];
    return true;
}

static void fclosep(FILE **f)
{
    if (*f)
        fclose(*f);
}

static rc read_text(struct cx *cx, const char *path, char **ret)
{
    _cleanup_(fclosep) FILE *f = fopen(path, "re");
    _cleanup_(buf_release) struct buf b = BUF(INDEX_MAX);
    char chunk[4096];
    size_t n;

    if (!f)
        return fail(cx, CONFIG, "%s cannot be read: %s", path, strerror(errno));
    while ((n = fread(chunk, 1, sizeof chunk, f)) > 0)
        buf_append(&b, chunk, n);
    if (ferror(f))
        return fail(cx, CONFIG, "%s cannot be read: %s", path, strerror(errno));
    if (!buf_ok(&b))
        return fail(cx, CONFIG, "%s is larger than 16 MiB", path);
    if (b.len > 0 && (b.p[b.len - 1] != '\n' || memchr(b.p, 0, b.len)))
        return fail(cx, CONFIG, "%s is torn: its last line has no end", path);
    *ret = arena_strndup(&cx->arena, buf_str(&b), b.len);
    return OK;
}

rc ca_index_read(struct cx *cx, const char *path, struct ca_index *ret)
{
    struct ca_index x = {0};
    char *text;

    try(read_text(cx, path, &text));
    for (int number = 1; *text; number++) {
        char *line = strsep(&text, "\n");
        if (*line != '#' && !read_row(line, ca_index_add(cx, &x)))
            return fail(cx, CONFIG, "line %d of %s cannot be read", number, path);
    }
    *ret = x;
    return OK;
}

/* ---------------------------------------------------------------- writing */

rc ca_index_write(struct cx *cx, const char *path, const struct ca_index *x)
{
    _cleanup_(buf_release) struct buf b = BUF(INDEX_MAX);

    buf_puts(&b, HEAD);
    for (size_t i = 0; i < x->n; i++) {
        const struct ca_issued *row = &x->rows[i];
        char issued[CLOCK_TEXT_LEN + 1], until[CLOCK_TEXT_LEN + 1],
            revoked[CLOCK_TEXT_LEN + 1] = "-";
        if (row->revoked_ms)
            clock_format(row->revoked_ms, revoked);
        buf_printf(&b, "%s\t%s\t%s\t%s\t%s\t%s\t%s\n", row->serial, ca_kind_word(row->kind),
                   row->name, clock_format(row->issued_ms, issued),
                   clock_format(row->until_ms, until), revoked, row->names);
    }
    if (!buf_ok(&b))
        return fail(cx, CONFLICT, "%s is full: begin another CA", path);
    return file_replace(cx, path, 0600, b.p, b.len);
}
