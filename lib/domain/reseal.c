/* reseal.c - place by place, batch by batch: read what is under another key, open, seal, write. */
#include "domain/reseal.h"
#include "base/log.h"
#include "domain/audit.h"
#include "domain/reseal.sql.h"
#include "domain/row.h"
#include "pg/pg_array.h"
#include <stdio.h>

static const struct place {
    const char *name;
    const struct sql *read, *write;
} places[] = {
    {"integrations.credentials", &SQL_RESEAL_READ_INTEGRATIONS, &SQL_RESEAL_WRITE_INTEGRATIONS},
    {"tenants.webhook_secret", &SQL_RESEAL_READ_TENANTS, &SQL_RESEAL_WRITE_TENANTS},
    {"order_placements.pin", &SQL_RESEAL_READ_PLACEMENTS, &SQL_RESEAL_WRITE_PLACEMENTS},
    {"product_orders.pin_code", &SQL_RESEAL_READ_ORDERS, &SQL_RESEAL_WRITE_ORDERS},
    {"product_orders.pin_codes", &SQL_RESEAL_READ_UNITS, &SQL_RESEAL_WRITE_UNITS},
};

rc sealed_count(struct cx *cx, struct pg *db, struct sealed_count **ret, size_t *ret_n)
{
    _cleanup_(pg_result_freep) struct pg_result *res = NULL;

    try(pg_query(cx, db, &SQL_SEALED_COUNT, &res, PG_NO_ARGS));
    struct sealed_count *list = rows_alloc(cx, res, struct sealed_count);
    for (int i = 0; i < pg_rows(res); i++) {
        struct row r = ROW(cx, res, i);
        list[i].place = row_text(&r);
        list[i].key = row_text(&r);
        list[i].values = row_int(&r);
    }
    *ret = list;
    *ret_n = (size_t)pg_rows(res);
    return OK;
}

struct walk {
    struct pg *db;
    const struct seal_keys *seal;
    const struct place *place;
    char after[40]; /* id and unit of the last value seen; "": none yet */
    int64_t after_unit;
    bool more;
    struct reseal_result *result;
};

/* What was read, sealed anew, into four arrays. */
static rc reseal_rows(struct cx *cx, struct walk *w, const struct pg_result *res,
                      struct pg_array *arrays)
{
    for (int i = 0; i < pg_rows(res); i++) {
        const char *id = pg_text(res, i, 0), *context = pg_text(res, i, 2),
                   *old = pg_text(res, i, 3), *clear, *sealed;
        rc r = open_text(cx, w->seal, context, old, &clear);

        snprintf(w->after, sizeof w->after, "%s", id);
        w->after_unit = pg_int(res, i, 1);
        if (r == E_CRYPTO) {
            log_fail(LOG_WARN, "seal.unreadable", cx, r, kv_str("value", context));
            w->result->unreadable++;
            continue;
        }
        try(r);
        try(seal_text(cx, w->seal, context, clear, &sealed));
        pg_array_s(&arrays[0], id);
        pg_array_i(&arrays[1], w->after_unit);
        pg_array_s(&arrays[2], old);
        pg_array_s(&arrays[3], sealed);
    }
    return OK;
}

static rc reseal_batch(struct cx *cx, struct walk *w)
{
    _cleanup_(pg_result_freep) struct pg_result *res = NULL, *done = NULL;
    struct pg_array arrays[4] = {PG_ARRAY(MiB(64)), PG_ARRAY(MiB(64)), PG_ARRAY(MiB(64)),
                                 PG_ARRAY(MiB(64))};
    size_t n = 0;

    try(pg_query(cx, w->db, w->place->read, &res,
                 PG_ARGS(pg_s(*w->after ? w->after : NULL), pg_i(w->after_unit),
                         pg_s(seal_key_id(w->seal)), pg_i(RESEAL_BATCH))));
    w->more = pg_rows(res) == RESEAL_BATCH;
    rc r = reseal_rows(cx, w, res, arrays);
    n = arrays[0].n;
    if (r == OK && n > 0)
        r = pg_query(
            cx, w->db, w->place->write, &done,
            PG_ARGS(pg_a(&arrays[0]), pg_a(&arrays[1]), pg_a(&arrays[2]), pg_a(&arrays[3])));
    for (size_t i = 0; i < COUNT(arrays); i++)
        pg_array_release(&arrays[i]);
    w->result->resealed += r == OK ? (int64_t)n : 0;
    return r;
}

/* A batch's memory, with what was opened in it, is given back before the next. */
static rc reseal_place(struct cx *cx, struct walk *w)
{
    struct arena kept = cx->arena;
    rc r;

    do {
        cx->arena = (struct arena){0};
        r = reseal_batch(cx, w);
        arena_release(&cx->arena);
    } while (r == OK && w->more);
    cx->arena = kept;
    return r;
}

static rc note(struct cx *cx, struct pg *db, const struct seal_keys *seal, const char *actor,
               const char *detail)
{
    return audit_note(cx, db,
                      &(struct audit){.actor = actor,
                                      .action = "seal.rotate",
                                      .object_type = "seal_key",
                                      .object_id = seal_key_id(seal),
                                      .detail = detail});
}

rc reseal(struct cx *cx, struct pg *db, const struct seal_keys *seal, const char *actor,
          struct reseal_result *ret)
{
    *ret = (struct reseal_result){0};
    try(note(cx, db, seal, actor, "{\"state\":\"begun\"}"));
    for (size_t i = 0; i < COUNT(places); i++)
        try(reseal_place(
            cx, &(struct walk){.db = db, .seal = seal, .place = &places[i], .result = ret}));
    return note(cx, db, seal, actor,
                arena_printf(&cx->arena,
                             "{\"state\":\"ended\",\"resealed\":%lld,\"unreadable\":%lld}",
                             (long long)ret->resealed, (long long)ret->unreadable));
}
