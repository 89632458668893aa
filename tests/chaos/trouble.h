/* trouble.h - what is done to a house, and how long the work stood still after it.
 *
 *   kill -9, a moment, up again, and then: how long until the next piece of work came to its end? */
#pragma once
#include "tests/support/house.h"

struct troubles {
    struct house *house;
    const char *noun;          /* "order" */
    int64_t (*ended)(void);    /* how many have come to their end; -1: cannot be told now */
    int64_t (*accepted)(void); /* how many could: with all of them ended nothing is waited for */
    int longest_ms;            /* and what it came after */
    char longest_after[48];
};

/* A number from low to high, out of the run's seed. */
int between(int low, int high);
/* The seed of this run (from the environment, else the clock), printed and set. */
void troubles_seed(const char *env);

void trouble_kill(struct troubles *t, enum part p);
void trouble_kill_child(struct troubles *t, enum part p);
void trouble_flush(struct troubles *t);
/* The victims in some order, with one FLUSHALL somewhere between. */
void trouble_each(struct troubles *t, enum part *victims, size_t n);
/* Waits until the next one ended (15 s at most), and prints how long it took after `what`. */
void trouble_note(struct troubles *t, const char *what);
