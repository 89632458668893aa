/* hub.h - what one hub process holds; made after the fork, in this order, and taken down in the
 * opposite one.
 *
 *   settings, metrics            from the parent
 *   redis, db, engine            the stores
 *   keys, tokens                 what opens seals; API keys that were verified lately
 *   usage                        which of them were used, for last_used_at
 *   gather                       POST /v1/orders: many requests, one commit
 *   feed                         who waits for which order's next event
 *   server                       the listener and its requests
 */
#pragma once
#include "base/settings.h"
#include "pg/pg.h"
#include "queue/queue.h"

struct hub {
    const struct settings *settings;
    struct metrics *metrics;
    int index; /* of this process under its supervisor */
    struct redis *redis;
    struct pg *db;
    struct engine *engine;
    struct seal_keys *keys;
    struct token_cache *tokens;
    struct key_usage *usage;
    struct gather *gather;
    struct order_feed *feed;
    struct server *server;
    bool draining;
};
