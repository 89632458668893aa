/* agents.c - agents as operators see them; sessions are in agent_sessions.c. */
#include "domain/agents/agents.h"
#include "base/json.h"
#include "base/text.h"
#include "domain/agents/agents.sql.h"
#include "domain/agents/request_row.h"
#include <assert.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char *const words[] = {
    [AGENT_INACTIVE] = "inactive",
    [AGENT_PENDING_ACTIVATION] = "pending_activation",
    [AGENT_ACTIVE] = "active",
    [AGENT_COOLDOWN] = "cooldown",
};

const char *agent_status_word(enum agent_status s)
{
    assert(s < AGENT_STATUS_COUNT);
    return words[s];
}

bool agent_status_parse(const char *word, enum agent_status *ret)
{
    for (size_t i = 0; i < COUNT(words); i++) {
        if (str_eq(word, words[i])) {
            *ret = (enum agent_status)i;
            return true;
        }
    }
    return false;
}

#define ALNUM "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"

static bool name_valid(const char *s, size_t max, const char *set)
{
    size_t n = s ? strnlen(s, max + 1) : 0;

    return n >= 1 && n <= max && strchr(ALNUM, s[0]) && strspn(s, set) == n;
}

bool agent_id_valid(const char *s)
{
    return name_valid(s, AGENT_ID_MAX, ALNUM "._:-");
}

bool agent_type_valid(const char *s)
{
    return name_valid(s, AGENT_TYPE_MAX, ALNUM "._-");
}

/* ---------------------------------------------------------------- rows */

void agent_read(struct cx *cx, const struct pg_result *res, int row, struct agent *a)
{
    struct row r = ROW(cx, res, row);

    a->agent_id = row_text(&r);
    a->tenant_id = row_text(&r);
    agent_status_parse(row_text(&r), &a->status);
    a->agent_type = row_text(&r);
    a->agent_version = row_text(&r);
    a->last_ip = row_text(&r);
    a->hub_id = row_text(&r);
    a->session_id = row_text(&r);
    a->first_seen_ms = row_ms(&r);
    a->last_seen_ms = row_ms(&r);
    a->registered_ms = row_ms(&r);
    a->provisioned = row_text(&r);
    a->metadata = row_text(&r);
    a->enabled = row_bool(&r);
    a->load = (int)row_int(&r);
    a->failures = (int)row_int(&r);
    a->cooldown_until_ms = row_ms(&r);
    a->probing = row_bool(&r);
    a->created_ms = row_ms(&r);
    a->updated_ms = row_ms(&r);
}

void session_read(const struct pg_result *res, struct agent_session *ret)
{
    *ret = (struct agent_session){0};
    if (pg_rows(res) == 0 || !pg_text(res, 0, 1))
        return;
    snprintf(ret->hub_id, sizeof(ret->hub_id), "%s", pg_text(res, 0, 0));
    snprintf(ret->session_id, sizeof(ret->session_id), "%s", pg_text(res, 0, 1));
}

rc ids_read(struct cx *cx, const struct pg_result *res, const char *const **ret, size_t *ret_n)
{
    const char **ids = rows_alloc(cx, res, const char *);

    for (int i = 0; i < pg_rows(res); i++)
        ids[i] = arena_strdup(&cx->arena, pg_text(res, i, 0));
    *ret = ids;
    *ret_n = (size_t)pg_rows(res);
    return OK;
}

void steps_release(struct pg_step *steps, size_t n)
{
    for (size_t i = 0; i < n; i++)
        pg_result_freep(&steps[i].result);
}

#define EXPONENT_DIGITS 4       /* 1e9999 fits, whatever stands before the e */
#define GROWTH_MAX      KiB(64) /* digits that are not in the text, beyond as many as it has bytes */
#define PAGE_BYTES      MiB(8)

size_t rows_of_page(const struct pg_result *res, int limit)
{
    size_t bytes = 0;
    int n = 0;

    while (n < MIN(pg_rows(res), limit)) {
        bytes += pg_row_bytes(res, n);
        if (n > 0 && bytes > PAGE_BYTES)
            break;
        n++;
    }
    return (size_t)n;
}

