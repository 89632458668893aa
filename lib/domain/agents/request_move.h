/* request_move.h - how a request moves: an agent for it, its way there, its end.
 *
 *   who                     what
 *   request.run             request_assign   pending --> assigned; assigned --> assigned to another that lives
 *   hub, at session begin   request_assign_waiting, requests_open_of
 *   hub                     requests_take    assigned|sent --> sent: stored before the frame is written
 *   hub                     requests_delivered
 *   hub, worker, API        requests_end     the only way to an end: row, agent, history in one transaction
 *
 * Locks are taken in one order everywhere: requests by id, agents by id, the head of the history last, so
 * that nobody waits for another in a ring and the head is held for as short as can be. Everything is judged under the
 * lock: who comes too late hears of it and changes nothing. */
#pragma once
#include "domain/agents/requests.h"

/* ---------------------------------------------------------------- finding an agent */

enum assign_outcome {
    ASSIGN_FOUND,   /* pending, and now it has an agent */
    ASSIGN_MOVED,   /* its agent is away or rests, and it has another now */
    ASSIGN_STANDS,  /* it has an agent already (assigned or sent) */
    ASSIGN_WAITING, /* nobody that fits is free */
    ASSIGN_ENDED,   /* it is final */
};
struct assigned {
    enum assign_outcome outcome;
    enum request_status status; /* after it */
    const char *agent_id;       /* NULL: none */
    const char *hub_id; /* who holds the agent's session: push it there; NULL: nobody does */
    int sends;
    int64_t deadline_ms, left_ms; /* left_ms at least 0, by the database's clock */
    int64_t rest_ms; /* WAITING for a wanted agent in cooldown: until it may be probed; else 0 */
    bool delivered;  /* its agent acknowledged it */
};
/* Idempotent: called again it tells how things are. NOT_FOUND. Parks. */
rc request_assign(struct cx *cx, struct pg *db, const char *request_id,
                  struct assigned *ret) MW_PARKS;
/* The agent has come: pending requests that it fits become its own, the oldest first (one, when it
 * is in cooldown and may be probed). *ret_ids in cx's arena. limit 1..500. Parks. */
rc request_assign_waiting(struct cx *cx, struct pg *db, const char *agent_id, int limit,
                          const char *const **ret_ids, size_t *ret_n) MW_PARKS;
/* What it has in hand (assigned or sent, time left), the oldest first. Parks. */
rc requests_open_of(struct cx *cx, struct pg *db, const char *agent_id, int limit,
                    const char *const **ret_ids, size_t *ret_n) MW_PARKS;

/* ---------------------------------------------------------------- the way there */

struct command {
    char request_id[ID_LEN + 1], job_id[ID_LEN + 1];
    char session_id[ID_LEN + 1];              /* the session that it may be written to, no other */
    const char *agent_id, *command, *payload; /* payload: JSON text */
    int64_t left_ms;                          /* > 0 */
    int sends;                                /* 1: the first time */
};
/* assigned|sent --> sent. Those come back whose agent's session is on this hub and whose time is not over; the
 * others are left as they are (the note was late). ret holds n. Texts in cx's arena. Parks. */
rc requests_take(struct cx *cx, struct pg *db, const char *hub_id, const char *const *request_ids,
                 size_t n, struct command *ret, size_t *ret_n) MW_PARKS;
/* The agents say that they have them. Those of other agents, or ended, are passed over. Parks. */
rc requests_delivered(struct cx *cx, struct pg *db, const char *const *job_ids,
                      const char *const *agent_ids, size_t n) MW_PARKS;

/* ---------------------------------------------------------------- the end */

enum end_verdict {
    END_REFUSED = 0, /* the database refused its contents: err (requests_end_all only) */
    END_DONE,
    END_LATE,     /* it had ended; a result is noted as late_result */
    END_STRANGER, /* another agent's request */
    END_UNKNOWN,  /* no such job_id, or another tenant's */
    END_TOO_LATE, /* cancel: it was sent */
    END_EARLY,    /* timeout: the deadline is not there yet; or a result of what was never sent */
};
struct request_end {
    /* in */
    const char *job_id;
    const char *agent_id;   /* whose result it is; NULL: by the house or by hand */
    const char *tenant_id;  /* NULL: any */
    enum request_status to; /* COMPLETED, FAILED; TIMEOUT, CANCELLED (agent_id NULL) */
    const char *response;   /* JSON text; NULL: none */
    const char
        *error_code; /* at most 64; NULL: taken from the response ("code", "error", "error.code") */
    const char *error; /* a sentence; cut at 1000 characters; NULL: none */
    const char *actor; /* for the timeline; NULL: the agent, or "mihwar" */
    /* out */
    enum end_verdict verdict;
    char request_id[ID_LEN + 1]; /* "" when unknown */
    struct err err;              /* REFUSED */
};
struct end_rules {
    const struct mask *mask; /* of responses; NULL: none */
    int cooldown_after;      /* failures in a row (setting agent_cooldown_after) */
    int64_t cooldown_ms; /* the first rest (agent_cooldown); doubles up to END_COOLDOWN_MAX_MS */
};
#define END_COOLDOWN_MAX_MS INT64_C(600000)

/* Row, agent's load and breaker, history row, timeline, in the caller's transaction; each e->verdict is
 * set. Do it last in the transaction: the head of the history is held until its commit. A transaction
 * that then is silent for 3 s is ended by the server (it runs again): nobody's death or sleep holds up the others. What does not count as a failure of the agent:
 * error codes not_allowed, bad_arguments; an end of what it was never sent. n up to 1000. Parks. */
rc requests_end(struct cx *cx, struct pg_tx *tx, const struct end_rules *rules,
                struct request_end *ends, size_t n) MW_PARKS;
/* The same in one round trip of its own. If the database refuses the contents of one, they go one by one, and only
 * that one is END_REFUSED. Parks. */
rc requests_end_all(struct cx *cx, struct pg *db, const struct end_rules *rules,
                    struct request_end *ends, size_t n) MW_PARKS;

/* Not sent yet: cancelled, and archived as failed with {"error":"cancelled"}. TOO_LATE once it may have reached
 * its agent, or has ended; cancelling what is cancelled is OK. NOT_FOUND. Parks. */
rc request_cancel(struct cx *cx, struct pg *db, const struct end_rules *rules,
                  const char *tenant_id, const char *request_id, const char *actor,
                  struct command_request *ret) MW_PARKS;
/* In the transaction that ends the job request.run. *ret: END_DONE, END_LATE (it has ended otherwise), END_EARLY. Parks. */
rc request_timeout(struct cx *cx, struct pg_tx *tx, const struct end_rules *rules,
                   const char *job_id, enum end_verdict *ret) MW_PARKS;
/* Requests whose time was over REQUEST_OVERDUE_MS ago, and that no job ended: they are timed out here. *ret_n: how
 * many. For beat. Parks. */
#define REQUEST_OVERDUE_MS 30000
rc requests_sweep(struct cx *cx, struct pg *db, const struct end_rules *rules,
                  int64_t *ret_n) MW_PARKS;
