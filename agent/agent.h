/* agent.h - the protocol of an agent: a session with a hub, commands in, results out.
 *
 *      hub ── command ──> ack ──> place free? ──> journal: begun ──> carry_out ──> journal: done ──> result ──> hub
 *       ^                  │ known: its kept result again, or nothing while it runs                    │
 *       `── result_ack ────┴──────────────────────────────────── until then it is sent again ──────────'
 *
 * This is the part to build an agent of your own on: it knows nothing about what commands do. One process may have thousands (the tests'
 * fleet); an idle one costs a connection and two timers, no fiber. */
#pragma once
#include "agent/journal.h"
#include "agent/outcome.h"
#include "agent/uplink.h"

struct agent_command {
    const char *job_id, *name;
    const char *payload; /* a JSON object, as the hub wrote it: no digit of a number is lost */
};

enum agent_state { AGENT_AWAY, AGENT_CONNECTED, AGENT_REVOKED };

struct agent_opts {
    struct uplink_opts uplink; /* on and arg are filled in here */
    const char *version;
    const char *metadata; /* a JSON object as text */
    struct journal *journal;
    size_t concurrency; /* commands carried out at once; 0: 4 */
    size_t
        waiting_max; /* more that wait for a place; 0: 256. Beyond, a command is not acknowledged: the hub sends it again */
    int64_t repeat_ms; /* a result without its result_ack is sent again; 0: 10 s */

    /* On a fiber of its own, with the command's deadline. OK: *ret says what came of it. DEADLINE: failed, time_limit. CANCELLED: the agent is
     * stopping; the job is reported as interrupted in the next life. Others: failed, with their code and words. */
    rc (*carry_out)(struct cx *cx, const struct agent_command *c, struct outcome *ret,
                    void *arg) MW_PARKS;
    /* REVOKED is the end: the agent does not connect again. May be NULL. */
    void (*on_state)(enum agent_state state, void *arg);
    void *arg;
};

struct agent;
/* Connects at once and for ever. What o points to must live as long as the agent; the struct itself need not. */
struct agent *agent_new(const struct agent_opts *o);
/* Takes no more commands, lets those under way end (at most grace_ms), hangs up with 1001. Parks. */
void agent_stop(struct cx *cx, struct agent *a, int64_t grace_ms) MW_PARKS;
/* Commands under way are cancelled: their fibers must have ended before the loop does. */
struct agent *agent_free(struct agent *a);

/* For failure runs: cut the connection without a word; send a kept result once more. */
void agent_cut(struct agent *a);
void agent_repeat(struct agent *a, const char *job_id);
