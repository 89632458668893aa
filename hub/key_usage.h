/* key_usage.h - which API keys and identities were used lately, told to PostgreSQL every few seconds in
 * one statement each. */
#pragma once
#include "pg/pg.h"

struct key_usage;
/* Spawns the fiber that tells; it ends when it is cancelled (drain); what was not told by then is
 * not. */
struct key_usage *key_usage_new(struct pg *db);
struct key_usage *key_usage_free(struct key_usage *u); /* its fiber has ended */
/* Does not park, does not allocate: called for every request. */
void key_used(struct key_usage *u, const char *key_id);
void identity_used(struct key_usage *u, const char *identity_id);
