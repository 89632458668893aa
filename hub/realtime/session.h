/* session.h - what the files of the agents' sessions share: agent_sessions.c (the table, time), agent_session.c (one
 * session's frames), agent_certs.c (what its certificate stands for), agent_inbox.c (commands in), agent_results.c (results out). */
#pragma once
#include "domain/agents/request_move.h"
#include "hub/hub.h"
#include "hub/metrics.h"
#include "hub/realtime/agent_sessions.h"
#include "rt/waitq.h"
#include "rt/websocket.h"
#include <sys/queue.h>

struct detached;
struct event;

#define HELLO_MS       10000
#define MISSED_MAX     3      /* heartbeats */
#define UNSENT_MAX     MiB(1) /* of one session */
#define STORE_PAUSE_MS 2000   /* between two tries while a store is away, at most */

/* Close codes of our own (docs/agent-protocol.md). */
enum {
    CLOSE_HELLO = 4000,
    CLOSE_SUPERSEDED = 4001,
    CLOSE_REVOKED = 4003,
    CLOSE_SILENT = 4008,
};

enum session_state { SESSION_NEW, SESSION_GREETING, SESSION_LIVE, SESSION_OVER };

struct session {
    unsigned magic;
    int refs; /* the connection's, and whoever carries it across a park */
    enum session_state state;
    bool begun;       /* PostgreSQL may hold it as the agent's session */
    bool heard_since; /* in `heard`: a sign of life that is not told yet */
    bool in_greeting; /* in `greeting` */
    unsigned unfit;   /* frames that were not understood */
    unsigned waiting; /* its acks and results that are not stored yet */
    size_t waiting_bytes;
    int64_t heard_mono_ms;
    struct agent_sessions *all;
    struct websocket *ws; /* NULL: hung up */
    struct session *next; /* in its bucket */
    TAILQ_ENTRY(session) in_connected;
    TAILQ_ENTRY(session) by_life; /* or by_hello */
    TAILQ_ENTRY(session) in_heard;
    TAILQ_ENTRY(session) in_greeting_list;
    char *version, *metadata; /* of the hello, until it is stored */
    char *agent_id;
    char *cert_name; /* in its certificate; NULL: it came by the web door */
    char tenant_id[ID_LEN + 1];
    char id[ID_LEN + 1], token_id[ID_LEN + 1];
    char ip[48];
};
#define SESSION_MAGIC 0x53455353u
TAILQ_HEAD(session_list, session);

struct ended;  /* sessions that PostgreSQL has not heard of yet */
struct report; /* an ack or a result on its way to PostgreSQL */

struct agent_sessions {
    struct hub *hub;
    bool stopping;   /* nobody is greeted any more */
    bool registered; /* PostgreSQL knows this process */
    bool doubt;      /* a note may be lost: every session is compared with its row */
    struct session_list connected;
    size_t n; /* of them */
    struct waitq empty;

    struct session **bucket; /* by agent_id: all but those that are over */
    struct session_list by_hello, by_life;
    struct event *timer; /* of the first of both */
    int64_t timer_mono_ms;

    struct session_list heard;
    struct session_list greeting;
    size_t greeters;
    struct ended *ended;
    size_t enders;

    struct redis *blocking; /* the inbox' own connection */
    struct fiber *reader;   /* NULL: stopped */
    int64_t lag_ms;         /* of its last batch, as the gauge says it */
    struct pg_listen *changes;

    struct report *reports, **reports_tail;
    size_t nreports, report_bytes;
    bool storing;
    struct waitq stored;
};

/* agent_sessions.c */
struct session *session_ref(struct session *s);
struct session *session_unref(struct session *s);
/* Its connection stands from now on. */
void sessions_add(struct session *s);
/* The one that commands go to; NULL if the agent is not here. */
struct session *sessions_live(const struct agent_sessions *all, const char *agent_id);
struct session *sessions_find(const struct agent_sessions *all, const char *agent_id,
                              const char *session_id);
/* Those of the agent that are not live yet. */
size_t sessions_beginning(const struct agent_sessions *all, const char *agent_id);
/* The state changes: NEW to GREETING, GREETING to LIVE, any to OVER. */
void session_greets(struct session *s);
void session_lives(struct session *s);
void session_ends(struct session *s);
/* The connection is gone. */
void session_gone(struct session *s);
void session_heard(struct session *s);
void sessions_greet(struct agent_sessions *all);

/* agent_session.c */
/* Tells it why (an error frame), closes with `code`, and ends it: no frame of it counts from now on. */
void session_close(struct session *s, int code, const char *word, const char *sentence);
void session_result_ack(struct session *s, const char *job_id);
/* An error frame; job_id may be NULL. */
void session_error(struct session *s, const char *job_id, const char *word, const char *sentence);
/* Written to the agent; false when it is too slow, or gone: request.run looks again. */
bool session_command(struct session *s, const struct command *c);
/* GREETING: stores it, says welcome, sends what waits for it. Parks. */
rc session_greet(struct cx *cx, struct session *s) MW_PARKS;

/* agent_certs.c */
/* Closes the sessions whose certificate may not speak for their agent any more. Parks. */
rc certs_look_again(struct cx *cx, struct agent_sessions *all) MW_PARKS;

/* agent_inbox.c */
rc inbox_start(struct cx *cx, struct agent_sessions *all);
void inbox_stop(struct agent_sessions *all);
/* assigned|sent -> sent, then the frames. Parks. */
rc inbox_send(struct cx *cx, struct agent_sessions *all, const char *const *request_ids,
              size_t n) MW_PARKS;

/* agent_results.c */
/* Texts are copied. When too much waits it is dropped: the agent says it again. */
void results_ack(struct session *s, const char *job_id);
void results_result(struct session *s, const char *job_id, bool completed, const char *response,
                    size_t n);
void results_free(struct agent_sessions *all);
