/* presence.h - a worker process in the register (queue/workers.h): every few seconds it says what it
 * does, hands in what it has counted, and hears whether it should claim nothing more. */
#pragma once
#include "worker/pool.h"

struct presence;
/* In the child, when the pool stands. Its fiber ends when it is cancelled with all the others; then it
 * leaves the register. */
struct presence *presence_start(struct pool *p);
/* Says it now rather than with the next beat. */
void presence_now(struct presence *s);
struct presence *presence_free(struct presence *s);
