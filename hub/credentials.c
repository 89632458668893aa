/* credentials.c - three memories and the one ear that makes them doubt. */
#include "hub/credentials.h"
#include "domain/access/identities.h"
#include <stdlib.h>

/* Agents come back by the thousand when a hub was restarted; a check of theirs is a millisecond. */
#define AGENTS_MAX      32768
#define AGENTS_WAIT_MAX 16384

struct credentials {
    struct pg *db;
    struct pg_listen *listen;
    struct token_cache *keys, *agents;
    struct cert_names *names;
};

static rc load_key(struct cx *cx, void *arg, const char *prefix, struct token_row *row,
                   void *identity)
{
    struct credentials *c = arg;

    return key_load(cx, c->db, prefix, row, identity);
}

static rc load_agent(struct cx *cx, void *arg, const char *prefix, struct token_row *row,
                     void *identity)
{
    struct credentials *c = arg;

    return agent_token_load(cx, c->db, prefix, row, identity);
}

static rc load_name(struct cx *cx, void *arg, const char *name, struct identity *ret,
                    bool *ret_enabled)
{
    struct credentials *c = arg;

    return identity_load(cx, c->db, name, ret, ret_enabled);
}

static bool sure(void *arg)
{
    const struct credentials *c = arg;

    return pg_listening(c->listen);
}

static void doubt(struct credentials *c, bool changed)
{
    token_cache_doubt(c->keys, changed);
    token_cache_doubt(c->agents, changed);
    cert_names_doubt(c->names, changed);
}

static void on_change(const char *payload, void *arg)
{
    (void)payload;
    doubt(arg, /* changed= */ true);
}

/* Something may have been said before we listened. */
static void on_gap(void *arg)
{
    doubt(arg, /* changed= */ false);
}

struct credentials *credentials_new(struct pg *db)
{
    struct credentials *c = xcalloc(1, sizeof *c);
    struct token_cache_opts keys = {
        .identity_size = sizeof(struct identity),
        .fresh_ms = CREDENTIALS_FRESH_MS,
        .keep_ms = CREDENTIALS_KEEP_MS,
        .load = load_key,
        .arg = c,
        .sure = sure,
    };
    struct token_cache_opts agents = keys;

    agents.kind = &TOKEN_AGENT;
    agents.identity_size = sizeof(struct agent_identity);
    agents.max = AGENTS_MAX;
    agents.wait_max = AGENTS_WAIT_MAX;
    agents.load = load_agent;
    c->db = db;
    c->keys = token_cache_new(&keys);
    c->agents = token_cache_new(&agents);
    c->names = cert_names_new(&(struct cert_names_opts){.load = load_name,
                                                        .arg = c,
                                                        .fresh_ms = CREDENTIALS_FRESH_MS,
                                                        .keep_ms = CREDENTIALS_KEEP_MS,
                                                        .sure = sure});
    c->listen = pg_listen(db, "mw_access", on_change, on_gap, c);
    return c;
}

struct credentials *credentials_free(struct credentials *c)
{
    if (c) {
        pg_listen_free(c->listen);
        cert_names_free(c->names);
        token_cache_free(c->agents);
        token_cache_free(c->keys);
        free(c);
    }
    return NULL;
}

rc credentials_key(struct cx *cx, struct credentials *c, const char *text, struct token_ask *ask,
                   struct identity *ret)
{
    return token_identify(cx, c->keys, text, ask, ret);
}

rc credentials_agent(struct cx *cx, struct credentials *c, const char *text, struct token_ask *ask,
                     struct agent_identity *ret)
{
    return token_identify(cx, c->agents, text, ask, ret);
}

rc credentials_name(struct cx *cx, struct credentials *c, const char *name, struct identity *ret,
                    enum name_state *ret_state)
{
    return cert_names_find(cx, c->names, name, ret, ret_state);
}
