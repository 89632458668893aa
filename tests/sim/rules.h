/* rules.h - which switch holds for which call.
 *
 *   a switch   has a name, the endpoints it matters to, a default and its values (switch_row)
 *   a rule     "[ENDPOINT.]NAME=VALUE[*N]" for a product, a player, a reference, or for all;
 *              *N: for N calls only
 *   a tail     the same rules in the product's own id, after a '~':
 *              "60~place.fault=reset;outcome=cancel". Their *N counts the calls of one reference,
 *              so that each order meets the same trouble
 *
 * Default, then the rules in the order in which they came, then the tail: the last one that speaks
 * wins. */
#pragma once
#include "base/util.h"

enum endpoint {
    EP_NONE = 0,
    EP_BALANCE = 1,
    EP_CATALOGUE = 2,
    EP_PLACE = 4,
    EP_STATUS = 8,
    EP_ANY = 15
};
const char *endpoint_name(enum endpoint e);

#define RULES_MAX 40 /* switches of one simulator */

struct switch_row {
    const char *name;
    int endpoints; /* of enum endpoint */
    const char *def;
    const char *values; /* words; "#": a number >= -1, "$": a decimal, "?": any text */
    const char *quirk;  /* "Q11" */
    const char *help;
};

struct rules;
struct rules *rules_new(const struct switch_row *rows, size_t n); /* borrows rows; n <= RULES_MAX */
struct rules *rules_free(struct rules *r);

struct rule_for {
    const char *product, *player, *ref; /* NULL or "": any */
};
/* name may be qualified ("place.fault"). False with a sentence in err (320 bytes) when it is none
 * of the table's. */
bool rules_add(struct rules *r, const char *name, const char *value, const struct rule_for *who,
               char err[320]);
bool rules_add_text(struct rules *r, const char *assignment, const struct rule_for *who,
                    char err[320]); /* "name=value" */
void rules_clear(struct rules *r);
/* The default itself changes ("--switch", "--settle-ms"): stays after rules_clear. */
bool rules_default(struct rules *r, const char *assignment, char err[320]);

/* What holds for one call. nth: how often this endpoint was called for this reference, this time
 * included. tail may be "". The values live as long as `r`, also after rules_clear. */
void rules_apply(struct rules *r, enum endpoint e, const struct rule_for *who, const char *tail,
                 int nth, const char *values[RULES_MAX]);
bool rules_tail_ok(struct rules *r, const char *tail);
int rules_index(const struct rules *r, const char *name); /* -1: none */
size_t rules_count(const struct rules *r);
const struct switch_row *rules_row(const struct rules *r, size_t i);
const char *rules_default_value(const struct rules *r, size_t i);
