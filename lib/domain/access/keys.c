/* keys.c - API keys and what they permit. In the database permissions are words, here they are
 * bits. */
#include "domain/access/keys.h"
#include "base/buf.h"
#include "base/text.h"
#include "domain/access/keys.sql.h"
#include "domain/access/roles.h"
#include "domain/row.h"
#include <assert.h>
#include <stdio.h>
#include <string.h>

#define KEY_NAME_MAX 120

static const char *const words[] = {
#define PERMISSION(NAME, word) [PERM_##NAME] = (word),
#include "domain/access/permission.def"
#undef PERMISSION
};

uint64_t permission_bits(const char *word)
{
    uint64_t bits = 0;

    for (size_t i = 0; i < COUNT(words); i++) {
        if (glob_match(word, words[i]))
            bits |= PERM_BIT(i);
    }
    return bits;
}

const char *permission_word(enum permission p)
{
    assert(p < PERM_COUNT);
    return words[p];
}

bool identity_may_command(const struct identity *i, const char *command)
{
    char pattern[IDENTITY_COMMANDS_MAX];

    if (!identity_may(i, PERM_REQUESTS_WRITE))
        return false;
    for (const char *p = i->commands; *p; p += strspn(p, "\n")) {
        size_t n = strcspn(p, "\n");
        memcpy(pattern, p, n);
        pattern[n] = '\0';
        if (glob_match(pattern, command))
            return true;
        p += n;
    }
    return false;
}

/* "orders:read jobs:read" or "*". A word of another version of this program gives nothing. */
static uint64_t bits_of(const char *list)
{
    uint64_t bits = 0;
    char word[64];

    while (list && *list) {
        size_t n = strcspn(list, " ");
        if (n < sizeof(word)) {
            memcpy(word, list, n);
            word[n] = '\0';
            bits |= permission_bits(word);
        }
        list += n + (list[n] == ' ');
    }
    return bits;
}

static bool has_line(const char *lines, const char *s, size_t n)
{
    while (*lines) {
        size_t len = strcspn(lines, "\n");
        if (len == n && memcmp(lines, s, n) == 0)
            return true;
        lines += len + (lines[len] == '\n');
    }
    return false;
}

void identity_grant(struct identity *i, const char *permissions, const char *commands)
{
    uint64_t bits = bits_of(permissions);
    size_t used = strlen(i->commands);

    i->permissions |= bits;
    if (!(bits & PERM_BIT(PERM_REQUESTS_WRITE)))
        return;
    for (const char *p = commands; p && *p; p += strspn(p, " ")) {
        size_t n = strcspn(p, " ");
        if (!has_line(i->commands, p, n) && used + n + 2 <= sizeof(i->commands)) {
            if (used)
                i->commands[used++] = '\n';
            memcpy(i->commands + used, p, n);
            i->commands[used += n] = '\0';
        }
        p += n;
    }
}

void identity_grant_roles(struct identity *i, const char *roles)
{
    char line[KiB(2)];

    while (roles && *roles) {
        size_t n = strcspn(roles, "\n");
        if (n < sizeof(line)) {
            memcpy(line, roles, n);
            line[n] = '\0';
            char *tab = strchr(line, '\t');
            if (tab)
                *tab++ = '\0';
            identity_grant(i, line, tab);
        }
        roles += n + (roles[n] == '\n');
    }
}

static const char *words_of(struct cx *cx, uint64_t bits)
{
    if (bits == PERM_ALL)
        return "*";
    const char *list = "";
    for (size_t i = 0; i < COUNT(words); i++) {
        if (bits & PERM_BIT(i))
            list = *list ? arena_printf(&cx->arena, "%s %s", list, words[i]) : words[i];
    }
    return list;
}

static void key_read(struct cx *cx, const struct pg_result *res, int row, struct key *k)
{
    struct row r = ROW(cx, res, row);

    k->id = row_text(&r);
    k->tenant_id = row_text(&r);
    k->name = row_text(&r);
    k->prefix = row_text(&r);
    k->permissions = bits_of(row_text(&r));
    k->roles = row_text(&r);
    k->created_ms = row_ms(&r);
    k->expires_ms = row_ms(&r);
    k->revoked_ms = row_ms(&r);
    k->last_used_ms = row_ms(&r);
}

rc key_create(struct cx *cx, struct pg *db, const char *actor, const char *tenant_id,
              const char *name, uint64_t permissions, const char *roles, int64_t expires_ms,
              struct key *ret, char *text)
{
    _cleanup_(pg_array_release) struct pg_array held = PG_ARRAY(KiB(4));
    _cleanup_(pg_result_freep) struct pg_result *res = NULL;
    char id[ID_LEN + 1], tenant[ID_LEN + 1], prefix[TOKEN_PREFIX_LEN + 1], hash[TOKEN_HASH_MAX];

