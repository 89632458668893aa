/* credentials.h - what was learnt lately about who shows what: API keys, agents' tokens, names in
 * certificates.
 *
 *      NOTIFY mw_access   a role, identity, key or token changed: every row is read again before it is used
 *      LISTEN lost        nothing would be heard: rows are read at every use until it stands again
 *      PostgreSQL away    what was read within the last CREDENTIALS_KEEP_MS goes on, unless a change was heard of
 *
 * So a revoked key, a changed role, a disabled identity is refused in every hub process at once. Where a
 * network swallows the notification without a word, within CREDENTIALS_FRESH_MS. */
#pragma once
#include "domain/access/keys.h"
#include "domain/agents/agent_tokens.h"
#include "hub/cert_names.h"

#define CREDENTIALS_FRESH_MS 15000
#define CREDENTIALS_KEEP_MS  300000

struct credentials;
/* Begins to listen. */
struct credentials *credentials_new(struct pg *db);
struct credentials *credentials_free(struct credentials *c); /* nobody may be asking */

/* token_identify and its errors: an API key ("mwk_…"), an agent's token ("mwa_…"). Park. */
rc credentials_key(struct cx *cx, struct credentials *c, const char *text, struct token_ask *ask,
                   struct identity *ret) MW_PARKS;
rc credentials_agent(struct cx *cx, struct credentials *c, const char *text, struct token_ask *ask,
                     struct agent_identity *ret) MW_PARKS;
/* cert_names_find: the name in a verified certificate. Parks. */
rc credentials_name(struct cx *cx, struct credentials *c, const char *name, struct identity *ret,
                    enum name_state *ret_state) MW_PARKS;
