/* agents.h - the devices that carry commands out: provisioned, connected, chosen, rested.
 *
 *   agent_add --> inactive --token--> pending_activation --session--> active <--> cooldown
 *                    ^                                                  |            |
 *                    `--- session ended, hub died, disabled ------------+------------'
 *
 * The session is the fence. A newer session replaces session_id; whatever the older one still says
 * (heartbeats, its end) is compared with it and changes nothing. Requests and their ends, which move
 * load, failures and cooldown, are in request_move.h.
 *
 * Two voices say what an agent is: what an operator provisioned counts first, what the agent reports
 * in its hello fills the rest; `metadata`, which requests are matched with, is both.
 *
 * tenant_id NULL means: of any tenant (operators, the house itself); another tenant's agent is
 * NOT_FOUND. Texts of results are in cx's arena. */
#pragma once
#include "base/buf.h"
#include "base/id.h"
#include "pg/pg.h"

#define AGENT_ID_MAX       255 /* [A-Za-z0-9][A-Za-z0-9._:-]* */
#define AGENT_TYPE_MAX     64  /* [A-Za-z0-9][A-Za-z0-9._-]* */
#define AGENT_VERSION_MAX  64
#define AGENT_METADATA_MAX KiB(16) /* of JSON text */
#define HUB_DEAD_MS        20000   /* a hub that was silent for so long is dead */

enum agent_status {
    AGENT_INACTIVE,
    AGENT_PENDING_ACTIVATION, /* has a live token, never connected */
    AGENT_ACTIVE,
    AGENT_COOLDOWN, /* connected, and it keeps failing */
    AGENT_STATUS_COUNT
};
const char *agent_status_word(enum agent_status s);
bool agent_status_parse(const char *word, enum agent_status *ret);

struct agent {
    const char *agent_id, *tenant_id;
    enum agent_status status;
    const char *agent_type, *agent_version, *last_ip;   /* version, ip NULL: not known yet */
    const char *hub_id, *session_id;                    /* NULL: not connected */
    int64_t first_seen_ms, last_seen_ms, registered_ms; /* 0: never; no session */
    const char *provisioned, *metadata;                 /* JSON objects */
    bool enabled;
    int load, failures;        /* requests in hand; failures in a row */
    int64_t cooldown_until_ms; /* 0: trusted */
    bool probing;
    int64_t created_ms, updated_ms;
};

/* Form only: 1 to AGENT_ID_MAX characters of the set above. */
bool agent_id_valid(const char *s);
bool agent_type_valid(const char *s);

/* ---------------------------------------------------------------- by hand; all audited */

/* metadata: a JSON object as text, NULL: {}. ALREADY_EXISTS (also when another tenant has it: the id
 * is of the whole house), INVALID_FIELD (/agent_id, /agent_type, /metadata), NOT_FOUND (tenant). Parks. */
rc agent_add(struct cx *cx, struct pg *db, const char *actor, const char *tenant_id,
             const char *agent_id, const char *agent_type, const char *metadata,
             struct agent *ret) MW_PARKS;
rc agent_get(struct cx *cx, struct pg *db, const char *tenant_id, const char *agent_id,
             struct agent *ret) MW_PARKS;

struct agent_filter {
    const char *tenant_id;  /* NULL: all */
    const char *status;     /* a word; NULL: any */
    const char *agent_type; /* NULL: any */
    const char *match;      /* a JSON object that the metadata must contain; NULL: any */
    const char *after;      /* the cursor: the last agent_id of the page before; NULL: first */
    int limit;              /* 1..500; 0: 50 */
};
/* By agent_id. next holds AGENT_ID_MAX + 1 bytes: the cursor of the next page or "". INVALID_FIELD
 * (/status, /match, /limit). Parks. */
rc agent_list(struct cx *cx, struct pg *db, const struct agent_filter *f, struct agent **ret,
              size_t *ret_n, char *next) MW_PARKS;

/* Who held a session, and where: who must be told that it is over. hub_id "": nobody did. */
struct agent_session {
    char hub_id[ID_LEN + 1], session_id[ID_LEN + 1];
};
struct agent_change {
    const char *agent_type, *metadata; /* NULL: as it is; metadata replaces what was provisioned */
    bool set_enabled, enabled;
};
/* Disabling ends the session here; *ret_ended tells whom to nudge (inbox.h, INBOX_REVOKED), so that the
 * connection ends too. Requests that it holds stay with it until their time is over. NOT_FOUND,
 * INVALID_FIELD. Parks. */
rc agent_change(struct cx *cx, struct pg *db, const char *actor, const char *tenant_id,
                const char *agent_id, const struct agent_change *c, struct agent *ret,
                struct agent_session *ret_ended) MW_PARKS;
rc agent_json(struct cx *cx, const struct agent *a, struct buf *out);

/* ---------------------------------------------------------------- sessions; for the hub */

struct agent_hello {
    const char *agent_id;
    const char *token_id;   /* which token it showed: revoking that one ends the session */
    const char *session_id; /* a new id, made by the hub */
    const char *hub_id;
    const char *ip;       /* text of an address; NULL: unknown */
    const char *version;  /* NULL: unknown */
    const char *metadata; /* JSON object as text, NULL: {}; at most AGENT_METADATA_MAX */
};
/* The agent is this session's from now on: active, or in cooldown if it was. *ret_old is the session that
 * it replaces, which may be on any hub. The token is looked at again, in the same transaction, and
 * last_used_at is written: one that was revoked meanwhile is UNAUTHENTICATED, a disabled agent (or tenant)
 * FORBIDDEN. INVALID_FIELD (/version, /metadata). Parks. */
rc agent_session_begin(struct cx *cx, struct pg *db, const struct agent_hello *h, struct agent *ret,
                       struct agent_session *ret_old) MW_PARKS;
/* Inactive, if the session is still this one; otherwise nothing happens. Parks. */
rc agent_session_end(struct cx *cx, struct pg *db, const char *agent_id,
                     const char *session_id) MW_PARKS;
/* Heartbeats of many, in one statement. ret_lost[i]: the agent's session is not this one any more
 * (superseded, revoked, disabled, swept), or is it without right: its token's time is over, its tenant is
 * disabled. Close it. Parks. */
rc agents_seen(struct cx *cx, struct pg *db, const char *const *agent_ids,
               const char *const *session_ids, size_t n, bool *ret_lost) MW_PARKS;
/* Of those that are lost: sessions that stand although their hub was taken for dead become the agents' again, unless another has replaced them.
 * ret_regained[i]. Parks. */
rc agents_regain(struct cx *cx, struct pg *db, const char *hub_id, const char *const *agent_ids,
                 const char *const *session_ids, const char *const *token_ids, size_t n,
                 bool *ret_regained) MW_PARKS;

/* This hub process lives. At its start, before its first session, and every 5 s. Parks. */
rc hub_instance_seen(struct cx *cx, struct pg *db, const char *hub_id) MW_PARKS;
/* It ends in order: its agents are inactive at once. Parks. */
rc hub_instance_gone(struct cx *cx, struct pg *db, const char *hub_id) MW_PARKS;
/* Agents whose hub was silent for HUB_DEAD_MS become inactive; *ret_n: how many. Parks. */
rc agents_sweep(struct cx *cx, struct pg *db, int64_t *ret_n) MW_PARKS;
