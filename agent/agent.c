/* agent.c - see agent.h.
 *
 * Connection and frames are callbacks of the loop; each command that is carried out is a fiber. A session may be lost and come back while a
 * command runs: the task knows nothing of it, its result goes out over whatever session stands when it is there. */
#include "agent/agent.h"
#include "base/buf.h"
#include "base/clock.h"
#include "base/json.h"
#include "base/log.h"
#include "base/text.h"
#include "rt/loop.h"
#include "rt/waitq.h"
#include <assert.h>
#include <event2/event.h>
#include <event2/event_struct.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>

#define MESSAGE_MAX KiB(256)
#define TOO_LARGE                                                                                  \
    "{\"error\":{\"code\":\"too_large\",\"message\":\"the result fits into no message\"}}"
#define ENVELOPE    256      /* bytes of a result frame besides its response */
#define WELCOME_MS  15000    /* from hello to welcome at most */
#define PACE_BYTES  KiB(128) /* kept results wait while so much is unsent */
#define PACE_MS     100
#define UNBEGUN_MAX 1000
#define CANCEL_MS   5000 /* cancelled commands are gone by then */
#define GOODBYE_MS  3000
#define NAME_CHARS  "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_.:-"

enum session { AWAY, GREETING, READY };

struct task {
    LIST_ENTRY(task) link;
    struct agent *agent;
    struct fiber *fiber;
    char job_id[ID_LEN + 1];
    char *name, *payload;
    int64_t deadline_mono_ms; /* 0: none */
};

/* A command of which the hub was told that it was not begun, and has not said that it heard. */
struct unbegun {
    LIST_ENTRY(unbegun) link;
    char job_id[ID_LEN + 1];
    char *response;
};

struct agent {
    struct agent_opts o;
    char *agent_id;
    struct uplink *uplink;
    enum session session;
    int64_t began_mono_ms, heard_mono_ms, heartbeat_ms;
    size_t message_max;
    struct event beat, repeat;
    LIST_HEAD(, task) tasks;
    size_t task_count;
    LIST_HEAD(, unbegun) unbegun;
    size_t unbegun_count;
    struct gate places;
    bool stopping;
    struct waitq changed; /* a task ended, the connection is gone */
};

/* ---------------------------------------------------------------- frames out */

static void set_timer(struct event *e, int64_t ms)
{
    struct timeval tv = {.tv_sec = ms / 1000, .tv_usec = ms % 1000 * 1000};

    if (evtimer_add(e, &tv) != 0)
        abort(); /* out of memory */
}

static bool send_text(struct agent *a, const char *text)
{
    return uplink_send(a->uplink, text, strlen(text));
}

static void send_hello(struct agent *a)
{
    _cleanup_(buf_release) struct buf b = BUF(MESSAGE_MAX);

    buf_puts(&b, "{\"type\":\"hello\"");
    buf_json_field(&b, "version", a->o.version);
    buf_printf(&b, ",\"metadata\":%s}", a->o.metadata);
    send_text(a, buf_str(&b));
}

static void send_ack(struct agent *a, const char *job_id)
{
    char text[96];

    snprintf(text, sizeof text, "{\"type\":\"ack\",\"job_id\":\"%s\"}", job_id);
    send_text(a, text);
}

static bool send_result(struct agent *a, const char *job_id, bool completed, const char *response)
{
    _cleanup_(freep) char *text =
        xasprintf("{\"type\":\"result\",\"job_id\":\"%s\",\"status\":\"%s\",\"response\":%s}",
                  job_id, completed ? "completed" : "failed", response);

    return a->session == READY && send_text(a, text);
}

/* A result that was kept for a hub which takes longer messages would end each session with this one. */
static void offer(struct agent *a, struct journal_entry *e)
{
    bool fits = strlen(e->response) + ENVELOPE <= a->message_max;

    if (!send_result(a, e->job_id, fits && e->completed, fits ? e->response : TOO_LARGE))
        return;
    e->offered_mono_ms = clock_mono_ms();
    if (!evtimer_pending(&a->repeat, NULL))
        set_timer(&a->repeat, a->o.repeat_ms);
}

