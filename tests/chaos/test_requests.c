/* test_requests.c - commands to many agents through three hubs while everything is killed; then the
 * books are compared.
 *
 *   poster ---- POST, by id, by type, by match ----> hub, hub-b, hub-c        worker, beat
 *                                                      |  sessions
 *   fleet  ---- agents with the journal of the real one: its ledger says what was carried out
 *   reaper ---- kill -9, a moment, up again ---->  each hub, worker, beat, the fleet, Redis,
 *                                                  PostgreSQL; FLUSHALL
 *
 * At the end, with everything up and quiet, each accepted request is completed and its command was
 * carried out exactly once, or it is failed as "interrupted" (its agent was killed over it) and was
 * carried out at most once. Each has one row in the black box, whose chain is whole. Then a superuser changes one row with the triggers off, and `mihwar audit verify`
 * must name it.
 *
 * MIHWAR_CHAOS_SEED repeats a run's choices (not its races); MIHWAR_CHAOS_AGENTS,
 * MIHWAR_CHAOS_REQUESTS change the numbers. */
#include "base/buf.h"
#include "base/id.h"
#include "tests/chaos/poster.h"
#include "tests/chaos/trouble.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SETTLE_MS 150000
#define SITES     8

static struct house h;
static int agents = 100;

static int from_environment(const char *name, int otherwise)
{
    const char *n = getenv(name);

    return n ? atoi(n) : otherwise;
}

/* ---------------------------------------------------------------- the fleet */

static struct proc *fleet;
static char roster[128], ledger[128], state[128];

static bool all_connected(void)
{
    const char *n =
        pg_try(h.stores.database_url, NULL, "SELECT count(*) FROM agents WHERE status = 'active'");

    return n && atoi(n) == agents;
}

/* Commands take up to 200 ms; now and then an agent cuts its connection under one, or says a result
 * twice. */
static void fleet_up(void)
{
    const char *argv[] = {built("tests/sim/sim-fleet"),
                          "--agents",
                          roster,
                          "--state",
                          state,
                          "--ledger",
                          ledger,
                          "--url",
                          house_hub_url(&h, HUB),
                          "--url",
                          house_hub_url(&h, HUB_B),
                          "--url",
                          house_hub_url(&h, HUB_C),
                          "--delay",
                          "200ms",
                          "--drop",
                          "0.05",
                          "--twice",
                          "0.05",
                          "--ramp",
                          "2s",
                          "--reconnect-max",
                          "1s",
                          NULL};
    fleet = proc_start(&(struct proc_opts){.name = "fleet", .argv = argv});
}

static void fleet_kill(void)
{
    proc_kill9(fleet);
    fleet = proc_free(fleet);
}

/* Half of them are of each type; every site has some of both. */
static void provision(void)
{
    FILE *f = fopen(roster, "we");

    ck_assert(f != NULL);
    for (int i = 0; i < agents; i++) {
        char body[256];
        snprintf(body, sizeof(body),
                 "{\"agent_id\":\"cpe-%d\",\"agent_type\":\"%s\",\"metadata\":{\"site\":\"s%d\"}}",
                 i, i % 2 ? "core" : "cpe", i / 2 % SITES);
        _cleanup_(web_reply_release) struct web_reply made = house_post(&h, "/v1/agents", body);
        ck_assert_msg(made.status == 201, "%d %s", made.status, made.body);
        snprintf(body, sizeof(body), "/v1/agents/cpe-%d/tokens", i);
        _cleanup_(web_reply_release) struct web_reply token = house_post(&h, body, "{}");
        ck_assert_msg(token.status == 201, "%d %s", token.status, token.body);
        fprintf(f, "cpe-%d %s\n", i, web_text(&token, "token"));
    }
    ck_assert_int_eq(fclose(f), 0);
}

/* ---------------------------------------------------------------- who sends */

static void request_body(int i, char *ret, size_t size)
{
    char who[96];

    switch (i % 3) {
    case 0:
        snprintf(who, sizeof(who), "\"agent_id\":\"cpe-%d\"", i * 7 % agents);
        break;
    case 1:
        snprintf(who, sizeof(who), "\"agent_type\":\"%s\"", i % 2 ? "core" : "cpe");
        break;
    default:
        snprintf(who, sizeof(who), "\"match\":{\"site\":\"s%d\"}", i % SITES);
    }
    snprintf(ret, size, "{\"command\":\"get_status\",%s,\"payload\":{\"n\":%d},\"timeout_ms\":%d}",
             who, i, SETTLE_MS);
}

static struct poster poster = {
    .path = "/v1/requests", .id_field = "request_id", .accepted_status = 202, .body = request_body};

