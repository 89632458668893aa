/* generic_config.h - the settings of the generic adapter: a JSON object, a preset beneath it, every field checked before use.
 *
 * {
 *   "preset": "zdk",                    what follows is laid over it, object by object; null takes a field away
 *   "reference": "uuid" | "digits",
 *   "auth":  {"kind": "none|header|query|bearer", "name": "api-token", "value": "{token}"}    query: "params" instead
 *   "place": {"method","path","body": "form|json", "params": {NAME: TEMPLATE}, "format": "json|pipe", "at": PATH,
 *             "status": PATHS (instead of fields.status), "require": {PATH: WORD}, "numeric": [PATH]}
 *   "check": the same
 *   "words": {WORD: "done|pending|failed"}              the provider's states; compared without case
 *   "fields": {"status","order_id","cost","balance","pin","note": PATHS}                     under "at"
 *   "errors": {"code": PATHS, "message": PATHS, "codes": {CODE: MEANING}}                     of the whole answer
 *   "balance": {"path","params","at","format","balance": PATHS,"debt": PATHS}
 *   "catalogue": {"path","params","at": PATHS,"id","product","kupur","name","game","price","available": PATH}
 * }
 *
 * TEMPLATE  text with {product} {kupur} {reference} {player} {extra} {phone} and {NAME} of a credential; "{kupur|1}" stands for
 *           1 when there is none. A parameter whose variables are all empty is left out.
 * PATH      "data.status", "data.0.price"; "" is the answer itself. PATHS: one or a list, the first that is there counts.
 * MEANING   no_balance, unavailable, bad_product, bad_player, other: refused, nothing was bought. access, maintenance, rate:
 *           not let in, nothing was bought. already_sent; unclear. "*" is every code not named; without it those are unclear.
 * pipe      the answer is one line, "OK|10.12|980.88": a list, so that its PATHs are "0", "1", … */
#pragma once
#include "base/buf.h"
#include "base/json.h"

/* The settings laid over their preset, checked; in cx's arena. credentials: an object of strings. INVALID_FIELD with the pointer. */
rc generic_config_read(struct cx *cx, const cJSON *settings, const cJSON *credentials, cJSON **ret);
/* The preset's JSON text, NULL when there is none of this name. */
const char *generic_preset(const char *name);

struct template_vars {
    const char *product, *kupur, *reference, *player, *extra, *phone; /* NULL: empty */
    const cJSON *credentials;
};
/* A template with its variables put in; each value through `put` (NULL: as it is). *ret_empty: it has variables and all were
 * empty. False when out is full. */
bool template_expand(const char *text, const struct template_vars *v,
                     bool (*put)(struct buf *out, const char *s), struct buf *out, bool *ret_empty);
