/* agent_sessions.c - the table of sessions, and time.
 *
 *   connected  those whose connection stands
 *   bucket     agent_id -> its sessions here: one live, beside it those that are greeting
 *   by_hello   new ones, in the order of their connection:      the first is late after 10 s         `.
 *   by_life    greeting and live, in the order of their last sign of life: silent after 3 heartbeats --- one timer
 *   heard      who was heard since the last UPDATE of agents.last_seen_at
 *   greeting   who said hello and waits for one of the few fibers that store it
 *   ended      what PostgreSQL must still hear: this session is over
 *
 * Everything is fenced by the session's id in PostgreSQL, so nothing here needs an order among processes: who comes too
 * late changes nothing. */
#include "base/clock.h"
#include "base/log.h"
#include "base/text.h"
#include "hub/realtime/session.h"
#include "redis/redis.h"
#include "rt/fiber.h"
#include "rt/loop.h"
#include <assert.h>
#include <event2/event.h>
#include <stdlib.h>
#include <string.h>

#define BUCKETS       16384 /* a power of two */
#define GREETERS_MAX  16
#define GREET_MS      10000
#define ENDERS_MAX    4
#define TELL_EVERY_MS 5000 /* signs of life, and that this process lives */
#define TELL_MAX      1000 /* in one statement */

struct ended {
    struct ended *next;
    char *agent_id;
    char session_id[ID_LEN + 1];
};

/* ------------------------------------------------------------------ the table */

static struct session **bucket_of(const struct agent_sessions *all, const char *agent_id)
{
    size_t h = 5381;

    for (const char *p = agent_id; *p; p++)
        h = h * 33 + (unsigned char)*p;
    return &all->bucket[h & (BUCKETS - 1)];
}

struct session *sessions_live(const struct agent_sessions *all, const char *agent_id)
{
    for (struct session *s = *bucket_of(all, agent_id); s; s = s->next) {
        if (s->state == SESSION_LIVE && strcmp(s->agent_id, agent_id) == 0)
            return s;
    }
    return NULL;
}

struct session *sessions_find(const struct agent_sessions *all, const char *agent_id,
                              const char *session_id)
{
    for (struct session *s = *bucket_of(all, agent_id); s; s = s->next) {
        if (strcmp(s->id, session_id) == 0 && strcmp(s->agent_id, agent_id) == 0)
            return s;
    }
    return NULL;
}

size_t sessions_beginning(const struct agent_sessions *all, const char *agent_id)
{
    size_t n = 0;

    for (const struct session *s = *bucket_of(all, agent_id); s; s = s->next)
        n += s->state != SESSION_LIVE && strcmp(s->agent_id, agent_id) == 0;
    return n;
}

struct session *session_ref(struct session *s)
{
    CHECK_MAGIC(s, SESSION_MAGIC);
    s->refs++;
    return s;
}

struct session *session_unref(struct session *s)
{
    CHECK_MAGIC(s, SESSION_MAGIC);
    if (--s->refs > 0)
        return NULL;
    assert(!s->ws && !s->heard_since && !s->in_greeting);
    free(s->version);
    free(s->metadata);
    free(s->agent_id);
    free(s->cert_name);
    s->magic = 0;
    free(s);
    return NULL;
}

/* ------------------------------------------------------------------ time */

static int64_t silent_ms(const struct agent_sessions *all)
{
    return all->hub->settings->agent_heartbeat * MISSED_MAX;
}

static void arm(struct agent_sessions *all, int64_t at_mono_ms)
{
    int64_t ms = MAX(at_mono_ms - clock_mono_ms(), (int64_t)1);
    struct timeval tv = {.tv_sec = ms / 1000, .tv_usec = ms % 1000 * 1000};

    if (all->timer_mono_ms && all->timer_mono_ms <= at_mono_ms)
        return;
    all->timer_mono_ms = at_mono_ms;
    evtimer_add(all->timer, &tv);
}