/* Every result that is owed to the hub: those of before this session at once, the others when they were not acknowledged in time. A pile of
 * them goes out as fast as the hub takes it. */
static void offer_owed(struct agent *a)
{
    int64_t before_mono_ms = MAX(a->began_mono_ms, clock_mono_ms() - a->o.repeat_ms);
    bool owed = false;

    for (struct journal_entry *e = NULL;
         (e = journal_next_unacked(a->o.journal, a->agent_id, e));) {
        owed = true;
        if (e->offered_mono_ms > before_mono_ms)
            continue;
        if (uplink_unsent(a->uplink) > PACE_BYTES) {
            set_timer(&a->repeat, PACE_MS);
            return;
        }
        offer(a, e);
    }
    if (owed && !evtimer_pending(&a->repeat, NULL))
        set_timer(&a->repeat, a->o.repeat_ms);
}

static void on_repeat(evutil_socket_t fd, short what, void *arg)
{
    struct agent *a = arg;

    if (a->session == READY)
        offer_owed(a);
}

/* ---------------------------------------------------------------- a command */

static void task_free(struct task *t)
{
    struct agent *a = t->agent;

    LIST_REMOVE(t, link);
    a->task_count--;
    waitq_wake_all(&a->changed);
    free(t->name);
    free(t->payload);
    free(t);
}

/* What the hub is told, freed by the caller; a result that fits into no message is none. */
static char *settle(const struct agent *a, struct cx *cx, rc r, struct outcome *o)
{
    if (r == E_DEADLINE)
        outcome_fail(o, "time_limit", "the request's time was over before the command ended");
    else if (r != OK)
        outcome_fail(o, error_info(r)->code, "%s", cx_words(cx, r));
    char *text = cJSON_PrintUnformatted(o->response);
    if (text && strlen(text) + ENVELOPE <= a->message_max)
        return text;
    free(text);
    o->completed = false;
    return xstrdup(TOO_LARGE);
}

/* From its place on: begun on disk, carried out, done on disk, told. */
static rc carry_out(struct cx *cx, struct task *t)
{
    struct agent *a = t->agent;
    _cleanup_(outcome_release) struct outcome o = outcome_new();
    int64_t began_mono_ms = clock_mono_ms();

    try(journal_begin(cx, a->o.journal, a->agent_id, t->job_id, t->name));
    cx->deadline_mono_ms = t->deadline_mono_ms;
    rc r =
        a->o.carry_out(cx, &(struct agent_command){t->job_id, t->name, t->payload}, &o, a->o.arg);
    cx->deadline_mono_ms = 0; /* the result is written down in any case */
    if (r == E_CANCELLED)
        return r;
    _cleanup_(freep) char *response = settle(a, cx, r, &o);
    log_ev(LOG_INFO, "command.ended", kv_str("command", t->name), kv_bool("completed", o.completed),
           kv_int("took_ms", clock_mono_ms() - began_mono_ms));
    r = journal_end(cx, a->o.journal, t->job_id, o.completed, response);
    if (r != OK) /* told all the same; only a crash now would make another story of it */
        log_fail(LOG_ERROR, "result.not_written", cx, r);
    struct journal_entry *e = journal_find(a->o.journal, t->job_id);
    if (e && e->state == JOURNAL_DONE)
        offer(a, e);
    return OK;
}

static rc wait_for_place(struct cx *cx, struct task *t)
{
    cx->deadline_mono_ms = t->deadline_mono_ms;
    rc r = gate_enter(cx, &t->agent->places);
    cx->deadline_mono_ms = 0;
    return r;
}

static struct unbegun *unbegun_find(const struct agent *a, const char *job_id)
{
    struct unbegun *u;

    LIST_FOREACH(u, &a->unbegun, link)
    {
        if (strcmp(u->job_id, job_id) == 0)
            return u;
    }
    return NULL;
}

static void unbegun_forget(struct agent *a, struct unbegun *u)
{
    LIST_REMOVE(u, link);
    a->unbegun_count--;
    free(u->response);
    free(u);
}

/* The journal does not take it: nothing was done. The hub may send the command again before it hears that, and by then the disk may
 * take it: what it was told stays true, so the job is remembered until the hub has heard. With no room for that, or without a session, it is
 * told nothing, and sends again. */
