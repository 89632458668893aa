/* poster.h - who sends while the house burns: one thing after another, each under its own
 * Idempotency-Key until it is accepted. */
#pragma once
#include "base/util.h"
#include <pthread.h>

#define POSTED_MAX 5000

struct posted {
    char id[40];
    int tries;
};
struct poster {
    /* filled in before poster_start */
    const char *path, *id_field; /* where to, and what the answer calls it */
    int accepted_status;         /* 201, 202 */
    char urls[3][64];            /* of hubs, in turn; "" from the first that is not there */
    char key[200];
    int n, pace_ms;
    void (*body)(int i, char *ret, size_t size);
    /* its own */
    struct posted posted[POSTED_MAX];
    pthread_t thread;
    pthread_mutex_t lock;
    int done;    /* how many were accepted: poster_accepted */
    bool broken; /* an answer that must not be */
    char broken_words[512];
};

void poster_start(struct poster *p);
int poster_accepted(struct poster *p);
/* Waits until all are accepted, or an answer came that must not be: that fails the test. Returns how
 * many POSTs it took. */
int poster_join(struct poster *p);
