/* keys.h - the API keys of a tenant's front ends: made once, shown once, revoked for ever.
 *
 *   mwk_<prefix>_<secret>     prefix names the row; the whole is kept as an Argon2id hash (secure/token.h)
 *
 * Several keys of a tenant may be alive together, so that one is replaced without a gap. The
 * identity is flat: it is copied in and out of the token cache. Roles (lib/domain/access) may add to
 * what a key permits. */
#pragma once
#include "base/id.h"
#include "pg/pg.h"
#include "secure/token.h"

enum permission {
#define PERMISSION(NAME, word) PERM_##NAME,
#include "domain/access/permission.def"
#undef PERMISSION
    PERM_COUNT
};
#define PERM_BIT(p) (UINT64_C(1) << (p))
#define PERM_ALL    (PERM_BIT(PERM_COUNT) - 1)

/* "orders:read" -> its bit; a glob -> the bits of all that match ("*" -> PERM_ALL, "orders:*",
 * "*:read"); 0 for an unknown word. */
uint64_t permission_bits(const char *word);
/* "orders:read" of PERM_ORDERS_READ; never NULL. */
const char *permission_word(enum permission p);

enum identity_kind { IDENTITY_KEY, IDENTITY_CERT };
#define IDENTITY_COMMANDS_MAX 1024

/* Who is asking, and what for. Flat: it is copied in and out of caches. permissions and commands are
 * those of its own and of its roles together. */
struct identity {
    enum identity_kind kind;
    char id[ID_LEN + 1]; /* of the key or of the identity (lib/domain/access) */
    char tenant_id[ID_LEN + 1];
    char key_id[ID_LEN + 1]; /* id of a key; "" for a certificate */
    char name[256];          /* of the key, or in the certificate: for audit and logs */
    char agent_id[256];      /* the only agent that this certificate may speak for, or "" */
    uint64_t permissions;    /* PERM_BIT(…) */
    int64_t expires_ms;      /* 0: never; a remembered identity is refused from then on */
    char commands[IDENTITY_COMMANDS_MAX]; /* patterns of commands that it may send, '\n' between */
};
static inline bool identity_may(const struct identity *i, enum permission p)
{
    return (i->permissions & PERM_BIT(p)) != 0;
}
/* May it send this command? False without requests:write. A key's own requests:write is for all
 * commands, a role's for those of the role's patterns. */
bool identity_may_command(const struct identity *i, const char *command);
/* Adds what is given: words of permissions and patterns of commands, a space between each. The
 * patterns count only if requests:write is among the words. Patterns past IDENTITY_COMMANDS_MAX are
 * not given (two roles of the largest size fit). */
void identity_grant(struct identity *i, const char *permissions, const char *commands);
/* The same for roles as key_load's query puts them; NULL: none. */
void identity_grant_roles(struct identity *i, const char *roles);

struct key {
    const char *id, *tenant_id, *name, *prefix;
    const char *roles; /* names, a space between; "" none. permissions are without theirs */
    uint64_t permissions;
    int64_t created_ms, expires_ms, revoked_ms, last_used_ms; /* 0: none */
};

/* A new key of a tenant. roles: names of its roles with commas or spaces between, NULL none. text
 * holds TOKEN_TEXT_LEN + 1 bytes: show it once, then wipe it. Written to the audit log. expires_ms 0:
 * never. Errors: NOT_FOUND (tenant, role), INVALID_FIELD (name; neither permission nor role; one
 * unknown). Parks. */
rc key_create(struct cx *cx, struct pg *db, const char *actor, const char *tenant_id,
              const char *name, uint64_t permissions, const char *roles, int64_t expires_ms,
              struct key *ret, char *text) MW_PARKS;
/* A token_load_fn: arg is the struct pg *, identity a struct identity. Disabled: its tenant is. Parks. */
rc key_load(struct cx *cx, void *arg, const char *prefix, struct token_row *row,
            void *identity) MW_PARKS;
/* by: id or prefix. Audited. NOT_FOUND; revoking twice is OK. Hubs hear of it at the commit
 * (mw_access). Parks. */
rc key_revoke(struct cx *cx, struct pg *db, const char *actor, const char *by) MW_PARKS;
/* Oldest first; tenant_id NULL: of all. *ret is in cx's arena. Parks. */
rc key_list(struct cx *cx, struct pg *db, const char *tenant_id, struct key **ret,
            size_t *ret_n) MW_PARKS;
/* These keys were used now. One statement for many: gather, and call it every few seconds. Parks.
 */
rc key_touch(struct cx *cx, struct pg *db, const char *const *key_ids, size_t n) MW_PARKS;