/* Whoever is late is closed; the timer is set for the next one that could be. */
static void on_timer(evutil_socket_t fd, short what, void *arg)
{
    struct agent_sessions *all = arg;
    int64_t now = clock_mono_ms();
    struct session *s;

    (void)fd, (void)what;
    all->timer_mono_ms = 0;
    while ((s = TAILQ_FIRST(&all->by_hello)) && s->heard_mono_ms + HELLO_MS <= now)
        session_close(s, CLOSE_HELLO, "hello_late", "no hello came");
    if (s)
        arm(all, s->heard_mono_ms + HELLO_MS);
    while ((s = TAILQ_FIRST(&all->by_life)) && s->heard_mono_ms + silent_ms(all) <= now) {
        metric_add(all->hub->metrics, METRIC_AGENT_SILENT, 1);
        session_close(s, CLOSE_SILENT, "silent", "heartbeats were missed");
    }
    if (s)
        arm(all, s->heard_mono_ms + silent_ms(all));
}

static void note_heard(struct session *s)
{
    if (s->heard_since)
        return;
    s->heard_since = true;
    TAILQ_INSERT_TAIL(&s->all->heard, s, in_heard);
}

void session_heard(struct session *s)
{
    CHECK_MAGIC(s, SESSION_MAGIC);
    if (s->state != SESSION_GREETING && s->state != SESSION_LIVE)
        return;
    s->heard_mono_ms = clock_mono_ms();
    TAILQ_REMOVE(&s->all->by_life, s, by_life);
    TAILQ_INSERT_TAIL(&s->all->by_life, s, by_life);
    if (s->state == SESSION_LIVE)
        note_heard(s);
}

/* ------------------------------------------------------------------ the states */

void sessions_add(struct session *s)
{
    struct agent_sessions *all = s->all;
    struct session **b = bucket_of(all, s->agent_id);

    s->next = *b;
    *b = s;
    s->heard_mono_ms = clock_mono_ms();
    TAILQ_INSERT_TAIL(&all->by_hello, s, by_life);
    arm(all, s->heard_mono_ms + HELLO_MS);
    TAILQ_INSERT_TAIL(&all->connected, s, in_connected);
    all->n++;
    metric_add(all->hub->metrics, METRIC_AGENT_SESSIONS, 1);
}

void session_greets(struct session *s)
{
    struct agent_sessions *all = s->all;

    TAILQ_REMOVE(&all->by_hello, s, by_life);
    s->state = SESSION_GREETING;
    s->heard_mono_ms = clock_mono_ms();
    TAILQ_INSERT_TAIL(&all->by_life, s, by_life);
    arm(all, s->heard_mono_ms + silent_ms(all));
    s->in_greeting = true;
    session_ref(s);
    TAILQ_INSERT_TAIL(&all->greeting, s, in_greeting_list);
    sessions_greet(all);
}

void session_lives(struct session *s)
{
    assert(s->state == SESSION_GREETING);
    s->state = SESSION_LIVE;
}

static void end_later(struct session *s);

void session_ends(struct session *s)
{
    struct agent_sessions *all = s->all;
    struct session **p;

    if (s->state != SESSION_OVER) {
        TAILQ_REMOVE(s->state == SESSION_NEW ? &all->by_hello : &all->by_life, s, by_life);
        for (p = bucket_of(all, s->agent_id); *p != s; p = &(*p)->next)
            ;
        *p = s->next;
        if (s->heard_since)
            TAILQ_REMOVE(&all->heard, s, in_heard);
        s->heard_since = false;
        s->state = SESSION_OVER;
    }
    if (s->in_greeting) {
        s->in_greeting = false;
        TAILQ_REMOVE(&all->greeting, s, in_greeting_list);
        session_unref(s);
    }
    if (s->begun && !all->stopping)
        end_later(s);
    s->begun = false;
}

void session_gone(struct session *s)
{
    struct agent_sessions *all = s->all;

    TAILQ_REMOVE(&all->connected, s, in_connected);
    metric_add(all->hub->metrics, METRIC_AGENT_SESSIONS, -1);
    if (--all->n == 0)
        waitq_wake_all(&all->empty);
    session_unref(s);
}

