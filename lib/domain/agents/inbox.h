/* inbox.h - notes to a hub instance, through Redis: a nudge, never the truth.
 *
 *   worker --RPUSH--> mw:hub:{INSTANCE} --BLMPOP--> the hub that holds the session
 *
 * A list with a ceiling that is gone a minute after the last note when nobody reads. PostgreSQL knows everything
 * that is said here: a lost note costs the seconds until somebody looks again. */
#pragma once
#include "base/id.h"
#include "domain/agents/agents.h"
#include "redis/redis.h"

#define INBOX_MAX   100000 /* notes that wait; more are refused */
#define INBOX_BATCH 512    /* notes of one pop */

enum inbox_kind {
    INBOX_COMMAND,    /* request_id, agent_id: take it (requests_take) and send it */
    INBOX_SUPERSEDED, /* agent_id, session_id: that session is over, a newer one stands */
    INBOX_REVOKED,    /* agent_id, token_id ("": all): sessions of it are over */
};
struct inbox_note {
    enum inbox_kind kind;
    char agent_id[AGENT_ID_MAX + 1];
    char request_id[ID_LEN + 1]; /* COMMAND */
    char session_id[ID_LEN + 1]; /* SUPERSEDED */
    char token_id[ID_LEN + 1];   /* REVOKED; "": all tokens, or the agent was disabled */
};

/* All or none. OVERLOADED when the list would grow past its ceiling. n up to INBOX_BATCH. Parks. */
rc inbox_push(struct cx *cx, struct redis *r, const char *hub_id, const struct inbox_note *notes,
              size_t n) MW_PARKS;
/* Waits up to wait_ms for the first, takes what is there with it; *ret_n 0: nothing came. `blocking` is a
 * connection of its own. What cannot be read is logged and dropped. *ret is in cx's arena. Parks. */
rc inbox_pop(struct cx *cx, struct redis *blocking, const char *hub_id, int64_t wait_ms,
             struct inbox_note **ret, size_t *ret_n) MW_PARKS;
