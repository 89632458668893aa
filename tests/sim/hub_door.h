/* hub_door.h - a stand-in for the hub's side of an agent's session, on the test's own loop: polite unless told otherwise.
 *
 *      try(hub_door_new(cx, NULL, 0, &door));                   listens on a free port of 127.0.0.1
 *      start an agent with hub_door_port(door)
 *      door_wait(cx, door->welcomed == 1);
 *      hub_door_command(door, JOB, "get_status", "{}", 10000);
 *      door_wait(cx, hub_door_count(door, "result", JOB) == 1);
 *
 * It welcomes, acknowledges results and beats; each of that can be left out, and the connection ended in every impolite way. What agents say
 * is kept, frame by frame. Verbs act on the newest session. */
#pragma once
#include "base/cx.h"
#include <cjson/cJSON.h>

struct tls;
struct door_session;

struct hub_door {
    /* switches, to be changed at any time */
    bool no_welcome, no_result_ack, no_heartbeats;
    int refuse_status;    /* instead of 101; 0: none */
    int retry_after_s;    /* with refuse_status; 0: not said */
    int64_t heartbeat_ms; /* promised in the welcome; 0: 30 s */

    /* what was seen */
    int asked, welcomed, lost, open; /* upgrades asked for; sessions welcomed, ended, standing */
    int close_code;                  /* of the session that ended last */
    char agent_id[256], bearer[128]; /* of the newest */
    cJSON **frames;                  /* what agents said */
    size_t frame_count;

    struct hub_door_inner *in;
};

/* port 0: a free one. tls NULL: plain. */
rc hub_door_new(struct cx *cx, const struct tls *tls, int port, struct hub_door **ret);
int hub_door_port(const struct hub_door *d);
struct hub_door *hub_door_free(struct hub_door *d); /* ends its sessions without a word */

void hub_door_say(struct hub_door *d, const char *text);
/* To the newest session of this agent; false: it has none. */
bool hub_door_say_to(struct hub_door *d, const char *agent_id, const char *text);
void hub_door_command(struct hub_door *d, const char *job_id, const char *command,
                      const char *payload, int64_t timeout_ms);
void hub_door_result_ack(struct hub_door *d, const char *job_id);
void hub_door_close(struct hub_door *d, int code);
void hub_door_cut(struct hub_door *d);
/* The first bytes of a frame, then nothing any more. */
void hub_door_cut_in_frame(struct hub_door *d);

/* How many frames of this type came; job_id NULL: any. */
int hub_door_count(const struct hub_door *d, const char *type, const char *job_id);
/* The newest such frame's value at a path of names ("response.error.code"); "" if it is not there. */
const char *hub_door_text(const struct hub_door *d, const char *type, const char *job_id,
                          const char *path);

/* On a fiber: until cond is true; the test fails after 30 s. */
#define door_wait(cx, cond)                                                                        \
    do {                                                                                           \
        int64_t door_end_ = clock_mono_ms() + 30000;                                               \
        while (!(cond) && clock_mono_ms() < door_end_)                                             \
            try(fiber_sleep((cx), 5));                                                             \
        ck_assert_msg((cond), "not within 30 s: %s", #cond);                                       \
    } while (0)
