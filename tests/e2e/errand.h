/* errand.h - what a worker does with a request for an agent, done by a test: the request is made, an agent is assigned,
 * and the hub that holds its session is told.
 *
 *   errand_begin: request_create ──► (push) request_assign ──► inbox_push ──► Redis ──► hub */
#pragma once
#include "base/id.h"
#include "tests/support/house.h"

struct errand {
    const char *agent_id;
    const char *agent_type; /* instead of agent_id */
    const char *payload;
    bool push; /* assign it, and tell the hub that holds the agent */
    char request_id[ID_LEN + 1], job_id[ID_LEN + 1];
};

/* Makes the request get_status, of the house's tenant; fills its ids. On the clients' loop (session_client.h), as the rest. */
void errand_begin(const struct house *h, struct errand *e);
/* Assigns it and tells the hub, again if need be. */
void errand_push(const struct house *h, const struct errand *e);
/* A request for the agent, and the note to its hub. */
struct errand errand_for(const struct house *h, const char *agent_id);