bool numbers_fit(const char *s)
{
    bool in_string = false;
    size_t growth = 0, room = strlen(s) + GROWTH_MAX;

    for (; *s; s++) {
        if (in_string && *s == '\\')
            s++;
        else if (*s == '"')
            in_string = !in_string;
        else if (!in_string && (*s == 'e' || *s == 'E') && s[1] && strchr("+-0123456789", s[1])) {
            s += 1 + strspn(s + 1, "+-");
            s += strspn(s, "0");
            if (strspn(s, "0123456789") > EXPONENT_DIGITS)
                return false;
            growth += strtoul(s, NULL, 10);
            if (growth > room)
                return false;
            s--;
        }
    }
    return true;
}

rc object_check(struct cx *cx, const char *json, size_t max, const char *pointer, const char **ret)
{
    cJSON *v;

    if (!json)
        json = "{}";
    if (strlen(json) > max)
        return fail_at(cx, INVALID_FIELD, pointer, "has more than %zu bytes", max);
    if (json_parse(cx, json, strlen(json), max, &v) != OK)
        return fail_at(cx, INVALID_FIELD, pointer, "is not JSON that can be kept");
    if (!cJSON_IsObject(v))
        return fail_at(cx, INVALID_FIELD, pointer, "must be an object");
    if (!numbers_fit(json))
        return fail_at(cx, INVALID_FIELD, pointer, "holds a number that is too large or too small");
    *ret = json;
    return OK;
}

static rc no_agent(struct cx *cx)
{
    return fail(cx, NOT_FOUND, "there is no such agent");
}

/* ---------------------------------------------------------------- by hand */

rc agent_add(struct cx *cx, struct pg *db, const char *actor, const char *tenant_id,
             const char *agent_id, const char *agent_type, const char *metadata, struct agent *ret)
{
    _cleanup_(pg_result_freep) struct pg_result *res = NULL;
    char tenant[ID_LEN + 1];

    if (!agent_id_valid(agent_id))
        return fail_at(cx, INVALID_FIELD, "/agent_id",
                       "must have 1 to %d characters of A-Z a-z 0-9 . _ : - and begin with a "
                       "letter or digit",
                       AGENT_ID_MAX);
    if (!agent_type_valid(agent_type))
        return fail_at(cx, INVALID_FIELD, "/agent_type",
                       "must have 1 to %d characters of A-Z a-z 0-9 . _ - and begin with a letter "
                       "or digit",
                       AGENT_TYPE_MAX);
    try(object_check(cx, metadata, AGENT_METADATA_MAX, "/metadata", &metadata));
    if (!id_parse(tenant_id, tenant))
        return fail(cx, NOT_FOUND, "there is no such tenant");
    try(pg_do(cx, db, SQL_AGENT_ADD, &res, pg_s(tenant), pg_s(agent_id), pg_s(agent_type),
              pg_s(metadata), pg_s(actor)));
    if (pg_rows(res) == 0)
        return fail(cx, NOT_FOUND, "there is no such tenant");
    if (!pg_text(res, 0, 0))
        return fail_at(cx, ALREADY_EXISTS, "/agent_id", "there is an agent '%s' already", agent_id);
    agent_read(cx, res, 0, ret);
    return OK;
}

rc agent_get(struct cx *cx, struct pg *db, const char *tenant_id, const char *agent_id,
             struct agent *ret)
{
    _cleanup_(pg_result_freep) struct pg_result *res = NULL;

    if (!agent_id_valid(agent_id))
        return no_agent(cx);
    try(pg_do(cx, db, SQL_AGENT_GET, &res, pg_s(agent_id), pg_s(tenant_id)));
    if (pg_rows(res) == 0)
        return no_agent(cx);
    agent_read(cx, res, 0, ret);
    return OK;
}

