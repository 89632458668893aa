/* internal.h - what loop.c and fiber.c know of each other. */
#pragma once
#include <stdbool.h>

/* Somebody waits for the poll to end: it does so soon. */
void loop_is_wanted(void);
/* Runs ready fibers, at most as many as keep the sockets from starving. */
void fibers_run(void);
bool fibers_ready(void);
/* Frees ended fibers that nobody joined, and the kept stacks. */
void fibers_forget(void);
