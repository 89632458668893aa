/* test_agent.c - the protocol's engine in this process, before a stand-in for the hub: places, deadlines, bounds, piles. */
#include "agent/agent.h"
#include "base/clock.h"
#include "base/text.h"
#include "rt/waitq.h"
#include "tests/sim/hub_door.h"
#include "tests/support/on_fiber.h"
#include "tests/unit/ca_folder.h"

#define A "01990000-0000-7000-8000-00000000000a"
#define B "01990000-0000-7000-8000-00000000000b"
#define C "01990000-0000-7000-8000-00000000000c"

struct world {
    struct folder *f;
    struct hub_door *door;
    struct journal *journal;
    struct agent *agent;
    char url[64];
    const char *urls[1];
    bool blocked; /* commands wait */
    struct waitq released;
    int running, most, carried_out;
};

/* "hold" waits until it is released, "slow" until its deadline, "refuse" fails, "large" says a lot. */
static rc carry_out(struct cx *cx, const struct agent_command *c, struct outcome *ret, void *arg)
{
    struct world *w = arg;
    rc r = OK;

    w->running++;
    w->carried_out++;
    w->most = MAX(w->most, w->running);
    while (r == OK && str_eq(c->name, "hold") && w->blocked)
        r = waitq_wait(cx, &w->released);
    if (str_eq(c->name, "slow"))
        r = fiber_sleep(cx, 3600000);
    if (str_eq(c->name, "refuse"))
        r = fail(cx, CONFLICT, "it stands already");
    if (str_eq(c->name, "large")) {
        char *text = xcalloc(1, 300001);
        cJSON_AddStringToObject(ret->response, "text", memset(text, 'x', 300000));
        free(text);
    }
    w->running--;
    return r;
}

static void release(struct world *w)
{
    w->blocked = false;
    waitq_wake_all(&w->released);
}

static rc token(struct cx *cx, char *out, size_t n, void *arg)
{
    snprintf(out, n, "mwa_x");
    return OK;
}

static rc meet(struct cx *cx, struct world *w, struct journal_opts bounds)
{
    try(journal_open(cx, w->f->dir, &bounds, &w->journal));
    try(hub_door_new(cx, NULL, 0, &w->door));
    snprintf(w->url, sizeof w->url, "ws://127.0.0.1:%d", hub_door_port(w->door));
    w->urls[0] = w->url;
    w->blocked = true;
    w->agent = agent_new(&(struct agent_opts){.uplink = {.urls = w->urls,
                                                         .url_count = 1,
                                                         .agent_id = "a1",
                                                         .min_ms = 10,
                                                         .max_ms = 50,
                                                         .token = token},
                                              .version = "1",
                                              .metadata = "{}",
                                              .journal = w->journal,
                                              .concurrency = 2,
                                              .waiting_max = 2,
                                              .repeat_ms = 100,
                                              .carry_out = carry_out,
                                              .arg = w});
    door_wait(cx, w->door->welcomed == 1);
    return OK;
}

static void part(struct cx *cx, struct world *w)
{
    agent_stop(cx, w->agent, 0);
    agent_free(w->agent);
    hub_door_free(w->door);
}

#define acks(w, job)            hub_door_count((w)->door, "ack", job)
#define results(w, job)         hub_door_count((w)->door, "result", job)
#define result_text(w, job, at) hub_door_text((w)->door, "result", job, at)

/* ---------------------------------------------------------------- places */

static rc two_at_once(struct cx *cx, void *arg)
{
    struct world *w = arg;
    char jobs[4][ID_LEN + 1], beyond[ID_LEN + 1];

    try(meet(cx, w, (struct journal_opts){0}));
    for (int i = 0; i < 4; i++)
        hub_door_command(w->door, id_new(jobs[i]), "hold", "{}", 60000);
    door_wait(cx, acks(w, NULL) == 4 && w->running == 2);
    hub_door_command(w->door, jobs[3], "hold", "{}", 60000); /* it waits for a place already */
    hub_door_command(w->door, id_new(beyond), "hold", "{}", 60000);
    hub_door_command(w->door, jobs[0], "hold", "{}", 60000);
    door_wait(cx, acks(w, jobs[0]) == 2);
    ck_assert_int_eq(acks(w, jobs[3]), 2);
    ck_assert_int_eq(acks(w, beyond),
                     0); /* it has no place, and none to wait in: the hub sends it again */
    release(w);
    door_wait(cx, results(w, NULL) == 4);
    hub_door_command(w->door, beyond, "hold", "{}", 60000);
    door_wait(cx, results(w, beyond) == 1);
    ck_assert_int_eq(w->most, 2);
    ck_assert_int_eq(w->carried_out, 5);
    part(cx, w);
    return OK;
}

/* What found no place in its time was never begun: it may come again. */
static rc no_place_in_time(struct cx *cx, void *arg)
{
    struct world *w = arg;

    try(meet(cx, w, (struct journal_opts){0}));
    hub_door_command(w->door, A, "hold", "{}", 60000);
    hub_door_command(w->door, B, "hold", "{}", 60000);
    door_wait(cx, w->running == 2);
    hub_door_command(w->door, C, "hold", "{}", 50);
    door_wait(cx, acks(w, C) == 1);
    try(fiber_sleep(cx, 100)); /* past its time */
    release(w);
    door_wait(cx, results(w, NULL) == 2);
    ck_assert_ptr_null(journal_find(w->journal, C));
    hub_door_command(w->door, C, "hold", "{}", 60000);
    door_wait(cx, results(w, C) == 1);
    ck_assert_int_eq(w->carried_out, 3);
    part(cx, w);
    return OK;
}

