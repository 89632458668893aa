/* house.h - the whole system as real processes: stores, the stand-in for znet, hub, worker, beat;
 * and a shop.
 *
 *   test ──HTTP──► hub ──► PostgreSQL, Redis ◄── worker ──HTTP──► sim-znet (ledger)
 *                                        ▲── beat
 *
 * Two more hubs, HUB_B and HUB_C, are programs and ports of their own; they run once house_up has
 * brought them.
 *
 * The shop "demo" has two accounts at the one stand-in, znet-a and znet-b: what one refuses the
 * other may deliver, and the one ledger sees both. Times are short (house.c lists them); a test's
 * own settings win over them. */
#pragma once
#include "tests/support/stores.h"
#include "tests/support/web.h"

enum part { HUB, HUB_B, HUB_C, WORKER, BEAT, SIM, REDIS, PG, PARTS };
const char *part_name(enum part p);

struct house {
    struct stores stores;
    int said[PARTS];           /* how often it was ready; logs are appended to */
    struct proc *procs[PARTS]; /* HUB .. SIM; the stores have theirs */
    char url[64], sim_url[64]; /* http://127.0.0.1:PORT */
    int more_hub_port[2];      /* HUB_B, HUB_C */
    char more_hub_url[2][64];
    char key[200];                           /* of the shop's front end, may do everything */
    char tenant[40], znet_a[40], znet_b[40]; /* ids */
    int hub_port, sim_port;
    char env_text[32][256];
    const char *env[40];
};

/* env: "MIHWAR_…=value" over the house's own, NULL-terminated, may be NULL. house_open leaves out
 * worker and beat: a door where nobody works behind. */
void house_open(struct house *h, const struct stores_opts *opts, const char *const *env);
void house_start(struct house *h, const struct stores_opts *opts, const char *const *env);
/* "MIHWAR_…=value" for parts that are started from now on; copied. */
void house_set(struct house *h, const char *setting);
/* SIGTERM to beat, worker, hubs: each must drain and end with 0 (a leak found by the sanitizer ends
 * with another status). How many did not; said on stdout. */
int house_stop(struct house *h);
/* Where a hub's web door is: http://127.0.0.1:PORT. */
const char *house_hub_url(const struct house *h, enum part hub);
/* Start a part that is down, and wait until it answers (HUB, SIM, REDIS, PG). */
void house_up(struct house *h, enum part p);
/* SIGTERM and wait; true when the status was 0. */
bool house_down(struct house *h, enum part p);
/* kill -9 of a part with all its processes. */
void house_kill(struct house *h, enum part p);
/* kill -9 of one of its children (HUB, WORKER); false when there was none at this moment. */
bool house_kill_child(struct house *h, enum part p);

/* A package of the shop, bought from znet-a under kupur `a` and, when b is given, from znet-b after
 * a refusal. A kupur may carry the stand-in's switches: "60~place.fault=reset*1". The id, in one of
 * 16 buffers used in turn. */
const char *house_package(struct house *h, const char *a, const char *b);

/* Requests to the hub, as the shop. path begins with '/'. */
struct web_reply house_get(struct house *h, const char *path, ...) _printf_(2, 3);
struct web_reply house_post(struct house *h, const char *path, const char *body);
/* POST /v1/orders {package_id, user_identifier, …more}; must be 201; the id, in one of 16 buffers
 * used in turn. `more` is empty or begins with a comma. */
const char *house_order(struct house *h, const char *package, const char *user, const char *more);
/* The order's status now (from the database: also while the hub is down); "" when it cannot be
 * told. */
const char *house_status(struct house *h, const char *order);
/* Deliveries in the ledger for this player. */
int house_delivered(struct house *h, const char *user);
/* Calls of an endpoint ("place", "status") that named this player or reference. */
int house_calls(struct house *h, const char *endpoint, const char *user_or_ref);
/* A control request to the stand-in. */
struct web_reply house_sim(struct house *h, const char *path, ...) _printf_(2, 3);

/* `mihwar` with these words (NULL-terminated); exit status; *ret_out (may be NULL) is the caller's.
 */
int house_cli(struct house *h, char **ret_out, ...);
/* Field of its --json answer; the verb must succeed. One of 16 buffers. */
const char *house_cli_field(struct house *h, const char *path, ...);
