/* returner.h - after a child's death: its leases go back at once, with the words of how it died.
 *
 *   parent: on_exit --fork--> returner: takes them out of the shared memory
 *                               begun      killed: an attempt is used    crashed: none, but it is suspect
 *                               not begun  as if never claimed
 *                             and what the last claim handed out (it may have died over the answer)
 *
 * The parent has no loop and must not wait: a grandchild does it, orphaned at once so that nobody needs
 * to reap it here. */
#pragma once
#include "base/settings.h"
#include "rt/obituary.h"
#include "worker/held.h"

/* In the parent. */
void returner_start(const struct settings *s, struct held *held, int child,
                    const struct obituary *o);
