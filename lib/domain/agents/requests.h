/* requests.h - a command somebody wants carried out: accepted, read, listed, told step by step.
 *
 *   pending --> assigned --> sent --> completed | failed | timeout          cancelled: from pending, assigned
 *
 * How it moves is in request_move.h. The struct is command_request: struct request is the hub's.
 * tenant_id NULL: of any tenant; another tenant's request is NOT_FOUND. Texts of results are in cx's
 * arena. */
#pragma once
#include "domain/agents/agents.h"
#include "domain/agents/mask.h"
#include "queue/queue.h"
#include "secure/digest.h"

#define REQUEST_COMMAND_MAX 128       /* [A-Za-z0-9_.:-]+ */
#define REQUEST_PAYLOAD_MAX KiB(128)  /* of JSON text */
#define REQUEST_TIMEOUT_MAX 604800000 /* ms: a week */

/* The job of a request: its id is the command's job_id. args: {"request_id":"…"}, subject: the
 * request's id. */
#define REQUEST_QUEUE    "requests"
#define REQUEST_RUN_TASK "request.run"

enum request_status {
    REQUEST_PENDING,
    REQUEST_ASSIGNED, /* an agent is stored, nothing was sent */
    REQUEST_SENT,     /* may have been carried out */
    REQUEST_COMPLETED,
    REQUEST_FAILED,
    REQUEST_TIMEOUT,
    REQUEST_CANCELLED,
    REQUEST_STATUS_COUNT
};
const char *request_status_word(enum request_status s);
bool request_status_parse(const char *word, enum request_status *ret);
static inline bool request_status_final(enum request_status s)
{
    return s >= REQUEST_COMPLETED && s <= REQUEST_CANCELLED;
}

struct command_request {
    const char *request_id, *tenant_id, *job_id;
    const char *requested_by, *requested_by_name; /* requested_by NULL: no identity (operators) */
    const char *command, *payload;                /* payload: JSON; masked once it has ended */
    const char *agent_id, *agent_type, *match;    /* wanted; NULL: not said */
    enum request_status status;
    const char *assigned_agent_id; /* NULL: nobody yet */
    bool probe;
    int64_t timeout_ms, deadline_ms;
    int sends, version;
    const char *result, *error_code, *error; /* result: JSON; NULL: none */
    const char *trace;                       /* NULL: none */
    int64_t admitted_ms, created_ms, assigned_ms, sent_ms, delivered_ms, completed_ms,
        updated_ms; /* 0: not yet */
};

struct request_new {
    const char *tenant_id;
    const char *requested_by;      /* id of the key or identity; NULL: none */
    const char *requested_by_name; /* at most 300 characters */
    const char *command;
    const char *payload;                             /* JSON text; NULL: {} */
    const char *agent_id, *agent_type, *match;       /* at least one; match: a JSON object */
    int64_t timeout_ms;                              /* from now */
    int64_t admitted_ms;                             /* when the security check let it in; 0: now */
    const char *idempotency_key, *trace;             /* NULL: none */
    char body_hash[DIGEST_HEX_LEN + 1];              /* needed with idempotency_key */
    const struct mask *mask;                         /* NULL: nothing is masked when it has ended */
    char request_id[ID_LEN + 1], job_id[ID_LEN + 1]; /* "": made here (written back) */
    bool replayed;                                   /* out: the first answer again */
};
/* What can be judged without the database. INVALID_FIELD with the pointer (names of POST
 * /v1/requests), BAD_JSON. Does not park. */
rc request_new_check(struct cx *cx, const struct request_new *n);
/* Row and job in one round trip, then the push (whose failure is logged and left to the reconciler). A
 * commit in doubt is sent again under the same ids. UNKNOWN_AGENT (/agent_id: this tenant has none of that id, or it is
 * disabled), IDEMPOTENCY_MISMATCH, what request_new_check says. e NULL: not pushed. Parks. */
rc request_create(struct cx *cx, struct pg *db, struct engine *e, struct request_new *n,
                  struct command_request *ret) MW_PARKS;

rc request_get(struct cx *cx, struct pg *db, const char *tenant_id, const char *request_id,
               struct command_request *ret) MW_PARKS;

struct request_filter {
    const char *tenant_id;      /* NULL: all */
    const char *status;         /* a word; NULL: any */
    const char *agent_id;       /* assigned to; NULL: any */
    const char *command;        /* NULL: any */
    int64_t since_ms, until_ms; /* created in [since, until); 0: open */
    const char *after;          /* the cursor; NULL: first page */
    int limit;                  /* 1..500; 0: 50 */
};
/* Newest first. next holds ID_LEN + 1 bytes. INVALID_FIELD (/status, /after, /limit). Parks. */
rc request_list(struct cx *cx, struct pg *db, const struct request_filter *f,
                struct command_request **ret, size_t *ret_n, char *next) MW_PARKS;

/* A line of the timeline. Steps of every request: security, registered, found, sent, delivered, result,
 * archived; others: waiting, moved (another agent), resent, timeout, cancelled, failed, late_result. */
struct request_event {
    int64_t at_ms;
    const char *step, *agent_id, *actor, *detail; /* agent_id, detail NULL: none */
};
/* Oldest first. The request is not checked to be the caller's: load it first. Parks. */
rc request_events(struct cx *cx, struct pg *db, const struct command_request *r,
                  struct request_event **ret, size_t *ret_n) MW_PARKS;
/* Writes a line by hand: "waiting". Parks. */
rc request_note(struct cx *cx, struct pg *db, const char *request_id, const char *step,
                const char *agent_id, const char *actor, const char *detail) MW_PARKS;

rc request_json(struct cx *cx, const struct command_request *r, struct buf *out);
rc request_event_json(struct cx *cx, const struct request_event *e, struct buf *out);
