/* session_client.h - an agent of our own make, for tests: what it says and hears is written out in the test.
 *
 *     client_open(&c, port, "a1", token);
 *     client_say(&c, "{\"type\":\"hello\"}");
 *     client_hear(&c, "welcome");               skips what comes before it
 *     ck_assert_int_eq(client_code(&c), 4001);  waits for the end
 *
 * One loop for the whole program; it turns while a client waits. */
#pragma once
#include "base/buf.h"
#include "rt/websocket.h"
#include "tests/support/house.h"
#include <openssl/ssl.h>

enum { CLIENT_PATIENCE_MS = 30000, CLIENT_HEARD_MAX = 2000 };

struct client {
    struct websocket *ws;
    bool opened, closed;
    int code;
    char reason[200];
    char *heard[CLIENT_HEARD_MAX];
    size_t n, at; /* heard, looked at */
    cJSON *frame; /* the last one that client_hear found */
};

/* Before the first client, outside Check's tests; and after the last. */
void clients_begin(void);
void clients_end(void);
/* Turns the loop for a moment. */
void clients_turn(void);
/* Turns the loop until cond is true; the test fails when it does not become so. */
#define client_wait(cond)                                                                          \
    do {                                                                                           \
        int64_t end_ = support_now_ms() + CLIENT_PATIENCE_MS;                                      \
        while (!(cond) && support_now_ms() < end_)                                                 \
            clients_turn();                                                                        \
        ck_assert_msg(cond, "not within %d ms: %s", CLIENT_PATIENCE_MS, #cond);                    \
    } while (0)

/* Connects and asks for the upgrade. token NULL: none is shown. */
void client_ask(struct client *c, int port, const char *agent_id, const char *token);
/* The same over TLS; ssl is the connection's from now on. NULL: plain. */
void client_ask_over(struct client *c, SSL *ssl, int port, const char *agent_id, const char *token);
/* As client_ask, and waits for the 101. */
void client_open(struct client *c, int port, const char *agent_id, const char *token);
/* The same, with a plain hello and its welcome. */
void client_enter(struct client *c, int port, const char *agent_id, const char *token);
void client_say(struct client *c, const char *fmt, ...) _printf_(2, 3);
/* The next frame of this type; what comes before it is dropped. Lives until the next call. */
const cJSON *client_hear(struct client *c, const char *type);
/* A member of the frame found last as text ("" if it is not there); 16 buffers in turn. */
const char *client_text(const struct client *c, const char *member);
/* Has a frame of this type come that was not looked at? Does not wait. */
bool client_heard(struct client *c, const char *type);
/* Waits for the end; its code, or the status of the refusal, or 0. */
int client_code(struct client *c);
/* Lets go without a word. */
void client_drop(struct client *c);
/* Says goodbye, and lets go when the hub has answered. */
void client_leave(struct client *c);
/* Runs fn on a fiber of the clients' loop; what it returns. */
rc on_clients_loop(rc (*fn)(struct cx *cx, void *arg), void *arg);