static void tell_not_begun(struct cx *cx, struct task *t, rc r)
{
    _cleanup_(outcome_release) struct outcome o = outcome_new();
    struct agent *a = t->agent;

    log_fail(LOG_ERROR, "command.not_begun", cx, r, kv_str("command", t->name));
    if (a->unbegun_count >= UNBEGUN_MAX)
        return;
    outcome_fail(&o, "not_begun", "%s", cx_words(cx, r));
    _cleanup_(freep) char *response = cJSON_PrintUnformatted(o.response);
    if (!response || !send_result(a, t->job_id, false, response))
        return;
    struct unbegun *u = xcalloc(1, sizeof *u);
    memcpy(u->job_id, t->job_id, sizeof u->job_id);
    u->response = TAKE_PTR(response);
    LIST_INSERT_HEAD(&a->unbegun, u, link);
    a->unbegun_count++;
}

static rc task_run(struct cx *cx, void *arg)
{
    struct task *t = arg;
    struct agent *a = t->agent;

    snprintf(cx->subject, sizeof cx->subject, "%s", t->job_id);
    rc r = wait_for_place(cx, t);
    if (r == OK) {
        r = carry_out(cx, t);
        gate_leave(&a->places);
    }
    if (r == E_DEADLINE)
        log_ev(LOG_WARN, "command.expired", kv_str("command", t->name),
               kv_str("hint", "no place was free in time; it has not begun"));
    else if (r != OK && r != E_CANCELLED)
        tell_not_begun(cx, t, r);
    task_free(t);
    return OK;
}

static bool waits(const struct agent *a, const char *job_id)
{
    const struct task *t;

    LIST_FOREACH(t, &a->tasks, link)
    {
        if (strcmp(t->job_id, job_id) == 0)
            return true;
    }
    return false;
}

static void begin(struct agent *a, const char *job_id, const char *name, const char *payload,
                  int64_t timeout_ms)
{
    struct task *t = xcalloc(1, sizeof *t);

    *t = (struct task){.agent = a, .name = xstrdup(name)};
    memcpy(t->job_id, job_id, sizeof t->job_id);
    t->payload = xstrdup(payload);
    t->deadline_mono_ms = timeout_ms >= 0 ? MAX(clock_mono_ms() + timeout_ms, (int64_t)1) : 0;
    LIST_INSERT_HEAD(&a->tasks, t, link);
    a->task_count++;
    t->fiber = fiber_spawn(&(struct fiber_opts){.name = "agent.command"}, task_run, t);
    fiber_detach(t->fiber);
}

struct frame {
    const cJSON *o;
    const char *text; /* the same */
    size_t n;
};

/* An object as it was written; "{}" if there is none. */
static rc payload_of(struct cx *cx, const struct frame *f, const char **ret)
{
    const cJSON *v = cJSON_GetObjectItemCaseSensitive(f->o, "payload");
    const char *raw;
    size_t n;
    bool odd;

    *ret = "{}";
    if (!v || cJSON_IsNull(v))
        return OK;
    if (!cJSON_IsObject(v))
        return fail(cx, INVALID_FIELD, "the payload of a command is an object");
    if (json_raw_member(f->text, f->n, "payload", &raw, &n, &odd))
        *ret = arena_strndup(&cx->arena, raw, n);
    else
        *ret = json_print(cx, v);
    return OK;
}

static rc take_command(struct cx *cx, struct agent *a, const struct frame *f)
{
    const char *name, *payload;
    char job_id[ID_LEN + 1];
    int64_t timeout_ms = -1;

    try(json_id(cx, f->o, "job_id", job_id));
    try(json_str(cx, f->o, "command", 128, &name));
    try(json_int_opt(cx, f->o, "timeout_ms", 0, INT64_MAX / 2, &timeout_ms));
    try(payload_of(cx, f, &payload));
    if (name[strspn(name, NAME_CHARS)])
        return fail(cx, INVALID_FIELD, "'%s' is no name of a command", name);
    struct journal_entry *e = journal_find(a->o.journal, job_id);
    if (e || waits(a, job_id)) { /* never twice */
        send_ack(a, job_id);
        if (e && e->state != JOURNAL_BEGUN)
            offer(a, e);
        return OK;
    }
    struct unbegun *u = unbegun_find(a, job_id);
    if (u) {
        send_ack(a, job_id);
        send_result(a, job_id, false, u->response);
        return OK;
    }
    if (a->stopping || a->task_count >= a->o.concurrency + a->o.waiting_max)
        return fail(cx, OVERLOADED, "no more commands are taken now, the hub sends it again");
    send_ack(a, job_id);
    begin(a, job_id, name, payload, timeout_ms);
    return OK;
}

