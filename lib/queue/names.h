/* names.h - which queues there are: those listed in Redis, those of PostgreSQL's live jobs, those
 * this process met. */
#pragma once
#include "queue/queue.h"

struct names {
    char **name; /* sorted, each once */
    size_t n;
};
/* Listed in Redis or met by this process; PostgreSQL is asked only when Redis lists none. Parks. */
rc names_of_queues(struct cx *cx, struct engine *e, struct names *ret) MW_PARKS;
/* All three: walks every live job. Parks. */
rc names_of_all_queues(struct cx *cx, struct engine *e, struct names *ret) MW_PARKS;
void names_release(struct names *q); /* for _cleanup_ */
