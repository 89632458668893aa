/* sim.h - what the two stand-ins for providers share: a plain evhttp server with switches, a book
 * of orders, a ledger.
 *
 *   request --> protocol (znet.c, zdk.c) --> rules: which switches hold for this call?
 *                   |                          |
 *                   v                          v
 *                book: orders, ledger      sim_answer: latency, faults, the bytes
 *
 * The protocol decides what a true answer would be and does it (takes the order, moves money);
 * sim_answer then decides what the client gets to see of it. So "accepted, but the reply was lost"
 * is the ordinary case, not a special one. */
#pragma once
#include "base/buf.h"
#include "base/cx.h"
#include "book.h"
#include "rules.h"

struct event_base;
struct evhttp_request;
struct evkeyvalq;

extern struct event_base *sim_base;

/* Switches that every protocol has; sim.c carries them out. */
#define SIM_SWITCHES                                                                                \
    {"fault",  EP_ANY,                                                                              \
     "none",   "none hang close reset empty html garbage cut 404 429 500 502 503",                  \
     "Q2 Q11", "what the client gets instead of the answer (html comes with 200)"},                 \
        {"accepts", EP_PLACE, "yes",                                                                \
         "yes no",  "Q11",    "with a fault: was the order taken all the same?"},                   \
        {"accept_after",                                                                            \
         EP_PLACE,                                                                                  \
         "0",                                                                                       \
         "#",                                                                                       \
         "Q11",                                                                                     \
         "ms until the order is taken (after a reset, too: it arrives late)"},                      \
        {"latency", EP_ANY,    "0",                                                                 \
         "#",       "Q15 Q11", "ms until the answer leaves; the order is taken before"},            \
        {"wrap", EP_ANY, "none", "none space newline bom", "Q3", "what surrounds the body"},        \
        {"outcome", EP_PLACE, "approve", "approve cancel", "Q12", "how an order ends"},             \
        {"settle_ms", EP_PLACE, "1000",                                                             \
         "#",         "Q12",    "ms from acceptance to the end; -1: not by time"},                  \
        {"settle_polls", EP_PLACE, "0", "#", "Q12", "the n-th question finds the end; 0: by time"}, \
    {                                                                                               \
        "flip_ms", EP_PLACE, "0", "#", "Q12",                                                       \
            "ms after the end an operator turns it around (2->3, 3->2); 0: never"                   \
    }

struct sim {
    const char *name; /* "znet" */
    struct rules *rules;
    struct book *book;
    int64_t hang_ms; /* a hung call is dropped after this, so that nothing is held for ever */
    const char *login, *password; /* NULL: everybody who names himself is let in */
    void *protocol;
};

/* One request of the protocol, from its arrival to its answer. */
struct sim_call {
    struct sim *sim;
    struct evhttp_request *req; /* NULL once it was given away */
    enum endpoint endpoint;
    struct evkeyvalq *params;              /* of the query, and of a form body */
    char *dealer, *ref, *product, *player; /* "" where the endpoint has none */
    const char *values[RULES_MAX];         /* one per switch: what holds for this call */
    int64_t at_ms;
};

/* What a protocol brings. */
struct sim_protocol {
    const char *name;
    const struct switch_row *switches;
    size_t nswitches;
    /* Fills endpoint, dealer, ref, product and player; false: no such path (404). */
    bool (*parse)(struct sim_call *c, const char *path);
    /* Is the caller let in? Otherwise `out` holds what a stranger is told. */
    bool (*admit)(struct sim_call *c, struct buf *out);
    /* Each does its thing and writes the answer. */
    void (*balance)(struct sim_call *c, struct buf *out);
    void (*catalogue)(struct sim_call *c, struct buf *out);
    void (*place)(struct sim_call *c, struct buf *out);
    void (*status)(struct sim_call *c, struct buf *out);
    const char *content_type;
};

int sim_main(int argc, char **argv, const struct sim_protocol *p);

const char *sim_param(const struct sim_call *c, const char *name); /* "" when it is not there */
const char *sim_value(const struct sim_call *c,
                      const char *name); /* of a switch; asserts that there is such a switch */
bool sim_is(const struct sim_call *c, const char *name, const char *value);
int64_t sim_number(const struct sim_call *c, const char *name);
/* Does the call name the product `id`? What follows a '~' is rules; bad ones name no product. */
bool sim_names(const struct sim_call *c, const char *id);
/* The order of a place call as the switches want it to go. Borrows the call's texts; the parameter
 * `extra` is the extra field. */
struct order sim_order(const struct sim_call *c, const char *extra, int64_t cost, int64_t quantity,
                       bool without_pin);

/* control.c: /_sim/...; true when the path was one of its. */
bool control_serve(struct sim *s, const char *path, const struct evkeyvalq *params, struct buf *out,
                   int *ret_status);
/* control.c: remembers a call for /_sim/calls. */
void control_note(const struct sim_call *c, const char *what);
void control_in_flight(int delta);
void control_reset(void);
