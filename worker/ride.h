/* ride.h - the claim of an idle worker waits in Redis already, behind its blocking wait.
 *
 *     waiter ──BZPOPMIN wait s | EVALSHA claim.lua──> Redis      one write, on the blocking connection
 *                                   somebody pushes: the wait ends, the claim is carried out, both are answered
 *     waiter <──────── marker, jobs ────────────────             two turns for a core instead of four
 *
 * When. The process serves one place (more would be claimed from whoever's marker came), Redis is no cluster, no task needs a
 * seat, and the pump is calm: it sleeps, nothing is hot, nothing waits to be acked. Else the wait is plain, so that a busy worker's
 * acks ride on its claims as ever. A plain wait that ends while the pump is calm is followed by a claim at once, and so by a
 * ride: whatever came between, a worker that has become idle rides again with the next job or look.
 *
 * Room. What it may bring is promised when it is sent: a quarter of what is free, 16 at most. The pump has the rest, for jobs
 * that become due meanwhile, so it does not ride with less than four free. A ride that brought all that it asked for
 * leaves the place hot, and the pump goes on.
 *
 * Nobody can unsend it. Until its answer is here (`promised`) or is known never to come, it may take jobs out of the queue:
 *
 *     sent ──answered──> aboard, by the way of the pump's claims      (while it drains or is parked: given back at once)
 *       `──cancelled (drain, parked), no answer in time, connection lost──> lies
 *     lies ──our end is closed, CLIENT KILL ID──> doubtful ──its note is read──> what is not aboard goes back
 *
 * CLIENT KILL, not UNBLOCK: that would carry the claim out, for jobs that have to be brought back. Its answer says that nothing
 * of that connection will run any more, also where Redis has not heard yet that it ended. Only then the note is
 * final. The note has a name of its own ("NAME~"), so neither hides the other's; who gives back what a dead process held
 * (returner.h) reads both. A user that may not CLIENT KILL does not ride. The number is good for one life of a server:
 * when the main connection was made anew meanwhile, nobody is killed; then Redis was restarted and the claim is gone, or the network
 * broke: an end that Redis has not heard of by then is that of a dead worker, whose leases expire. */
#pragma once
#include "base/cx.h"

#define RIDE_NAME 80
struct pool;

struct ride {
    char name[RIDE_NAME]; /* of its notes */
    size_t promised;      /* slots; 0: none is under way */
    bool calm;            /* the pump sleeps */
    bool allowed;         /* CLIENT KILL, as of the main connection number `asked` */
    uint64_t asked;
    bool lies; /* its answer will not come here, and Redis may still have it */
    int64_t client;
    uint64_t main;
    bool doubtful; /* its note may name jobs that nobody has */
};

/* A claimer's name -> that of the notes of its rides; returns out. */
const char *ride_name(const char *claimer, char out[RIDE_NAME]);
/* Now. Parks when Redis has to be asked whether it would be allowed. */
bool ride_may(struct cx *cx, struct pool *p) MW_PARKS;
/* Waits for so long (0: claims at once) and takes aboard what came. Handles every failure but CANCELLED. Parks. */
rc ride_go(struct cx *cx, struct pool *p, int64_t wait_ms) MW_PARKS;
/* What the last one left unclear. When that does not work out now it says so, and returns OK after a pause. CANCELLED. Parks. */
rc ride_settle(struct cx *cx, struct pool *p) MW_PARKS;
/* The same for the last time, and soon. Parks. */
void ride_leave(struct cx *cx, struct pool *p) MW_PARKS;
/* There may be jobs of which the pool does not know. */
bool ride_out(const struct pool *p);