    if (str_empty(name) || !utf8_valid(name, strlen(name)) || utf8_len(name) > KEY_NAME_MAX)
        return fail_at(cx, INVALID_FIELD, "/name", "must have 1 to %d characters", KEY_NAME_MAX);
    if (!id_parse(tenant_id, tenant))
        return fail(cx, NOT_FOUND, "there is no such tenant");
    try(role_names(cx, db, tenant, roles, &held));
    if ((permissions == 0 && held.n == 0) || (permissions & ~PERM_ALL))
        return fail_at(cx, INVALID_FIELD, "/permissions",
                       "must name at least one permission or role, and only known ones");

    token_make(&TOKEN_KEY, prefix, text);
    try(token_hash(cx, &TOKEN_KEY, text, hash));
    try(pg_do(cx, db, SQL_KEY_CREATE, &res, pg_s(id_new(id)), pg_s(tenant), pg_s(name),
              pg_s(prefix), pg_s(hash), pg_s(words_of(cx, permissions)), pg_t(expires_ms),
              pg_s(actor), pg_a(&held)));
    if (pg_rows(res) == 0)
        return fail(cx, NOT_FOUND, "there is no such tenant");
    key_read(cx, res, 0, ret);
    return OK;
}

static enum token_state state_of(const char *word)
{
    return str_eq(word, "good")      ? TOKEN_GOOD
           : str_eq(word, "revoked") ? TOKEN_REVOKED
           : str_eq(word, "expired") ? TOKEN_EXPIRED
                                     : TOKEN_DISABLED;
}

rc key_load(struct cx *cx, void *arg, const char *prefix, struct token_row *row, void *identity)
{
    _cleanup_(pg_result_freep) struct pg_result *res = NULL;
    struct pg *db = arg;
    struct identity *who = identity;

    try(pg_do(cx, db, SQL_KEY_LOAD, &res, pg_s(prefix)));
    if (pg_rows(res) == 0)
        return fail(cx, NOT_FOUND, "there is no such key");
    struct row r = ROW(cx, res, 0);
    snprintf(row->hash, sizeof(row->hash), "%s", row_text(&r));
    row->state = state_of(row_text(&r));
    *who = (struct identity){.kind = IDENTITY_KEY};
    snprintf(who->tenant_id, sizeof(who->tenant_id), "%s", row_text(&r));
    snprintf(who->id, sizeof(who->id), "%s", row_text(&r));
    strcpy(who->key_id, who->id);
    const char *name = row_text(&r);
    snprintf(who->name, sizeof(who->name), "%.*s", (int)utf8_cut(name, sizeof(who->name) - 1),
             name);
    identity_grant(who, row_text(&r), "*");
    who->expires_ms = row_ms(&r);
    identity_grant_roles(who, row_text(&r));
    return OK;
}

rc key_revoke(struct cx *cx, struct pg *db, const char *actor, const char *by)
{
    _cleanup_(pg_result_freep) struct pg_result *res = NULL;
    char id[ID_LEN + 1];
    bool is_id = id_parse(by, id);

    try(pg_do(cx, db, SQL_KEY_REVOKE, &res, pg_s(is_id ? id : NULL), pg_s(is_id ? NULL : by),
              pg_s(actor)));
    if (pg_rows(res) == 0)
        return fail(cx, NOT_FOUND, "there is no such key");
    return OK;
}

rc key_list(struct cx *cx, struct pg *db, const char *tenant_id, struct key **ret, size_t *ret_n)
{
    _cleanup_(pg_result_freep) struct pg_result *res = NULL;

    try(pg_do(cx, db, SQL_KEY_LIST, &res, pg_s(tenant_id)));
    struct key *list = rows_alloc(cx, res, struct key);
    for (int i = 0; i < pg_rows(res); i++)
        key_read(cx, res, i, &list[i]);
    *ret = list;
    *ret_n = (size_t)pg_rows(res);
    return OK;
}

rc key_touch(struct cx *cx, struct pg *db, const char *const *key_ids, size_t n)
{
    _cleanup_(pg_array_release) struct pg_array ids = PG_ARRAY(MiB(4));
    _cleanup_(pg_result_freep) struct pg_result *res = NULL;

    for (size_t i = 0; i < n; i++)
        pg_array_s(&ids, key_ids[i]);
    return n ? pg_do(cx, db, SQL_KEY_TOUCH, &res, pg_a(&ids)) : OK;
}
