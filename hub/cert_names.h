/* cert_names.h - whom the names in certificates stand for: asked for lately, or asked for once by many.
 *
 *   name --> known? --fresh--> identity (no query)
 *               |   `--older--> its row is read again
 *               `-no--> one load at a time per name; the others wait for it
 *
 * Bounded: the least recently used goes. Names that stand for nobody are remembered too, in a list of
 * their own, so that they never push good ones out. While the store is away, names whose row was read
 * lately go on for keep_ms. */
#pragma once
#include "domain/access/keys.h"

enum name_state {
    NAME_GOOD,
    NAME_UNKNOWN,  /* nobody here has this name */
    NAME_DISABLED, /* the identity is disabled, or its tenant */
};

struct cert_names_opts {
    /* OK, or NOT_FOUND for a name that stands for nobody; other failures are passed on. May park. */
    rc (*load)(struct cx *cx, void *arg, const char *name, struct identity *ret, bool *ret_enabled);
    void *arg;
    size_t max;              /* names that stand for somebody; of the others a quarter. 0: 4096 */
    int64_t fresh_ms;        /* a row is read again after this */
    int64_t keep_ms;         /* after its row was read, while load fails with STORE_DOWN */
    bool (*sure)(void *arg); /* would we have heard of a change? NULL: yes */
    int64_t (*now_ms)(void); /* NULL: clock_mono_ms; tests own the clock */
};
struct cert_names;
struct cert_names *cert_names_new(const struct cert_names_opts *o);
struct cert_names *cert_names_free(struct cert_names *c); /* nobody may be asking */

/* OK whatever the state is; *ret is zero for UNKNOWN. Errors: what load failed with, DEADLINE,
 * CANCELLED. Parks. */
rc cert_names_find(struct cx *cx, struct cert_names *c, const char *name, struct identity *ret,
                   enum name_state *ret_state) MW_PARKS;
/* Something may have changed: every row is read again at its next use. changed: something has, so that
 * nothing goes on without its row. */
void cert_names_doubt(struct cert_names *c, bool changed);