/* ------------------------------------------------------------------ greeting */

static rc greet(struct cx *cx, void *arg)
{
    struct session *s = arg;
    struct agent_sessions *all = s->all;

    if (s->state == SESSION_GREETING)
        session_greet(cx, s); /* what it fails with, it has said */
    session_unref(s);
    all->greeters--;
    sessions_greet(all);
    return OK;
}

/* A few at once: when a hub was restarted, thousands come back in the same second. */
void sessions_greet(struct agent_sessions *all)
{
    struct session *s;

    while (all->registered && !all->stopping && all->greeters < GREETERS_MAX &&
           (s = TAILQ_FIRST(&all->greeting))) {
        TAILQ_REMOVE(&all->greeting, s, in_greeting_list);
        s->in_greeting = false;
        all->greeters++;
        fiber_detach(fiber_spawn(
            &(struct fiber_opts){.name = "agents.greet", .timeout_ms = GREET_MS}, greet, s));
    }
}

/* ------------------------------------------------------------------ ends */

/* Until PostgreSQL knows, requests are given to an agent that is not there. */
static rc tell_ends(struct cx *cx, void *arg)
{
    struct agent_sessions *all = arg;
    rc r = OK;

    while (r == OK && all->ended && !all->stopping) {
        struct ended *e = all->ended;
        int64_t pause = 50;

        all->ended = e->next;
        while ((r = agent_session_end(cx, all->hub->db, e->agent_id, e->session_id)) != OK &&
               r != E_CANCELLED && !all->stopping) {
            log_fail(LOG_WARN, "agent.end_not_told", cx, r, kv_str("agent", e->agent_id));
            pause = MIN(2 * pause, (int64_t)STORE_PAUSE_MS);
            if ((r = fiber_sleep(cx, pause)) != OK)
                break;
        }
        free(e->agent_id);
        free(e);
    }
    all->enders--;
    return r;
}

static void end_later(struct session *s)
{
    struct agent_sessions *all = s->all;
    struct ended *e = xcalloc(1, sizeof *e);

    e->agent_id = xstrdup(s->agent_id);
    memcpy(e->session_id, s->id, sizeof e->session_id);
    e->next = all->ended;
    all->ended = e;
    if (all->enders >= ENDERS_MAX)
        return;
    all->enders++;
    fiber_detach(fiber_spawn(&(struct fiber_opts){.name = "agents.end"}, tell_ends, all));
}

/* ------------------------------------------------------------------ signs of life */

/* The agent's row knows another session, or none: whoever tells us so was not heard. Or it knows this one, and nothing permits it
 * any more. */
static void lose(struct cx *cx, struct session *s)
{
    struct agent a;
    rc r = agent_get(cx, s->all->hub->db, NULL, s->agent_id, &a);

    if (r == OK && a.enabled && str_eq(a.session_id, s->id))
        session_close(s, CLOSE_REVOKED, "revoked",
                      "the token's time is over, or its tenant is off");
    else if (r == OK && a.session_id && !str_eq(a.session_id, s->id))
        session_close(s, CLOSE_SUPERSEDED, "superseded", "the agent has a newer session");
    else if (r == OK && !a.enabled)
        session_close(s, CLOSE_REVOKED, "revoked", "the agent is disabled");
    else /* the next hello tells why */
        session_close(s, WEBSOCKET_GOING_AWAY, "session_lost", "connect again");
}

struct told {
    struct session **sessions;
    const char **agents, **ids, **tokens;
    size_t n;
};

static struct told told_new(struct cx *cx)
{
    return (struct told){
        .sessions = arena_alloc(&cx->arena, TELL_MAX * sizeof(struct session *)),
        .agents = arena_alloc(&cx->arena, TELL_MAX * sizeof(char *)),
        .ids = arena_alloc(&cx->arena, TELL_MAX * sizeof(char *)),
        .tokens = arena_alloc(&cx->arena, TELL_MAX * sizeof(char *)),
    };
}

