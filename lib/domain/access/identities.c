/* identities.c - rows of identities with the names of their roles. */
#include "domain/access/identities.h"
#include "base/text.h"
#include "domain/access/identities.sql.h"
#include "domain/access/roles.h"
#include "domain/row.h"
#include "secure/identity.h"
#include <stdio.h>
#include <string.h>

#define AGENT_ID_MAX 255

/* What secure/identity.h can read from a certificate, nothing else: a name that no certificate has would
 * only look as if it permitted something. */
static bool name_ok(const char *name)
{
    size_t n = strlen(name);

    return n <= IDENTITY_MAX &&
           (identity_uri_ok(name, n) || identity_dns_ok(name, n) || identity_cn_ok(name, n));
}

static bool agent_ok(const char *id)
{
    static const char first[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";
    size_t n = strlen(id);

    return n >= 1 && n <= AGENT_ID_MAX && strchr(first, id[0]) &&
           n == strspn(id, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._:-");
}

static rc check_agent(struct cx *cx, const char *agent_id)
{
    if (!str_empty(agent_id) && !agent_ok(agent_id))
        return fail_at(cx, INVALID_FIELD, "/agent_id",
                       "an agent's id has 1 to %d of A-Z a-z 0-9 . _ : -", AGENT_ID_MAX);
    return OK;
}

static void row_read(struct cx *cx, const struct pg_result *res, int row, struct identity_row *ret)
{
    struct row r = ROW(cx, res, row);

    ret->id = row_text(&r);
    ret->tenant_id = row_text(&r);
    ret->name = row_text(&r);
    ret->agent_id = row_text(&r);
    ret->roles = row_text(&r);
    ret->enabled = row_bool(&r);
    ret->created_ms = row_ms(&r);
    ret->last_used_ms = row_ms(&r);
}

rc identity_add(struct cx *cx, struct pg *db, const char *actor, const char *tenant_id,
                const char *name, const char *agent_id, const char *roles, struct identity_row *ret)
{
    _cleanup_(pg_array_release) struct pg_array held = PG_ARRAY(KiB(4));
    _cleanup_(pg_result_freep) struct pg_result *res = NULL;
    char id[ID_LEN + 1];

    if (!name_ok(name))
        return fail_at(cx, INVALID_FIELD, "/name",
                       "must be a name as a certificate has it: a URI, a DNS name in lower case, "
                       "or a CN of printable ASCII");
    try(check_agent(cx, agent_id));
    try(role_names(cx, db, tenant_id, roles, &held));
    try(pg_do(cx, db, SQL_IDENTITY_ADD, &res, pg_s(id_new(id)), pg_s(tenant_id), pg_s(name),
              pg_s(str_empty(agent_id) ? NULL : agent_id), pg_a(&held), pg_s(actor)));
    if (pg_rows(res) == 0)
        return fail_at(cx, ALREADY_EXISTS, "/name", "there is an identity '%s' already", name);
    row_read(cx, res, 0, ret);
    return OK;
}

static rc find(struct cx *cx, struct pg *db, const char *tenant_id, const char *by,
               char id[ID_LEN + 1])
{
    _cleanup_(pg_result_freep) struct pg_result *res = NULL;
    bool is_id = id_parse(by, id);

    try(pg_do(cx, db, SQL_IDENTITY_FIND, &res, pg_s(tenant_id), pg_s(is_id ? id : NULL),
              pg_s(is_id ? NULL : by)));
    if (pg_rows(res) == 0)
        return fail(cx, NOT_FOUND, "there is no identity '%s'", by);
    memcpy(id, pg_text(res, 0, 0), ID_LEN + 1);
    return OK;
}

rc identity_set(struct cx *cx, struct pg *db, const char *actor, const char *tenant_id,
                const char *by, const struct identity_change *change, struct identity_row *ret)
{
    _cleanup_(pg_array_release) struct pg_array held = PG_ARRAY(KiB(4));
    _cleanup_(pg_result_freep) struct pg_result *res = NULL;
    char id[ID_LEN + 1];

    try(check_agent(cx, change->agent_id));
    try(role_names(cx, db, tenant_id, change->roles, &held));
    try(find(cx, db, tenant_id, by, id));
    try(pg_do(cx, db, SQL_IDENTITY_SET, &res, pg_s(tenant_id), pg_s(id), pg_s(change->agent_id),
              change->roles ? pg_a(&held) : pg_s(NULL),
              change->enabled ? pg_b(*change->enabled) : pg_s(NULL), pg_s(actor)));
    if (pg_rows(res) == 0)
        return fail(cx, NOT_FOUND, "there is no identity '%s'", by);
    row_read(cx, res, 0, ret);
    return OK;
}

rc identity_remove(struct cx *cx, struct pg *db, const char *actor, const char *tenant_id,
                   const char *by)
{
    _cleanup_(pg_result_freep) struct pg_result *res = NULL;
    char id[ID_LEN + 1];

    try(find(cx, db, tenant_id, by, id));
    try(pg_do(cx, db, SQL_IDENTITY_REMOVE, &res, pg_s(tenant_id), pg_s(id), pg_s(actor)));
    if (pg_rows(res) == 0)
        return fail(cx, NOT_FOUND, "there is no identity '%s'", by);
    return OK;
}

rc identity_list(struct cx *cx, struct pg *db, const char *tenant_id, struct identity_row **ret,
                 size_t *ret_n)
{
    _cleanup_(pg_result_freep) struct pg_result *res = NULL;

    try(pg_do(cx, db, SQL_IDENTITY_LIST, &res, pg_s(tenant_id)));
    struct identity_row *list = rows_alloc(cx, res, struct identity_row);
    for (int i = 0; i < pg_rows(res); i++)
        row_read(cx, res, i, &list[i]);
    *ret = list;
    *ret_n = (size_t)pg_rows(res);
    return OK;
}

/* The columns from the tenant on; whether it is enabled. */
static bool identity_read(struct row *r, struct identity *ret)
{
    *ret = (struct identity){.kind = IDENTITY_CERT};
    snprintf(ret->tenant_id, sizeof(ret->tenant_id), "%s", row_text(r));
    snprintf(ret->id, sizeof(ret->id), "%s", row_text(r));
    snprintf(ret->name, sizeof(ret->name), "%s", row_text(r));
    const char *agent = row_text(r);
    snprintf(ret->agent_id, sizeof(ret->agent_id), "%s", agent ? agent : "");
    bool enabled = row_bool(r);
    identity_grant_roles(ret, row_text(r));
    return enabled;
}

rc identity_load(struct cx *cx, struct pg *db, const char *name, struct identity *ret,
                 bool *ret_enabled)
{
    _cleanup_(pg_result_freep) struct pg_result *res = NULL;

    try(pg_do(cx, db, SQL_IDENTITY_LOAD, &res, pg_s(name)));
    if (pg_rows(res) == 0)
        return fail(cx, NOT_FOUND, "nobody here has the name of this certificate");
    struct row r = ROW(cx, res, 0);
    *ret_enabled = identity_read(&r, ret);
    return OK;
}

rc identities_load(struct cx *cx, struct pg *db, const char *const *names, size_t n,
                   struct identity *ret)
{
    _cleanup_(pg_array_release) struct pg_array list = PG_ARRAY(MiB(4));
    _cleanup_(pg_result_freep) struct pg_result *res = NULL;

    for (size_t i = 0; i < n; i++) {
        pg_array_s(&list, names[i]);
        ret[i] = (struct identity){.kind = IDENTITY_CERT};
    }
    try(pg_do(cx, db, SQL_IDENTITIES_LOAD, &res, pg_a(&list)));
    for (int i = 0; i < pg_rows(res); i++) {
        struct row r = ROW(cx, res, i);
        struct identity *who = &ret[row_int(&r) - 1];
        if (!identity_read(&r, who))
            who->permissions = 0;
    }
    return OK;
}

rc identity_touch(struct cx *cx, struct pg *db, const char *const *ids, size_t n)
{
    _cleanup_(pg_array_release) struct pg_array list = PG_ARRAY(MiB(4));
    _cleanup_(pg_result_freep) struct pg_result *res = NULL;

    for (size_t i = 0; i < n; i++)
        pg_array_s(&list, ids[i]);
    return n ? pg_do(cx, db, SQL_IDENTITY_TOUCH, &res, pg_a(&list)) : OK;
}
