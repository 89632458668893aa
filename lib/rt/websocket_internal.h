/* websocket_internal.h - what websocket.c (frames) and websocket_upgrade.c (the client's handshake) share. */
#pragma once
#include "rt/websocket.h"
#include <event2/event.h>

/*   CONNECTING ──101──> OPEN ──websocket_close──> CLOSING ──peer's close──> LINGERING ──flushed, hung up──> OVER
 *       │                │ `──peer's close: answered, or a failure: told──────^                              ^
 *       `──refused───────┴────────────────── hung up, deadline ──────────────────────────────────────────────┘  */
enum websocket_state { WS_CONNECTING, WS_OPEN, WS_CLOSING, WS_LINGERING, WS_OVER };

struct wslay_event_context;

struct websocket {
    unsigned magic;
    int depth;  /* callbacks of ours on the stack: until they return nothing is freed */
    bool freed; /* by its owner, meanwhile */
    bool client;
    bool clean;         /* both close frames were exchanged */
    bool in_message;    /* a message's first fragment came, its last did not */
    bool frame_is_data; /* the frame under way belongs to a message */
    bool whole;         /* `message` is complete: to be delivered */
    bool alive;         /* something whole came */
    bool mute;          /* what wslay writes is dropped */
    enum websocket_state state;
    struct bufferevent *bev;
    struct wslay_event_context *ctx; /* NULL while nothing is half here */
    uint64_t frame_left;             /* bytes of the frame under way that wslay has not got yet */
    struct ssl_st *ssl;              /* NULL: plain */
    struct buf message;              /* what came of it so far */
    struct buf out;                  /* frames that are being made */
    struct websocket_opts o;         /* its strings are NULL */
    struct event *deadline;          /* of the opening or the closing; NULL else */
    char *key;                       /* CONNECTING: what the answer must prove to have read */
    int64_t retry_after_s;
    int code; /* for on_close; 0: not known yet */
    char *reason;
};
#define WEBSOCKET_MAGIC 0x57534f4bu

/* The connection is over: on_close(code unless one is known already). */
void websocket_over(struct websocket *w, int code, const char *reason);
/* After ms on_close follows, with the code known then. */
void websocket_end_within(struct websocket *w, int64_t ms);
void websocket_cancel_end(struct websocket *w);
/* Looks at the server's answer; true once the state left CONNECTING for OPEN. */
bool websocket_read_answer(struct websocket *w);
struct websocket *websocket_make(struct bufferevent *bev, const struct websocket_opts *o,
                                 bool client, enum websocket_state state);
