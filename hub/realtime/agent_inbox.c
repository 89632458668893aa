/* agent_inbox.c - what other processes want of the sessions that are here.
 *
 *   worker, other hub --RPUSH--> mw:hub:{us} --one blocking connection--> notes, up to 512 at once
 *       command      requests whose agent is live here: one requests_take (status sent, committed), then the frames
 *       superseded   that session is over: 4001
 *       revoked      sessions that began with that token are over: 4003
 *
 * While a batch is taken the next notes gather in Redis: that is the only queue. A note is a nudge; one that is lost, or
 * comes to the wrong process, costs the seconds until request.run or a heartbeat looks at PostgreSQL again. */
#include "base/clock.h"
#include "base/log.h"
#include "base/text.h"
#include "domain/agents/inbox.h"
#include "hub/realtime/session.h"
#include "rt/fiber.h"
#include <string.h>

#define WAIT_MS  5000
#define ROUND_MS 15000

rc inbox_send(struct cx *cx, struct agent_sessions *all, const char *const *request_ids, size_t n)
{
    struct command *commands;
    size_t taken = 0;

    if (n == 0)
        return OK;
    commands = arena_alloc(&cx->arena, n * sizeof *commands);
    try(requests_take(cx, all->hub->db, all->hub->instance_id, request_ids, n, commands, &taken));
    for (size_t i = 0; i < taken; i++) {
        struct session *s = sessions_live(all, commands[i].agent_id);

        if (!s || !str_eq(s->id, commands[i].session_id) || !session_command(s, &commands[i]))
            metric_add(all->hub->metrics, METRIC_AGENT_COMMANDS_UNSENT, 1);
    }
    return OK;
}

static void superseded(struct agent_sessions *all, const struct inbox_note *note)
{
    struct session *s = sessions_find(all, note->agent_id, note->session_id);

    if (s)
        session_close(s, CLOSE_SUPERSEDED, "superseded", "the agent has a newer session");
}

/* Those that have not said hello yet too: their token is looked at again when they do, but why wait. */
static void revoked(struct agent_sessions *all, const struct inbox_note *note)
{
    struct session *s;

    TAILQ_FOREACH(s, &all->connected, in_connected)
    {
        if (s->state != SESSION_OVER && strcmp(s->agent_id, note->agent_id) == 0 &&
            (!*note->token_id || str_eq(s->token_id, note->token_id)))
            session_close(s, CLOSE_REVOKED, "revoked", "the token is not good any more");
    }
}

static rc read_notes(struct cx *cx, void *arg)
{
    struct agent_sessions *all = arg;
    const char **ids = arena_alloc(&cx->arena, INBOX_BATCH * sizeof *ids);
    struct inbox_note *notes;
    size_t n, wanted = 0;
    int64_t began;
    rc r;

    try(inbox_pop(cx, all->blocking, all->hub->instance_id, WAIT_MS, &notes, &n));
    began = clock_mono_ms();
    for (size_t i = 0; i < n; i++) {
        switch (notes[i].kind) {
        case INBOX_COMMAND:
            if (sessions_live(all, notes[i].agent_id))
                ids[wanted++] = notes[i].request_id;
            break;
        case INBOX_SUPERSEDED:
            superseded(all, &notes[i]);
            break;
        case INBOX_REVOKED:
            revoked(all, &notes[i]);
            break;
        }
    }
    metric_add(all->hub->metrics, METRIC_AGENT_NOTES, (int64_t)n);
    r = inbox_send(cx, all, ids, wanted);
    if (wanted) {
        metric_add(all->hub->metrics, METRIC_AGENT_INBOX_LAG_MS,
                   clock_mono_ms() - began - all->lag_ms);
        all->lag_ms = clock_mono_ms() - began;
    }
    return r;
}

/* A fiber of its own for each round, so that its memory ends with it. */
static rc keep_reading(struct cx *cx, void *arg)
{
    struct agent_sessions *all = arg;
    int64_t pause = 0;

    for (;;) {
        struct fiber_opts o = {.name = "agents.notes", .timeout_ms = ROUND_MS};
        rc r;

        try(fiber_join(cx, fiber_spawn(&o, read_notes, all), &r));
        if (r == OK) {
            pause = 0;
            continue;
        }
        log_fail(LOG_WARN, "agents.inbox_not_read", cx, r);
        pause = MIN(pause ? 2 * pause : 50, (int64_t)STORE_PAUSE_MS);
        try(fiber_sleep(cx, pause));
    }
}

rc inbox_start(struct cx *cx, struct agent_sessions *all)
{
    try(redis_new(cx, all->hub->settings->redis_url, &all->blocking));
    all->reader = fiber_spawn(&(struct fiber_opts){.name = "agents.inbox"}, keep_reading, all);
    return OK;
}

void inbox_stop(struct agent_sessions *all)
{
    if (!all->reader)
        return;
    fiber_cancel(all->reader);
    fiber_detach(TAKE_PTR(all->reader));
}