/* ---------------------------------------------------------------- ends */

static rc ends(struct cx *cx, void *arg)
{
    struct world *w = arg;

    try(meet(cx, w, (struct journal_opts){0}));
    hub_door_command(w->door, A, "slow", "{}", 50);
    hub_door_command(w->door, B, "refuse", "{}", 60000);
    hub_door_command(w->door, C, "large", "{}", 60000);
    door_wait(cx, results(w, A) && results(w, B) && results(w, C));
    ck_assert_str_eq(result_text(w, A, "response.error.code"), "time_limit");
    ck_assert_str_eq(result_text(w, B, "response.error.code"), "conflict");
    ck_assert_str_eq(result_text(w, B, "response.error.message"), "it stands already");
    ck_assert_str_eq(result_text(w, C, "response.error.code"), "too_large");
    ck_assert_str_eq(result_text(w, C, "status"), "failed");
    part(cx, w);
    return OK;
}

/* A command that is under way when the agent stops is nobody's guess: the next life says so. */
static rc stopped(struct cx *cx, void *arg)
{
    struct world *w = arg;

    try(meet(cx, w, (struct journal_opts){0}));
    hub_door_command(w->door, A, "slow", "{}", 60000);
    door_wait(cx, w->running == 1);
    agent_stop(cx, w->agent, 10);
    ck_assert_int_eq(journal_find(w->journal, A)->state, JOURNAL_BEGUN);
    ck_assert_int_eq(w->door->open, 0);
    agent_free(w->agent);
    hub_door_free(w->door);
    return OK;
}

/* ---------------------------------------------------------------- results that are owed */

static rc full_of_results(struct cx *cx, void *arg)
{
    struct world *w = arg;

    w->blocked = false;
    try(meet(cx, w, (struct journal_opts){.entries_max = 1}));
    release(w);
    w->door->no_result_ack = true;
    hub_door_command(w->door, A, "hold", "{}", 60000);
    door_wait(cx, results(w, A) >= 2); /* repeated */
    hub_door_command(w->door, B, "hold", "{}", 60000);
    door_wait(cx, results(w, B) == 1);
    ck_assert_str_eq(result_text(w, B, "response.error.code"), "not_begun");
    ck_assert_int_eq(w->carried_out, 1);
    w->door->no_result_ack = false;
    door_wait(cx, journal_find(w->journal, A)->state == JOURNAL_ACKED);
    hub_door_command(w->door, C, "hold", "{}", 60000);
    door_wait(cx,
              journal_find(w->journal, C) && journal_find(w->journal, C)->state == JOURNAL_ACKED);
    hub_door_command(w->door, B, "hold", "{}",
                     60000); /* behind its result nothing of the others is on its way */
    door_wait(cx, results(w, B) >= 2);
    ck_assert_str_eq(result_text(w, B, "response.error.code"),
                     "not_begun"); /* what was told stays true */
    ck_assert_int_eq(w->carried_out, 2);
    int said = results(w, A) + results(w, C);
    try(fiber_sleep(cx, 250)); /* more than two repeats */
    ck_assert_int_eq(results(w, A) + results(w, C), said);
    part(cx, w);
    return OK;
}

#define PILE 3000

/* More than the connection takes at once, and another agent's among them. */
static void pile_up(struct folder *f)
{
    FILE *out = fopen(folder_path(f, "journal"), "w");
    char id[ID_LEN + 1], text[1001];

    memset(text, 'x', 1000);
    text[1000] = 0;
    for (int i = 0; i < PILE; i++) {
        id_new(id);
        ck_assert(
            fprintf(
                out,
                "{\"at\":1,\"job\":\"%s\",\"agent\":\"%s\",\"begun\":\"x\"}\n"
                "{\"at\":2,\"job\":\"%s\",\"done\":\"completed\",\"response\":{\"text\":\"%s\"}}\n",
                id, i % 3 ? "a1" : "a2", id, text) > 0);
    }
    ck_assert_int_eq(fclose(out), 0);
}

static rc pile(struct cx *cx, void *arg)
{
    struct world *w = arg;

    pile_up(w->f);
    try(meet(cx, w, (struct journal_opts){0}));
    door_wait(cx, !journal_next_unacked(w->journal, "a1", NULL));
    ck_assert_int_ge(results(w, NULL), PILE / 3 * 2);
    ck_assert_int_eq(w->door->lost, 0);
    ck_assert_ptr_nonnull(journal_next_unacked(w->journal, "a2", NULL));
    part(cx, w);
    return OK;
}

/* ---------------------------------------------------------------- the rows */

static const fiber_fn bodies[] = {two_at_once, no_place_in_time, ends,
                                  stopped,     full_of_results,  pile};

START_TEST(engine)
{
    _folder_ f = folder_new();
    struct world w = {.f = &f};

    ck_assert_int_eq(on_fiber(bodies[_i], &w), OK);
    journal_close(w.journal);
}
END_TEST

UNIT(agent, {"engine", engine, COUNT(bodies)})