/* ---------------------------------------------------------------- frames in */

static rc take_welcome(struct cx *cx, struct agent *a, const struct frame *f)
{
    int64_t message_max = (int64_t)a->message_max;

    try(json_int_opt(cx, f->o, "heartbeat_ms", 10, 3600000, &a->heartbeat_ms));
    try(json_int_opt(cx, f->o, "message_max", 1024, 1 << 30, &message_max));
    a->message_max = MIN((size_t)message_max, MESSAGE_MAX);
    a->session = READY;
    a->began_mono_ms = clock_mono_ms();
    set_timer(&a->beat, a->heartbeat_ms);
    if (a->o.on_state)
        a->o.on_state(AGENT_CONNECTED, a->o.arg);
    offer_owed(a);
    return OK;
}

static rc take_result_ack(struct cx *cx, struct agent *a, const struct frame *f)
{
    char job_id[ID_LEN + 1];

    try(json_id(cx, f->o, "job_id", job_id));
    journal_ack(a->o.journal, job_id);
    struct unbegun *u = unbegun_find(a, job_id);
    if (u)
        unbegun_forget(a, u);
    return OK;
}

/* It stands before a close frame; here it is only told to people. */
static rc take_error(struct cx *cx, struct agent *a, const struct frame *f)
{
    const char *code, *message;

    try(json_str(cx, f->o, "code", 64, &code));
    try(json_str_opt(cx, f->o, "message", 500, &message));
    log_ev(LOG_WARN, "hub.complains", kv_str("code", code),
           kv_str("message", message ? message : ""));
    return OK;
}

static rc take_heartbeat(struct cx *cx, struct agent *a, const struct frame *f)
{
    return OK; /* that it came was noted */
}

/* Types that are not here are for agents newer than this one. */
static const struct {
    const char *type;
    rc (*take)(struct cx *cx, struct agent *a, const struct frame *f);
    enum session from; /* taken from this state on */
} frames[] = {
    {"welcome", take_welcome, GREETING},    {"command", take_command, READY},
    {"result_ack", take_result_ack, READY}, {"heartbeat", take_heartbeat, GREETING},
    {"error", take_error, GREETING},
};

static rc take(struct cx *cx, struct agent *a, const char *text, size_t n)
{
    const char *type;
    cJSON *o;

    try(json_parse(cx, text, n, MESSAGE_MAX, &o));
    try(json_str(cx, o, "type", 64, &type));
    for (size_t i = 0; i < COUNT(frames); i++) {
        if (strcmp(frames[i].type, type) == 0 && a->session >= frames[i].from)
            return frames[i].take(cx, a, &(struct frame){o, text, n});
    }
    return OK;
}

/* ---------------------------------------------------------------- the session */

static void on_open(void *arg)
{
    struct agent *a = arg;

    a->session = GREETING;
    a->heard_mono_ms = clock_mono_ms();
    set_timer(&a->beat, WELCOME_MS);
    send_hello(a);
}

static void on_alive(void *arg)
{
    ((struct agent *)arg)->heard_mono_ms = clock_mono_ms();
}

static void on_message(void *arg, const char *text, size_t n)
{
    _cleanup_(cx_release) struct cx cx = CX_PLAIN("agent.frame");
    struct agent *a = arg;
    rc r = take(&cx, a, text, n);

    if (r != OK) /* the hub's mistake, or our limit: the session can go on */
        log_fail(LOG_WARN, "frame.not_taken", &cx, r);
}

