/* once.c - Idempotency-Key for what is not an order.
 *
 *   seen before, same body  -> the first answer again, Idempotency-Replayed: true
 *   seen before, other body -> 422 idempotency_mismatch
 *   not seen                -> do it, then keep the answer
 *
 * Doing and keeping are two transactions. A crash in between is covered by what is made: a job's id
 * is derived from the key (derived_id), so is a workflow's, a schedule's name and an agent's id are
 * unique. A secret that is shown once is not kept (request.h, kept). */
#include "domain/idempotency.h"
#include "hub/api/api.h"
#include "hub/hub.h"
#include "hub/router.h"
#include "secure/digest.h"
#include <stdio.h>
#include <string.h>

void derived_id(const struct request *q, const char *key, const char *what, char out[ID_LEN + 1])
{
    char text[ID_LEN + 300], h[DIGEST_HEX_LEN + 1];
    int n = snprintf(text, sizeof text, "%s|%s|%s", q->who.tenant_id, key, what);

    sha256_hex(text, (size_t)n, h);
    snprintf(out, ID_LEN + 1, "%.8s-%.4s-8%.3s-8%.3s-%.12s", h, h + 8, h + 12, h + 15, h + 18);
}

struct keeping {
    struct request *q;
    const char *key, *hash;
};

static rc keep(struct cx *cx, struct pg_tx *tx, void *arg)
{
    struct keeping *k = arg;

    return idempotency_store(cx, tx, k->q->who.tenant_id, k->q->route->id, k->key, k->hash,
                             k->q->status, k->q->kept ? k->q->kept : buf_str(&k->q->out));
}

/* Location is not kept: it is the path that made it and the id that was told. */
static void reply_place(struct cx *cx, struct request *q)
{
    static const char *const names[] = {"id", "agent_id"};
    cJSON *told;

    if (json_parse(cx, q->out.p, q->out.len, REPLY_MAX, &told) != OK || strchr(q->route->path, '{'))
        return;
    for (size_t i = 0; i < COUNT(names); i++) {
        const cJSON *id = cJSON_GetObjectItemCaseSensitive(told, names[i]);
        if (cJSON_IsString(id)) {
            reply_header(q, "Location",
                         arena_printf(&cx->arena, "%s/%s", q->route->path, id->valuestring));
            return;
        }
    }
}

static rc find(struct cx *cx, struct request *q, const struct keeping *k, bool *ret_found)
{
    struct idempotency_answer a;

    try(idempotency_find(cx, q->hub->db, q->who.tenant_id, q->route->id, k->key, k->hash, ret_found,
                         &a));
    if (!*ret_found)
        return OK;
    buf_reset(&q->out);
    buf_puts(&q->out, a.body);
    reply_header(q, "Idempotency-Replayed", "true");
    reply_place(cx, q);
    return reply_json(cx, q, a.http_status);
}

/* What the key stands for: the body, and whose it is where the path names somebody. */
static void hash_call(struct cx *cx, const struct request *q, char *out)
{
    const char *text;

    if (!strchr(q->route->path, '{')) {
        sha256_hex(q->body, q->body_len, out);
        return;
    }
    text = arena_printf(&cx->arena, "%s\n%.*s", q->params[0], (int)q->body_len, q->body);
    sha256_hex(text, strlen(text), out);
}

rc answer_once(struct cx *cx, struct request *q,
               rc (*fn)(struct cx *cx, struct request *q, void *arg), void *arg)
{
    char hash[DIGEST_HEX_LEN + 1];
    struct keeping k = {q, NULL, hash};
    bool found = false;
    rc r;

    try(request_idempotency_key(cx, q, &k.key));
    if (!k.key)
        return fn(cx, q, arg);
    hash_call(cx, q, hash);
    try(find(cx, q, &k, &found));
    if (found)
        return OK;
    r = fn(cx, q, arg);
    if (r == E_ALREADY_EXISTS || r == E_CONFLICT) { /* perhaps made by this very key, just now */
        struct err first = cx->err;
        if (find(cx, q, &k, &found) == OK && found)
            return OK;
        cx->err = first;
    }
    try(r);
    r = pg_tx_run(cx, q->hub->db, keep, &k);
    if (r == E_CONFLICT) /* another request with this key was first: its answer is the answer */
        r = find(cx, q, &k, &found);
    return r;
}
