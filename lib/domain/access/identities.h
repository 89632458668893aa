/* identities.h - the names of certificates that may come in, and as whom.
 *
 *      certificate --secure/identity.h--> "urn:mihwar:agent:core-1" --> tenant, roles, agent
 *
 * A name belongs to one shop. A certificate's key may change (a new one is issued) without anything
 * changing here. agent_id binds it: it may hold the session of this agent and of no other. */
#pragma once
#include "domain/access/keys.h"

struct identity_row {
    const char *id, *tenant_id, *name;
    const char *agent_id; /* NULL: not bound */
    const char *roles;    /* names, a space between; "" none */
    bool enabled;
    int64_t created_ms, last_used_ms; /* 0: never */
};

/* roles: names with commas or spaces between; NULL: none. Audited. Errors: INVALID_FIELD (/name,
 * /agent_id, /roles), NOT_FOUND (a role), ALREADY_EXISTS (the name is taken, perhaps in another
 * shop). Parks. */
rc identity_add(struct cx *cx, struct pg *db, const char *actor, const char *tenant_id,
                const char *name, const char *agent_id, const char *roles,
                struct identity_row *ret) MW_PARKS;
struct identity_change {
    const char *agent_id; /* NULL: as it is; "": bound no more */
    const char *roles;    /* NULL: as they are; "": none */
    const bool *enabled;  /* NULL: as it is */
};
/* by: id or name, of this tenant. Audited. NOT_FOUND, INVALID_FIELD. Parks. */
rc identity_set(struct cx *cx, struct pg *db, const char *actor, const char *tenant_id,
                const char *by, const struct identity_change *change,
                struct identity_row *ret) MW_PARKS;
/* Audited. NOT_FOUND. Parks. */
rc identity_remove(struct cx *cx, struct pg *db, const char *actor, const char *tenant_id,
                   const char *by) MW_PARKS;
/* By name; tenant_id NULL: of all. *ret is in cx's arena. Parks. */
rc identity_list(struct cx *cx, struct pg *db, const char *tenant_id, struct identity_row **ret,
                 size_t *ret_n) MW_PARKS;

/* Whom a name in a verified certificate stands for. *ret_enabled false: it, or its tenant, is
 * disabled. NOT_FOUND: nobody. Parks. */
rc identity_load(struct cx *cx, struct pg *db, const char *name, struct identity *ret,
                 bool *ret_enabled) MW_PARKS;
/* The same for n names at once. ret[i] of a name that stands for nobody, or for one that is disabled, may do
 * nothing (its permissions are 0). Parks. */
rc identities_load(struct cx *cx, struct pg *db, const char *const *names, size_t n,
                   struct identity *ret) MW_PARKS;
/* These identities were used now. Gather, and call it every few seconds. Parks. */
rc identity_touch(struct cx *cx, struct pg *db, const char *const *ids, size_t n) MW_PARKS;