/* Both sides say that they live; three beats of silence and the other is gone, whatever TCP believes. */
static void on_beat(evutil_socket_t fd, short what, void *arg)
{
    struct agent *a = arg;

    if (a->session == GREETING) {
        uplink_close(a->uplink, UPLINK_SILENT, "no welcome came");
        return;
    }
    if (clock_mono_ms() - a->heard_mono_ms >= 3 * a->heartbeat_ms) {
        uplink_close(a->uplink, UPLINK_SILENT, "the hub is silent");
        return;
    }
    send_text(a, "{\"type\":\"heartbeat\"}");
    set_timer(&a->beat, a->heartbeat_ms);
}

static void on_lost(void *arg)
{
    struct agent *a = arg;
    bool told = a->session == READY;

    waitq_wake_all(&a->changed);
    a->session = AWAY;
    evtimer_del(&a->beat);
    evtimer_del(&a->repeat);
    if (told && a->o.on_state)
        a->o.on_state(AGENT_AWAY, a->o.arg);
}

static void on_revoked(void *arg)
{
    struct agent *a = arg;

    log_ev(LOG_ERROR, "agent.revoked", kv_str("agent", a->agent_id),
           kv_str("hint", "its token or the agent itself was taken back"));
    if (a->o.on_state)
        a->o.on_state(AGENT_REVOKED, a->o.arg);
}

/* ---------------------------------------------------------------- life */

struct agent *agent_new(const struct agent_opts *o)
{
    struct agent *a = xcalloc(1, sizeof *a);
    struct uplink_opts up = o->uplink;

    a->o = *o;
    a->o.concurrency = o->concurrency ? o->concurrency : 4;
    a->o.waiting_max = o->waiting_max ? o->waiting_max : 256;
    a->o.repeat_ms = o->repeat_ms ? o->repeat_ms : 10000;
    a->agent_id = xstrdup(o->uplink.agent_id);
    a->message_max = MESSAGE_MAX;
    a->heartbeat_ms = 30000;
    a->places.limit = a->o.concurrency;
    LIST_INIT(&a->tasks);
    evtimer_assign(&a->beat, loop_base(), on_beat, a);
    evtimer_assign(&a->repeat, loop_base(), on_repeat, a);
    up.message_max = MESSAGE_MAX;
    up.on_open = on_open;
    up.on_message = on_message;
    up.on_alive = on_alive;
    up.on_lost = on_lost;
    up.on_revoked = on_revoked;
    up.arg = a;
    a->uplink = uplink_new(&up);
    return a;
}

static rc wait_within(struct cx *cx, struct agent *a, int64_t ms,
                      bool (*done)(const struct agent *a))
{
    _cleanup_(cx_deadline_restore) struct cx_deadline d = cx_deadline_within(cx, ms);

    while (!done(a))
        try(waitq_wait(cx, &a->changed));
    return OK;
}

static bool idle(const struct agent *a)
{
    return a->task_count == 0;
}

static bool gone(const struct agent *a)
{
    return uplink_gone(a->uplink);
}

void agent_stop(struct cx *cx, struct agent *a, int64_t grace_ms)
{
    struct task *t;

    a->stopping = true;
    if (wait_within(cx, a, grace_ms, idle) != OK) {
        LIST_FOREACH(t, &a->tasks, link)
        fiber_cancel(t->fiber);
        wait_within(cx, a, CANCEL_MS, idle);
    }
    uplink_stop(a->uplink, 1001, "the agent is going away");
    wait_within(cx, a, GOODBYE_MS, gone); /* else the hub finds out by itself */
}

struct agent *agent_free(struct agent *a)
{
    if (!a)
        return NULL;
    assert(LIST_EMPTY(&a->tasks));
    while (!LIST_EMPTY(&a->unbegun))
        unbegun_forget(a, LIST_FIRST(&a->unbegun));
    a->uplink = uplink_free(a->uplink);
    evtimer_del(&a->beat);
    evtimer_del(&a->repeat);
    free(a->agent_id);
    free(a);
    return NULL;
}

void agent_cut(struct agent *a)
{
    uplink_cut(a->uplink);
}

void agent_repeat(struct agent *a, const char *job_id)
{
    struct journal_entry *e = journal_find(a->o.journal, job_id);

    if (e && e->state != JOURNAL_BEGUN)
        offer(a, e);
}