static void told_add(struct told *t, struct session *s)
{
    t->sessions[t->n] = s;
    t->agents[t->n] = s->agent_id;
    t->ids[t->n] = s->id;
    t->tokens[t->n++] = s->token_id;
}

/* PostgreSQL was away for long, or this process: it was taken for dead, and its agents for gone. Those that nobody else has got
 * since stay; without this ten thousand would come back at once. */
static rc regain(struct cx *cx, struct agent_sessions *all, const struct told *lost)
{
    bool *regained = arena_alloc(&cx->arena, TELL_MAX * sizeof *regained);
    size_t n = 0;

    try(agents_regain(cx, all->hub->db, all->hub->instance_id, lost->agents, lost->ids,
                      lost->tokens, lost->n, regained));
    for (size_t i = 0; i < lost->n; i++) {
        struct session *s = lost->sessions[i];

        n += regained[i];
        s->begun |= regained[i];
        if (!regained[i])
            lose(cx, s);
        else if (s->state == SESSION_OVER)
            session_ends(s); /* meanwhile: PostgreSQL must hear of it again */
    }
    if (n)
        log_ev(LOG_WARN, "agents.regained", kv_int("sessions", (int64_t)n));
    return OK;
}

/* One statement's worth of `heard`. */
static rc tell_some(struct cx *cx, struct agent_sessions *all)
{
    struct told told = told_new(cx), gone = told_new(cx);
    bool *lost = arena_alloc(&cx->arena, TELL_MAX * sizeof *lost);
    struct session *s;
    rc r;

    while (told.n < TELL_MAX && (s = TAILQ_FIRST(&all->heard))) {
        TAILQ_REMOVE(&all->heard, s, in_heard);
        s->heard_since = false;
        told_add(&told, session_ref(s));
    }
    r = agents_seen(cx, all->hub->db, told.agents, told.ids, told.n, lost);
    for (size_t i = 0; r == OK && i < told.n; i++) {
        if (lost[i] && told.sessions[i]->state == SESSION_LIVE)
            told_add(&gone, told.sessions[i]);
    }
    if (r == OK && gone.n)
        r = regain(cx, all, &gone);
    for (size_t i = 0; i < told.n; i++) {
        if (r != OK && told.sessions[i]->state == SESSION_LIVE)
            note_heard(told.sessions[i]);
        session_unref(told.sessions[i]);
    }
    return r;
}

/* Somebody's access has changed: each session is compared with its row, and with what its certificate stands for. */
static rc look_again(struct cx *cx, struct agent_sessions *all)
{
    struct session *s;
    rc r;

    all->doubt = false;
    TAILQ_FOREACH(s, &all->by_life, by_life)
    {
        if (s->state == SESSION_LIVE)
            note_heard(s);
    }
    r = certs_look_again(cx, all);
    all->doubt |= r != OK;
    return r;
}

/* Those that are heard again meanwhile wait for the next round: an agent that never stops talking costs one row in each, not as
 * many as PostgreSQL can write. */
static rc tell(struct cx *cx, void *arg)
{
    struct agent_sessions *all = arg;
    struct session *s;
    size_t n = 0;

    try(hub_instance_seen(cx, all->hub->db, all->hub->instance_id));
    if (!all->registered) {
        all->registered = true;
        sessions_greet(all);
    }
    if (all->doubt)
        try(look_again(cx, all));
    TAILQ_FOREACH(s, &all->heard, in_heard)
    n++;
    for (; n > 0 && !TAILQ_EMPTY(&all->heard); n -= MIN(n, (size_t)TELL_MAX))
        try(tell_some(cx, all));
    return OK;
}

/* A fiber of its own for each round, so that its memory ends with it. */
static rc keep_telling(struct cx *cx, void *arg)
{
    struct agent_sessions *all = arg;

    while (!all->stopping) {
        struct fiber_opts o = {.name = "agents.tell", .timeout_ms = TELL_EVERY_MS};
        rc r;

        try(fiber_join(cx, fiber_spawn(&o, tell, all), &r));
        if (r != OK)
            log_fail(LOG_WARN, "agents.not_told", cx, r);
        try(fiber_sleep(cx, r == OK || all->registered ? TELL_EVERY_MS : STORE_PAUSE_MS / 4));
    }
    return OK;
}

