/* desk.h - where other threads leave what the loop shall do.
 *
 *      any thread ──desk_post──> list ──eventfd──> loop: fn(arg), in the order of posting
 */
#pragma once
#include "base/cx.h"

/* On the loop's thread, after loop_init and before loop_free. OS. */
rc desk_open(struct cx *cx);
/* What was posted and not done is done now. */
void desk_close(void);
/* What was posted until now is done before it returns. On the loop's thread; nothing when no desk is open. */
void desk_clear(void);
/* False when no desk is open: fn is not called then. Any thread. */
bool desk_post(void (*fn)(void *arg), void *arg);
/* Whether the caller is the desk's own thread. */
bool desk_is_mine(void);
bool desk_is_open(void);