rc agent_list(struct cx *cx, struct pg *db, const struct agent_filter *f, struct agent **ret,
              size_t *ret_n, char *next)
{
    _cleanup_(pg_result_freep) struct pg_result *res = NULL;
    int limit = f->limit > 0 ? f->limit : 50;
    const char *match = f->match;
    enum agent_status s;

    if (f->status && !agent_status_parse(f->status, &s))
        return fail_at(cx, INVALID_FIELD, "/status", "there is no such status");
    if (f->limit < 0 || f->limit > 500)
        return fail_at(cx, INVALID_FIELD, "/limit", "must be 1 to 500");
    if (match)
        try(object_check(cx, match, AGENT_METADATA_MAX, "/match", &match));
    try(pg_do(cx, db, SQL_AGENT_LIST, &res, pg_s(f->tenant_id), pg_s(f->status),
              pg_s(f->agent_type), pg_s(match), pg_s(f->after), pg_i(limit + 1)));

    size_t n = rows_of_page(res, limit);
    struct agent *list = rows_alloc(cx, res, struct agent);
    for (size_t i = 0; i < n; i++)
        agent_read(cx, res, (int)i, &list[i]);
    next[0] = '\0';
    if ((size_t)pg_rows(res) > n)
        snprintf(next, AGENT_ID_MAX + 1, "%s", list[n - 1].agent_id);
    *ret = list;
    *ret_n = n;
    return OK;
}

rc agent_change(struct cx *cx, struct pg *db, const char *actor, const char *tenant_id,
                const char *agent_id, const struct agent_change *c, struct agent *ret,
                struct agent_session *ret_ended)
{
    const char *metadata = c->metadata;

    if (!agent_id_valid(agent_id))
        return no_agent(cx);
    if (c->agent_type && !agent_type_valid(c->agent_type))
        return fail_at(cx, INVALID_FIELD, "/agent_type", "is not the name of a type");
    if (metadata)
        try(object_check(cx, metadata, AGENT_METADATA_MAX, "/metadata", &metadata));
    struct pg_arg enabled = c->set_enabled ? pg_b(c->enabled) : pg_s(NULL);
    struct pg_step steps[] = {
        {.q = &SQL_AGENT_LOCK, .args = PG_ARGS(pg_s(agent_id), pg_s(tenant_id))},
        {.q = &SQL_AGENT_CHANGE,
         .args = PG_ARGS(pg_s(agent_id), pg_s(tenant_id), pg_s(c->agent_type), pg_s(metadata),
                         enabled, pg_s(actor))},
    };
    try(pg_batch(cx, db, steps, COUNT(steps)));
    bool found = pg_rows(steps[1].result) > 0;
    *ret_ended = (struct agent_session){0};
    if (found) {
        agent_read(cx, steps[1].result, 0, ret);
        if (!ret->session_id)
            session_read(steps[0].result, ret_ended);
    }
    steps_release(steps, COUNT(steps));
    return found ? OK : no_agent(cx);
}

rc agent_json(struct cx *cx, const struct agent *a, struct buf *out)
{
    buf_puts(out, "{\"agent_id\":");
    buf_json_str(out, a->agent_id);
    buf_json_field(out, "tenant_id", a->tenant_id);
    buf_json_field(out, "status", agent_status_word(a->status));
    buf_json_field(out, "agent_type", a->agent_type);
    buf_json_field(out, "agent_version", a->agent_version);
    buf_json_field(out, "last_ip_address", a->last_ip);
    buf_json_field(out, "hub_instance_id", a->hub_id);
    buf_json_time(out, "first_seen_at", a->first_seen_ms);
    buf_json_time(out, "last_seen_at", a->last_seen_ms);
    buf_json_time(out, "registered_at", a->registered_ms);
    buf_printf(out, ",\"metadata\":%s", a->metadata);
    buf_printf(out, ",\"provisioned\":%s", a->provisioned);
    buf_printf(out, ",\"enabled\":%s,\"load\":%d,\"failures\":%d", a->enabled ? "true" : "false",
               a->load, a->failures);
    buf_json_time(out, "cooldown_until", a->cooldown_until_ms);
    buf_json_time(out, "created_at", a->created_ms);
    buf_json_time(out, "updated_at", a->updated_ms);
    buf_putc(out, '}');
    if (!buf_ok(out))
        return fail(cx, BUFFER_FULL, "agent %.80s does not fit into the answer", a->agent_id);
    return OK;
}
