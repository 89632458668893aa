/* roles.h - what may be done, under a name: permissions, and which commands may be sent.
 *
 *      role "front"      permissions  orders:*        words of permission.def, or globs over them
 *      role "reader"     permissions  requests:*  commands  get_* show_*
 *
 * Held by identities (identities.h) and API keys (keys.h) of the same shop. A change works in every hub
 * at once: the database says so on channel mw_access at its commit. */
#pragma once
#include "domain/access/keys.h"
#include "pg/pg_array.h"

#define ROLE_NAME_MAX     64
#define ROLE_COMMANDS_MAX 511
#define ROLES_HELD_MAX    16

struct role {
    const char *id, *tenant_id, *name;
    const char *permissions, *commands; /* a space between each */
    int64_t holders, created_ms, updated_ms;
};

/* Lists are words with commas or spaces between. commands NULL: all ("*"). Audited. Errors:
 * INVALID_FIELD (/name, /permissions, /commands), ALREADY_EXISTS, NOT_FOUND (tenant). Parks. */
rc role_add(struct cx *cx, struct pg *db, const char *actor, const char *tenant_id,
            const char *name, const char *permissions, const char *commands,
            struct role *ret) MW_PARKS;
/* NULL leaves as it is. Audited. NOT_FOUND, INVALID_FIELD. Parks. */
rc role_set(struct cx *cx, struct pg *db, const char *actor, const char *tenant_id,
            const char *name, const char *permissions, const char *commands,
            struct role *ret) MW_PARKS;
/* Audited. NOT_FOUND; CONFLICT while somebody holds it. Parks. */
rc role_remove(struct cx *cx, struct pg *db, const char *actor, const char *tenant_id,
               const char *name) MW_PARKS;
/* By name; tenant_id NULL: of all. *ret is in cx's arena. Parks. */
rc role_list(struct cx *cx, struct pg *db, const char *tenant_id, struct role **ret,
             size_t *ret_n) MW_PARKS;

/* "front, auditor" -> the names, each once, for a query that gives them to somebody; NULL or "": none.
 * Errors: NOT_FOUND (the tenant has no such role), INVALID_FIELD (/roles: too many). Parks. */
rc role_names(struct cx *cx, struct pg *db, const char *tenant_id, const char *list,
              struct pg_array *ret) MW_PARKS;

/* A pattern of commands: 1 to 128 of A-Z a-z 0-9 _ . : - and '*', which stands for any characters. */
bool command_pattern_ok(const char *pattern);
