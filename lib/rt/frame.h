/* frame.h - frames that thousands of fibers wait in are kept small: a waiting stack takes one page as long as all of them
 * together fit into it. What a function needs only before or after the wait is in a function with a frame of its own. */
#pragma once
#define MW_OWN_FRAME __attribute__((noinline))