static int64_t accepted(void)
{
    return poster_accepted(&poster);
}

static int64_t ended(void)
{
    const char *n = pg_try(h.stores.database_url, NULL,
                           "SELECT count(*) FROM requests WHERE completed_at IS NOT NULL");

    return n ? atoll(n) : -1;
}

/* ---------------------------------------------------------------- who kills */

static struct troubles troubles = {
    .house = &h, .noun = "command", .ended = ended, .accepted = accepted};

static void round_of_troubles(void)
{
    enum part victims[] = {HUB, HUB_B, HUB_C, WORKER, BEAT, REDIS, PG};

    trouble_each(&troubles, victims, COUNT(victims));
    trouble_kill_child(&troubles, HUB_B);
    trouble_kill_child(&troubles, WORKER);
    fleet_kill();
    support_nap(between(100, 500));
    fleet_up();
    trouble_note(&troubles, "kill -9 the agents");
}

/* ---------------------------------------------------------------- the books */

static int by_text(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

/* The lines of a text, sorted; they point into it. */
static char **lines_of(char *text, size_t *ret_n)
{
    size_t n = 0, room = 1;
    for (const char *c = text; *c; c++)
        room += *c == '\n';
    char **lines = xcalloc(room, sizeof(*lines));
    for (char *line = text, *end; (end = strchr(line, '\n')); line = end + 1) {
        *end = '\0';
        lines[n++] = line;
    }
    qsort(lines, n, sizeof(*lines), by_text);
    *ret_n = n;
    return lines;
}

/* What the fleet carried out: one line a command, its job id. */
static char *carried_out(void)
{
    struct buf b = BUF(MiB(16));
    char line[512];
    FILE *f = fopen(ledger, "re");

    ck_assert(f != NULL);
    while (fgets(line, sizeof(line), f))
        buf_printf(&b, "%.36s\n", line);
    fclose(f);
    return buf_take(&b);
}

struct books {
    int completed, interrupted, timeouts; /* requests */
    int lost, twice, wrong; /* not final; carried out more than once; ended otherwise than it may */
};

static struct books compare_books(void)
{
    struct books b = {0};
    size_t n_done, n_asked, d = 0;
    _cleanup_(freep) char *done_text = carried_out();
    _cleanup_(freep) char *asked_text =
        pg_table(h.stores.database_url,
                 "SELECT job_id, CASE WHEN completed_at IS NULL THEN 'lost' WHEN status = 'failed' "
                 "THEN coalesce(error_code, 'failed') ELSE status END FROM requests");
    _cleanup_(freep) char **done = lines_of(done_text, &n_done);
    _cleanup_(freep) char **asked = lines_of(asked_text, &n_asked);

    ck_assert_int_eq((int)n_asked, poster.n);
    for (size_t i = 0; i < n_asked; i++) {
        const char *end = strchr(asked[i], '|') + 1;
        int times = 0;
        while (d < n_done && strncmp(done[d], asked[i], ID_LEN) < 0)
            d++;
        for (; d < n_done && strncmp(done[d], asked[i], ID_LEN) == 0; d++)
            times++;
        bool completed = strcmp(end, "completed") == 0, lost = strcmp(end, "lost") == 0;
        bool interrupted = strcmp(end, "interrupted") == 0, timeout = strcmp(end, "timeout") == 0;
        bool wrong = completed ? times == 0 : !interrupted && !timeout && !lost;
        b.completed += completed;
        b.interrupted += interrupted;
        b.timeouts += timeout;
        b.lost += lost;
        b.twice += times > 1;
        b.wrong += wrong;
        if (lost || times > 1 || wrong)
            printf("chaos: WRONG: job %s, carried out %d times\n", asked[i], times);
    }
    return b;
}

static void print_slowest(void)
{
    _cleanup_(freep) char *slow =
        pg_table(h.stores.database_url, "SELECT r.request_id, r.assigned_agent_id, r.status, "
                                        "r.sends, r.completed_at - r.created_at, "
                                        "coalesce(string_agg(to_char(e.at, 'MI:SS.MS') || ' ' || "
                                        "e.step || coalesce(' (' || e.detail || ')', "
                                        "''), ', ' ORDER BY e.id), '-') FROM requests r LEFT JOIN "
                                        "request_events e USING (request_id) "
                                        "WHERE r.completed_at IS NOT NULL GROUP BY r.request_id "
                                        "ORDER BY r.completed_at - r.created_at DESC "
                                        "LIMIT 3");
    printf("chaos: slowest from POST to the end:\n%s", slow);
}

/* ---------------------------------------------------------------- the black box */

static int verify(char **ret_out)
{
    return house_cli(&h, ret_out, "audit", "verify", NULL);
}

static void black_box_holds(void)
{
    _cleanup_(freep) char *whole = NULL, *broken = NULL, *mended = NULL;
    const char *db = h.stores.database_url;

    ck_assert_int_eq(pg_one_int(db, "SELECT count(*) FROM command_history"), poster.n);
    ck_assert_int_eq(
        pg_one_int(
            db, "SELECT count(*) FROM requests r WHERE NOT EXISTS (SELECT FROM command_history c "
                "WHERE c.job_id = r.job_id AND c.status = r.status)"),
        0);
    ck_assert_msg(verify(&whole) == 0, "%s", whole);

    /* A superuser, with the triggers off, takes something back. */
    int64_t seq = between(1, poster.n);
    const char *job =
        pg_one(db, "SELECT job_id FROM command_history WHERE seq = %lld", (long long)seq);
    pg_one(db,
           "SET session_replication_role = replica; UPDATE command_history SET requested_by = "
           "'nobody' "
           "WHERE seq = %lld RETURNING 1",
           (long long)seq);
    ck_assert_int_eq(verify(&broken), 1);
    ck_assert_msg(strstr(broken, job) != NULL, "%s is not named: %s", job, broken);
    printf("chaos: a row was changed: %s", broken);
}

START_TEST(requests)
{
    troubles_seed("MIHWAR_CHAOS_SEED");
    poster.n = from_environment("MIHWAR_CHAOS_REQUESTS", 240);
    poster.pace_ms = from_environment("MIHWAR_CHAOS_PACE", 40);
    for (int i = 0; i < 3; i++)
        snprintf(poster.urls[i], sizeof(poster.urls[i]), "%s", house_hub_url(&h, HUB + i));
    snprintf(poster.key, sizeof(poster.key), "%s", h.key);
    provision();
    fleet_up();
    ck_wait(all_connected(), 60000);

    poster_start(&poster);
    ck_wait(ended() > 3 || poster.broken, 30000);
    do
        round_of_troubles();
    while (accepted() < poster.n && !poster.broken);
    int tries = poster_join(&poster);

    if (!wait_until(ended() == poster.n, SETTLE_MS)) {
        _cleanup_(freep) char *open = pg_table(
            h.stores.database_url,
            "SELECT r.request_id, r.status, r.assigned_agent_id, r.sends, r.created_at, a.status, "
            "a.hub_instance_id, j.state, j.run_at, j.last_error FROM requests r LEFT JOIN agents a "
            "ON a.agent_id = "
            "r.assigned_agent_id LEFT JOIN jobs j ON j.id = r.job_id WHERE r.completed_at IS NULL");
        printf("chaos: not settled after %d s:\n%s", SETTLE_MS / 1000, open);
    }
    print_slowest();
    struct books b = compare_books();
    printf(
        "chaos: %d agents, %d accepted (%d POSTs), %d completed, %d interrupted, %d timeouts; %d "
        "lost, %d twice, "
        "%d wrong; longest wait for the next end: %d ms after %s\n",
        agents, poster.n, tries, b.completed, b.interrupted, b.timeouts, b.lost, b.twice, b.wrong,
        troubles.longest_ms, troubles.longest_after);
    fflush(stdout);
    ck_assert_int_eq(b.lost + b.twice + b.wrong, 0);
    ck_assert_int_eq(b.timeouts, 0); /* nobody was given so little time */
    black_box_holds();
}
END_TEST

int main(void)
{
    static const char *const env[] = {
        "MIHWAR_AGENT_HEARTBEAT=2s",
        "MIHWAR_REQUEST_RESEND=1s",
        "MIHWAR_INJECT=ack_lost:3,push_lost:2,redis_drop_reply:2",
        NULL,
    };
    Suite *s = suite_create("chaos_requests");
    TCase *tc = tcase_create("chaos_requests");
    tcase_add_test(tc, requests);
    suite_add_tcase(s, tc);
    agents = from_environment("MIHWAR_CHAOS_AGENTS", agents);
    house_start(&h, &(struct stores_opts){.durable = true}, env);
    house_up(&h, HUB_B);
    house_up(&h, HUB_C);
    snprintf(roster, sizeof(roster), "%s/roster", support_dir());
    snprintf(ledger, sizeof(ledger), "%s/ledger", support_dir());
    snprintf(state, sizeof(state), "%s/state", support_dir());
    int failed = suite_run_unforked(s);
    if (fleet)
        fleet_kill();
    failed += house_stop(&h);
    return support_end(failed);
}
