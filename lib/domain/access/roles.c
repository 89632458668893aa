/* roles.c - words are checked here, so that a role cannot hold one that gives nothing by mistake. */
#include "domain/access/roles.h"
#include "base/buf.h"
#include "base/text.h"
#include "domain/access/roles.sql.h"
#include "domain/row.h"
#include <string.h>

#define PERMISSIONS_MAX 1023 /* a list of all words fits */
#define SEPARATORS      ", \t\n"

bool command_pattern_ok(const char *pattern)
{
    size_t n =
        strspn(pattern, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_.:*-");

    return n >= 1 && n <= 128 && pattern[n] == '\0';
}

static bool role_name_ok(const char *name)
{
    size_t n = strspn(name, "abcdefghijklmnopqrstuvwxyz0123456789_.-");

    return n >= 1 && n <= ROLE_NAME_MAX && name[n] == '\0' && name[0] >= 'a' && name[0] <= 'z';
}

/* "a, b c" -> "a b c"; what each word is, `ok` says. */
static rc read_words(struct cx *cx, const char *list, const char *pointer, size_t max,
                     bool (*ok)(const char *), const char *what, const char **ret)
{
    char *words = arena_strdup(&cx->arena, list), *save = NULL;
    const char *out = "";

    for (char *w = strtok_r(words, SEPARATORS, &save); w; w = strtok_r(NULL, SEPARATORS, &save)) {
        if (!ok(w))
            return fail_at(cx, INVALID_FIELD, pointer, "'%.64s' is no %s", w, what);
        out = arena_printf(&cx->arena, "%s%s%s", out, *out ? " " : "", w);
        if (strlen(out) > max)
            return fail_at(cx, INVALID_FIELD, pointer, "at most %zu characters in all", max);
    }
    *ret = out;
    return OK;
}

static bool permission_ok(const char *word)
{
    return permission_bits(word) != 0;
}

static rc read_permissions(struct cx *cx, const char *list, const char **ret)
{
    try(read_words(cx, list, "/permissions", PERMISSIONS_MAX, permission_ok, "permission", ret));
    if (!**ret)
        return fail_at(cx, INVALID_FIELD, "/permissions", "must name at least one permission");
    return OK;
}

/* An empty list is one: no command may be sent. */
static rc read_commands(struct cx *cx, const char *list, const char **ret)
{
    return read_words(cx, list, "/commands", ROLE_COMMANDS_MAX, command_pattern_ok,
                      "pattern of commands", ret);
}

static void role_read(struct cx *cx, const struct pg_result *res, int row, struct role *ret)
{
    struct row r = ROW(cx, res, row);

    ret->id = row_text(&r);
    ret->tenant_id = row_text(&r);
    ret->name = row_text(&r);
    ret->permissions = row_text(&r);
    ret->commands = row_text(&r);
    ret->holders = row_int(&r);
    ret->created_ms = row_ms(&r);
    ret->updated_ms = row_ms(&r);
}

rc role_add(struct cx *cx, struct pg *db, const char *actor, const char *tenant_id,
            const char *name, const char *permissions, const char *commands, struct role *ret)
{
    _cleanup_(pg_result_freep) struct pg_result *res = NULL;
    const char *may, *send;
    char id[ID_LEN + 1];

    if (!role_name_ok(name))
        return fail_at(cx, INVALID_FIELD, "/name",
                       "a role's name has 1 to %d of a-z 0-9 _ . - and begins with a letter",
                       ROLE_NAME_MAX);
    try(read_permissions(cx, permissions, &may));
    try(read_commands(cx, commands ? commands : "*", &send));
    try(pg_do(cx, db, SQL_ROLE_ADD, &res, pg_s(id_new(id)), pg_s(tenant_id), pg_s(name), pg_s(may),
              pg_s(send), pg_s(actor)));
    if (pg_rows(res) == 0)
        return fail_at(cx, ALREADY_EXISTS, "/name", "there is a role '%s' already", name);
    role_read(cx, res, 0, ret);
    return OK;
}

rc role_set(struct cx *cx, struct pg *db, const char *actor, const char *tenant_id,
            const char *name, const char *permissions, const char *commands, struct role *ret)
{
    _cleanup_(pg_result_freep) struct pg_result *res = NULL;

    if (permissions)
        try(read_permissions(cx, permissions, &permissions));
    if (commands)
        try(read_commands(cx, commands, &commands));
    try(pg_do(cx, db, SQL_ROLE_SET, &res, pg_s(tenant_id), pg_s(name), pg_s(permissions),
              pg_s(commands), pg_s(actor)));
    if (pg_rows(res) == 0)
        return fail(cx, NOT_FOUND, "there is no role '%s'", name);
    role_read(cx, res, 0, ret);
    return OK;
}

rc role_remove(struct cx *cx, struct pg *db, const char *actor, const char *tenant_id,
               const char *name)
{
    _cleanup_(pg_result_freep) struct pg_result *res = NULL;

    try(pg_do(cx, db, SQL_ROLE_REMOVE, &res, pg_s(tenant_id), pg_s(name), pg_s(actor)));
    if (pg_rows(res) == 0)
        return fail(cx, NOT_FOUND, "there is no role '%s'", name);
    if (pg_int(res, 0, 0) > 0)
        return fail(cx, CONFLICT, "%lld identities and keys hold the role '%s'",
                    (long long)pg_int(res, 0, 0), name);
    return OK;
}

rc role_list(struct cx *cx, struct pg *db, const char *tenant_id, struct role **ret, size_t *ret_n)
{
    _cleanup_(pg_result_freep) struct pg_result *res = NULL;

    try(pg_do(cx, db, SQL_ROLE_LIST, &res, pg_s(tenant_id)));
    struct role *list = rows_alloc(cx, res, struct role);
    for (int i = 0; i < pg_rows(res); i++)
        role_read(cx, res, i, &list[i]);
    *ret = list;
    *ret_n = (size_t)pg_rows(res);
    return OK;
}

rc role_names(struct cx *cx, struct pg *db, const char *tenant_id, const char *list,
              struct pg_array *ret)
{
    _cleanup_(pg_result_freep) struct pg_result *res = NULL;
    const char *seen[ROLES_HELD_MAX];
    char *words = arena_strdup(&cx->arena, list ? list : ""), *save = NULL;
    size_t n = 0;

    for (char *w = strtok_r(words, SEPARATORS, &save); w; w = strtok_r(NULL, SEPARATORS, &save)) {
        size_t i = 0;
        while (i < n && !str_eq(seen[i], w))
            i++;
        if (i < n)
            continue;
        if (n == ROLES_HELD_MAX)
            return fail_at(cx, INVALID_FIELD, "/roles", "at most %d roles", ROLES_HELD_MAX);
        seen[n++] = w;
        pg_array_s(ret, w);
    }
    if (n == 0)
        return OK;
    try(pg_do(cx, db, SQL_ROLE_UNKNOWN, &res, pg_s(tenant_id), pg_a(ret)));
    if (pg_rows(res) > 0)
        return fail(cx, NOT_FOUND, "there is no role '%s'", pg_text(res, 0, 0));
    return OK;
}
