/* hub.h - what one hub process holds; made after the fork, in this order, and taken down in the
 * opposite one.
 *
 *   settings, metrics            from the parent
 *   redis, db, engine            the stores
 *   keys                         what opens seals
 *   credentials                  keys, tokens and names of certificates that were verified lately
 *   usage                        which of them were used, for last_used_at
 *   sources, callers             buckets of refusals: by address, by prefix or identity
 *   refusals                     what was refused, on its way to security_events
 *   gather, gather_requests      POST /v1/orders, /v1/requests: many of them, one commit
 *   mask, end_rules              what is taken out of payloads, and how a request's end is judged
 *   feed                         who waits for which order's next event
 *   instance_id                  of this process: its inbox, and what agents.hub_instance_id says
 *   agents                       their sessions
 *   server                       the listener and its requests
 */
#pragma once
#include "base/id.h"
#include "base/settings.h"
#include "domain/agents/request_move.h"
#include "pg/pg.h"
#include "queue/queue.h"

struct hub {
    const struct settings *settings;
    struct metrics *metrics;
    int index; /* of this process under its supervisor */
    struct redis *redis;
    struct pg *db;
    struct engine *engine;
    struct await *await; /* who waits for the end of a job */
    struct seal_keys *keys;
    struct credentials *credentials;
    struct key_usage *usage;
    struct limiter *sources, *callers;
    struct refusals *refusals;
    struct gather *gather, *gather_requests;
    struct mask *mask; /* of payloads and results that are kept */
    struct end_rules end_rules;
    struct order_feed *feed;
    char instance_id[ID_LEN + 1];
    struct agent_sessions *agents;
    struct server *server;
    bool draining;
};
