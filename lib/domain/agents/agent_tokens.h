/* agent_tokens.h - what an agent shows at its door: made once, shown once, revoked for ever.
 *
 *   mwa_<prefix>_<secret>     prefix names the row; the whole is kept as an Argon2id hash (secure/token.h)
 *
 * 256 random bits cannot be guessed, so the hash need not be slow: 1 MiB and one pass (TOKEN_AGENT),
 * because ten thousand agents come back at once when a hub was restarted.
 *
 * Several tokens of an agent may be alive: a new one is given out, and the old ones end after a grace. */
#pragma once
#include "domain/agents/agents.h"
#include "secure/token.h"

/* Who is at the door. Flat: it is copied in and out of the token cache. */
struct agent_identity {
    char tenant_id[ID_LEN + 1];
    char agent_id[AGENT_ID_MAX + 1];
    char token_id[ID_LEN + 1];
    int64_t expires_ms; /* 0: never */
};

struct agent_token {
    const char *token_id, *agent_id, *prefix;
    bool revoked;
    int64_t created_ms, expires_ms, last_used_ms, revoked_ms; /* 0: none */
};

/* A new token. text holds TOKEN_TEXT_LEN + 1 bytes: show it once, then wipe it. expires_ms 0: never.
 * grace_ms 0: the agent's other tokens stay as they are; otherwise they end after so long at the
 * latest. An agent that never connected becomes pending_activation. Audited. NOT_FOUND (agent),
 * INVALID_FIELD (/expires_at, /grace_ms). Parks. */
rc agent_token_add(struct cx *cx, struct pg *db, const char *actor, const char *tenant_id,
                   const char *agent_id, int64_t expires_ms, int64_t grace_ms, char *text,
                   struct agent_token *ret) MW_PARKS;
/* A token_load_fn: arg is the struct pg *, identity a struct agent_identity. DISABLED: the agent is, or its tenant.
 * NOT_FOUND for an unknown prefix. Parks. */
rc agent_token_load(struct cx *cx, void *arg, const char *prefix, struct token_row *row,
                    void *identity) MW_PARKS;
/* Newest first. NOT_FOUND (agent). *ret is in cx's arena. Parks. */
rc agent_token_list(struct cx *cx, struct pg *db, const char *tenant_id, const char *agent_id,
                    struct agent_token **ret, size_t *ret_n) MW_PARKS;
/* token_id NULL: all of them. A session that began with one that is revoked ends here; *ret_ended
 * tells whom to nudge. Revoking twice is OK. Audited. NOT_FOUND. Parks. */
rc agent_token_revoke(struct cx *cx, struct pg *db, const char *actor, const char *tenant_id,
                      const char *agent_id, const char *token_id,
                      struct agent_session *ret_ended) MW_PARKS;
/* These tokens were used now (a session's begin says so by itself). Parks. */
rc agent_tokens_touch(struct cx *cx, struct pg *db, const char *const *token_ids,
                      size_t n) MW_PARKS;
rc agent_token_json(struct cx *cx, const struct agent_token *t, struct buf *out);