/* Somebody's access has changed: a token may be revoked, an agent disabled, and the note to us lost. */
static void on_change(const char *payload, void *arg)
{
    struct agent_sessions *all = arg;

    (void)payload;
    all->doubt = true;
}

static void on_gap(void *arg)
{
    on_change("", arg);
}

/* ------------------------------------------------------------------ all of them */

rc agent_sessions_new(struct cx *cx, struct hub *hub, struct agent_sessions **ret)
{
    struct agent_sessions *all = xcalloc(1, sizeof *all);
    rc r;

    all->hub = hub;
    all->bucket = xcalloc(BUCKETS, sizeof(struct session *));
    TAILQ_INIT(&all->connected);
    TAILQ_INIT(&all->by_hello);
    TAILQ_INIT(&all->by_life);
    TAILQ_INIT(&all->heard);
    TAILQ_INIT(&all->greeting);
    all->reports_tail = &all->reports;
    all->timer = evtimer_new(loop_base(), on_timer, all);
    if (!all->timer)
        abort(); /* out of memory */
    r = inbox_start(cx, all);
    if (r != OK) {
        agent_sessions_free(all);
        return r;
    }
    all->changes = pg_listen(hub->db, "mw_access", on_change, on_gap, all);
    fiber_detach(
        fiber_spawn(&(struct fiber_opts){.name = "agents.keep_telling"}, keep_telling, all));
    *ret = all;
    return OK;
}

static rc wait_stored(struct cx *cx, struct agent_sessions *all, int64_t ms)
{
    _cleanup_(cx_deadline_restore) struct cx_deadline d = cx_deadline_within(cx, ms);

    while (all->reports || all->storing)
        try(waitq_wait(cx, &all->stored));
    return OK;
}

static rc wait_empty(struct cx *cx, struct agent_sessions *all, int64_t ms)
{
    _cleanup_(cx_deadline_restore) struct cx_deadline d = cx_deadline_within(cx, ms);

    while (all->n)
        try(waitq_wait(cx, &all->empty));
    return OK;
}

static void close_all(struct agent_sessions *all, struct session_list *list)
{
    struct session *s;

    while ((s = TAILQ_FIRST(list)))
        session_close(s, WEBSOCKET_GOING_AWAY, "going_away", "this hub ends: connect again");
}

void agent_sessions_drain(struct cx *cx, struct agent_sessions *all, int64_t grace_ms)
{
    rc r;

    inbox_stop(all);
    wait_stored(cx, all, grace_ms / 4); /* what is not stored is said again, elsewhere */
    all->stopping = true;
    close_all(all, &all->by_hello);
    close_all(all, &all->by_life);
    wait_empty(cx, all, grace_ms / 2);
    if (!all->registered)
        return;
    _cleanup_(cx_deadline_restore) struct cx_deadline d = cx_deadline_within(cx, grace_ms / 4);
    r = hub_instance_gone(cx, all->hub->db, all->hub->instance_id);
    if (r != OK) /* the sweep finds its agents in HUB_DEAD_MS */
        log_fail(LOG_WARN, "agents.hub_end_not_told", cx, r);
}

struct agent_sessions *agent_sessions_free(struct agent_sessions *all)
{
    struct ended *e;
    struct session *s;

    if (!all)
        return NULL;
    all->stopping = true;
    results_free(all);
    while ((s = TAILQ_FIRST(&all->connected))) { /* did not hang up in time */
        session_ends(s);
        s->ws = websocket_free(s->ws);
        session_gone(s);
    }
    while ((e = all->ended)) {
        all->ended = e->next;
        free(e->agent_id);
        free(e);
    }
    pg_listen_free(all->changes);
    redis_free(all->blocking);
    event_free(all->timer);
    free(all->bucket);
    free(all);
    return NULL;
}
