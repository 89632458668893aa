/* agent_sessions.h - the agents that are connected to this process.
 *
 *   upgrade ──> new ──hello──> greeting ──stored, welcome──> live ──────────────> over
 *                │ 10 s          │ PostgreSQL                 │ 3 heartbeats missed, superseded, revoked,
 *                `──4000─────────┴────────────────────────────┴─ hung up, broke the protocol, the hub ends
 *
 * No fiber and no timer belongs to a session: sessions stand in the order of their last sign of life, and one timer
 * looks at the first. What many sessions say is gathered: signs of life into one UPDATE every few seconds, acks and
 * results into one transaction while the one before commits. */
#pragma once
#include "domain/agents/agent_tokens.h"
#include "hub/request.h"

struct agent_sessions;

/* Starts the fibers that read the inbox, tell signs of life and say that this process lives. CONFIG. */
rc agent_sessions_new(struct cx *cx, struct hub *hub, struct agent_sessions **ret);
/* Answers q with 101 and takes its connection; `who` showed a good token. OVERLOADED (the hub ends), BAD_REQUEST (the
 * caller has hung up). Does not park. */
rc agent_sessions_upgrade(struct cx *cx, struct agent_sessions *all, struct request *q,
                          const struct agent_identity *who);
/* The hub ends: results on their way are stored and acknowledged, agents are told 1001 and go elsewhere, and this
 * process' agents are inactive. At most grace_ms. Parks. */
void agent_sessions_drain(struct cx *cx, struct agent_sessions *all, int64_t grace_ms) MW_PARKS;
/* After loop_run. NULL in, NULL out. */
struct agent_sessions *agent_sessions_free(struct agent_sessions *all);
