/* seal.c - the keys of what is secret at rest: which are in use, and everything under the new one.
 */
#include "domain/reseal.h"
#include "ops/table.h"
#include "ops/verbs.h"
#include <stdio.h>

rc verb_seal_ls(struct cx *cx, struct ops *o)
{
    struct sealed_count *c;
    struct table *t;
    size_t n;

    try(sealed_count(cx, o->db, &c, &n));
    t = table_new("place", "key", "values#", NULL);
    for (size_t i = 0; i < n; i++)
        table_row(t, c[i].place, c[i].key, number(cx, c[i].values));
    table_print(t, o->json);
    return OK;
}

rc verb_seal_rotate(struct cx *cx, struct ops *o)
{
    struct reseal_result done;
    const char *key = seal_key_id(o->keys);

    cx->deadline_mono_ms = 0; /* as long as there is something to seal */
    try(reseal(cx, o->db, o->keys, o->actor, &done));
    if (done.unreadable)
        return fail(cx, CRYPTO,
                    "%lld values are under key %s now, %lld could not be opened and were left: the "
                    "warnings above name them; is their key still in seal_keys?",
                    (long long)done.resealed, key, (long long)done.unreadable);
    if (o->json)
        printf("{\"key\":\"%s\",\"resealed\":%lld}\n", key, (long long)done.resealed);
    else
        printf("%lld values sealed anew; all are under key %s\n", (long long)done.resealed, key);
    return OK;
}
