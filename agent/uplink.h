/* uplink.h - the connection to a hub: made, lost, made again.
 *
 *      resting ──time──> looking up ──> opening (TCP, TLS, upgrade) ──101──> open
 *         ^                  │                     │                          │
 *         `── refused, unreachable, lost: the next URL, after a rest ─────────'
 *
 * How long it rests is in uplink_rest: back-off with full jitter, so that ten thousand agents of a hub that died do not come back in one
 * moment; longer where coming back soon helps nobody. */
#pragma once
#include "base/cx.h"

#define UPLINK_SUPERSEDED 4001 /* another process has this agent's session now */
#define UPLINK_REVOKED    4003 /* the token or the agent was taken back */
#define UPLINK_SILENT     4008 /* heartbeats were missed */

struct tls;
struct uplink;

struct uplink_opts {
    const char *const *urls; /* hub_url.h; valid ones */
    size_t url_count;
    const struct tls *tls; /* NULL: ws:// only */
    const char *agent_id;
    size_t message_max;     /* 0: 256 KiB */
    int64_t min_ms, max_ms; /* of the back-off; 0: 1 s and 60 s */
    int64_t superseded_ms;  /* 0: 5 min */
    /* The token, anew for each attempt. */
    rc (*token)(struct cx *cx, char *out, size_t n, void *arg);
    void *token_arg;

    void (*on_open)(void *arg);
    void (*on_message)(void *arg, const char *text, size_t n);
    void (*on_alive)(void *arg);
    void (*on_lost)(void *arg);    /* after on_open; and when a stopped one is gone */
    void (*on_revoked)(void *arg); /* it does not come back */
    void *arg;
};

/* The first attempt is made in the next turn of the loop. The struct is copied, what it points to must live on. */
struct uplink *uplink_new(const struct uplink_opts *o);
bool uplink_send(struct uplink *u, const char *text, size_t n); /* false: not open */
size_t uplink_unsent(const struct uplink *u);
/* The close handshake, then as any loss: it comes back. */
void uplink_close(struct uplink *u, int code, const char *reason);
/* Without a word. */
void uplink_cut(struct uplink *u);
/* Never again; `code` is said to the hub. uplink_gone: nothing is open any more. */
void uplink_stop(struct uplink *u, int code, const char *reason);
bool uplink_gone(const struct uplink *u);
struct uplink *uplink_free(struct uplink *u); /* NULL in, NULL out */

/* The rest after a loss: at_least_ms and a random part of spread_ms on top. at_least_ms < 0: for ever. code: of the close frame, of the
 * answer that refused (401, 503), or 0; tries: failures in a row before. Pure. */
struct uplink_rest {
    int64_t at_least_ms, spread_ms;
};
struct uplink_rest uplink_rest(const struct uplink_opts *o, int code, int64_t retry_after_s,
                               unsigned tries);
