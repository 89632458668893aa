/* surely.c - tries with a random rest between them that doubles. */
#include "domain/surely.h"
#include "base/id.h"
#include "rt/fiber.h"

#define TRIES 5

bool surely_of_a_row(rc r)
{
    return r == E_PG || r == E_PG_CONSTRAINT || r == E_PG_UNIQUE || r == E_BUFFER_FULL;
}

rc surely(struct cx *cx, rc (*send)(struct cx *cx, void *arg), void *arg, bool (*about_rows)(rc))
{
    bool doubt = false;
    rc r = OK;

    for (int i = 0; i < TRIES; i++) {
        if (i > 0 && cx->fiber)
            r = fiber_sleep(cx, (int64_t)(10 + random_below(40)) << i);
        if (i == 0 || !cx->fiber || r == OK)
            r = send(cx, arg);
        doubt |= r == E_STORE_DOUBT;
        if (r != E_STORE_DOUBT && r != E_PG_RETRY)
            break;
    }
    if (doubt && r != OK && r != E_STORE_DOUBT && !about_rows(r))
        r = fail(cx, STORE_DOUBT,
                 "it was sent, and then PostgreSQL could not be asked what became of it");
    return r;
}
