/* websocket.h - RFC 6455 over a bufferevent, plain or TLS: whole text messages in, whole text messages out, both sides.
 *
 *     server: evhttp's connection after 101 ──> websocket_new ──────────────┐        on_message, on_message, …
 *     client: a bufferevent, connecting ──────> websocket_connect ─on_open──┴─ open ────────> closing ──> on_close
 *                                                    `─ refused, never reached, late ─────────────────────^
 *
 * Everything happens in callbacks on the loop: no fiber, no timer and no frame buffer belongs to a connection that is silent (it
 * costs 300 bytes beside its bufferevent). libwslay reads and writes the frames; its 8 KiB context lives only while a frame or a message is half here.
 *
 * What is refused, and with which close code:
 *   1002  frames that are wrong in themselves: unmasked from a client (masked from a server), reserved bits or opcodes, fragments out of
 *         order, control frames that are long or fragmented, lengths not in their shortest form, close codes that nobody may send
 *   1003  binary messages                           1007  text (or a close reason) that is not UTF-8, also split across fragments
 *   1009  a message larger than message_max         1008  a peer that does not read: more than unsent_max would wait for it
 *
 * Callbacks may call everything here, websocket_free of their own connection too. */
#pragma once
#include "base/buf.h"
#include "base/error.h"

struct bufferevent;
struct websocket;

enum {
    WEBSOCKET_NORMAL = 1000,
    WEBSOCKET_GOING_AWAY = 1001,
    WEBSOCKET_PROTOCOL = 1002,
    WEBSOCKET_UNSUPPORTED = 1003,
    WEBSOCKET_NO_CODE = 1005,  /* on_close only: the peer's close frame had none */
    WEBSOCKET_ABNORMAL = 1006, /* on_close only: no close frame came */
    WEBSOCKET_BAD_TEXT = 1007,
    WEBSOCKET_POLICY = 1008,
    WEBSOCKET_TOO_BIG = 1009,
    WEBSOCKET_INTERNAL = 1011,
};

struct websocket_opts {
    size_t message_max; /* bytes of one assembled message; 0: 256 KiB */
    size_t unsent_max;  /* bytes that may wait for a peer that does not read; 0: 1 MiB */
    int64_t close_ms;   /* the close handshake takes at most this; 0: 5 s */
    /* Who lends the bufferevent gets it back like this when the connection is over, and closes it. NULL: bufferevent_free. */
    void (*let_go)(void *lender);
    void *lender;
    void *arg; /* of the callbacks below */
    /* A whole message: valid UTF-8 (it may contain U+0000), n bytes and a NUL behind them; gone when the callback returns. */
    void (*on_message)(void *arg, const char *text, size_t n);
    /* Something whole came: a message, a ping, a pong. Before on_message. May be NULL. */
    void (*on_alive)(void *arg);
    /* It is over; called exactly once, unless websocket_free came before. code and reason: the peer's if it said them first, else what
     * we closed with; WEBSOCKET_ABNORMAL and a sentence if the connection just ended. After websocket_connect also the status of an
     * answer that is not 101 (401, 429, 503 …; a 101 that proves nothing is 1002), or 0 when no answer came at all. reason is never NULL. Nothing is
     * sent or received any more; the owner calls websocket_free now or later. */
    void (*on_close)(void *arg, int code, const char *reason);

    /* websocket_connect only */
    void (*on_open)(void *arg);
    const char *host;   /* "hub.example:8443", for the Host header */
    const char *target; /* "/v1/agent/session?agent_id=a1" */
    const char *bearer; /* token for Authorization, or NULL */
    int64_t open_ms;    /* from now to the 101 at most; 0: 15 s */
};

/* The server's side of a connection whose 101 was written (or is in the output buffer). bev belongs to the websocket from now on; bytes that
 * are in its input already are read in the loop's next turn. Never fails. */
struct websocket *websocket_new(struct bufferevent *bev, const struct websocket_opts *o);
/* The client's side over a bufferevent that is connected or connecting; it belongs to the websocket from now on. The strings of o are not
 * kept. on_open or on_close follows, never from inside this call. */
struct websocket *websocket_connect(struct bufferevent *bev, const struct websocket_opts *o);

/* Send a text message (UTF-8: the caller's duty). False, and nothing is sent: not open (any more), or unsent_max would be passed; then the
 * connection is closed with 1008. True promises nothing about arrival. */
bool websocket_send(struct websocket *w, const char *text, size_t n);
bool websocket_ping(struct websocket *w);
/* Begin the close handshake: on_close follows when the peer has answered, hung up or let close_ms pass. What comes meanwhile is not
 * delivered any more. reason: at most 123 bytes of UTF-8, cut if longer; may be NULL. A second call does nothing. */
void websocket_close(struct websocket *w, int code, const char *reason);
bool websocket_is_open(const struct websocket *w);
/* Bytes accepted by websocket_send that the socket did not take yet. */
size_t websocket_unsent(const struct websocket *w);
/* Retry-After of the answer that refused an upgrade, in seconds; -1: none. */
int64_t websocket_retry_after_s(const struct websocket *w);
/* Drops the connection at once (no close frame, no callback any more). NULL is welcome; returns NULL. */
struct websocket *websocket_free(struct websocket *w);

/* ---- the handshake, for the server's side ---- */

#define WEBSOCKET_KEY_LEN    24 /* base64 of 16 bytes */
#define WEBSOCKET_ACCEPT_LEN 28 /* base64 of a SHA-1 */

/* Is this a Sec-WebSocket-Key that a client may send? NULL is none. */
bool websocket_key_valid(const char *key);
/* Sec-WebSocket-Accept for a key (RFC 6455 §4.2.2); out holds WEBSOCKET_ACCEPT_LEN + 1 bytes; returns out. */
char *websocket_accept(const char *key, char *out);
/* Does a comma-separated header ("keep-alive, Upgrade") name the token? Letter case does not matter; NULL names none. */
bool websocket_header_names(const char *header, const char *token);
