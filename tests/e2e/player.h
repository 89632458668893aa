/* player.h - an agent played by the test: a blocking WebSocket client with the session protocol's
 * words (docs/agent-protocol.md).
 *
 *     struct player *a = player_join(h.url, "cpe-1", token, "{\"site\":\"x\"}");
 *     const char *job = player_command(a, "reboot", 30000);  waits for one; fails the test without
 *     player_result(a, job, "completed", "{}", 30000);       and waits for its result_ack
 *     player_cut(a);                                        as a lost connection
 */
#pragma once
#include "tests/support/house.h"

struct player {
    int fd;
    char *in; /* bytes not read yet */
    size_t len;
    bool closed;
    int close_code;     /* what the hub said, 0: nothing */
    int status;         /* of the handshake; 101 */
    char session[64];   /* of the welcome */
    char known[64][40]; /* jobs that it acknowledged or answered, the latest last */
    size_t nknown;
};

/* The handshake alone. status tells what came of it (0: no answer); never NULL. */
struct player *player_open(const char *url, const char *agent_id, const char *token);
/* With hello and welcome; the test fails when it does not come to it. metadata: JSON, NULL: {}. */
struct player *player_join(const char *url, const char *agent_id, const char *token,
                           const char *metadata);
/* One text frame. */
void player_say(struct player *p, const char *fmt, ...) _printf_(2, 3);
/* The next message that is no heartbeat (those are answered), the caller's to delete; NULL when none
 * came in time, or the connection ended (closed, close_code). */
cJSON *player_next(struct player *p, int deadline_ms);
/* The next message, which must be a command of this name; its job_id in one of 16 buffers used in
 * turn. Commands that it knows may come again at any time and are passed over, here and where a
 * result_ack is waited for. */
const char *player_command(struct player *p, const char *command, int deadline_ms);
void player_ack(struct player *p, const char *job_id);
/* Sends a result; with deadline_ms > 0 its result_ack must come. */
void player_result(struct player *p, const char *job_id, const char *status, const char *response,
                   int deadline_ms);
/* The connection is cut without a word. NULL in, NULL out. */
struct player *player_cut(struct player *p);
void player_cutp(struct player **p); /* for _cleanup_ */
