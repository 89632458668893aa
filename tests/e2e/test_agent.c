/* test_agent.c - mihwar-agent and the fleet as processes, before a stand-in for the hub that is on this test's own loop. */
#include "base/clock.h"
#include "base/id.h"
#include "secure/ca.h"
#include "secure/tls.h"
#include "tests/e2e/device.h"
#include "tests/sim/hub_door.h"
#include "tests/support/fibers.h"
#include <string.h>
#include <unistd.h>

struct world {
    struct hub_door *door;
    struct device d;
    struct proc *fleet;
    char job[ID_LEN + 1];
};
/* A door, and an agent that has been welcomed by it. */
static rc meet(struct cx *cx, struct world *w)
{
    char url[64];

    try(hub_door_new(cx, NULL, 0, &w->door));
    snprintf(url, sizeof url, "ws://127.0.0.1:%d", hub_door_port(w->door));
    device_make(&w->d, "a1", url, "mwa_abc\n", "");
    device_start(&w->d);
    door_wait(cx, w->door->welcomed == 1);
    id_new(w->job);
    return OK;
}

static void part(struct world *w)
{
    device_kill(&w->d);
    w->fleet = proc_free(w->fleet);
    w->door = hub_door_free(w->door);
}

#define results(w)           hub_door_count((w)->door, "result", (w)->job)
#define result_text(w, path) hub_door_text((w)->door, "result", (w)->job, path)

/* ---------------------------------------------------------------- what it says and does */

static rc says_hello(struct cx *cx, void *arg)
{
    struct world *w = arg;

    ck_assert_str_eq(w->door->agent_id, "a1");
    ck_assert_str_eq(w->door->bearer, "mwa_abc");
    ck_assert_str_eq(hub_door_text(w->door, "hello", NULL, "version"), MIHWAR_VERSION);
    ck_assert_str_eq(hub_door_text(w->door, "hello", NULL, "metadata.site"), "12");
    ck_assert_str_eq(hub_door_text(w->door, "hello", NULL, "metadata.type"), "cpe");
    return OK;
}

static rc carries_out(struct cx *cx, void *arg)
{
    struct world *w = arg;

    hub_door_command(w->door, w->job, "get_status", "{}", 10000);
    door_wait(cx, results(w) == 1);
    ck_assert_int_eq(hub_door_count(w->door, "ack", w->job), 1);
    ck_assert_str_eq(result_text(w, "status"), "completed");
    ck_assert_str_ne(result_text(w, "response.memory.total"), "");
    ck_assert_str_ne(result_text(w, "response.load.0"), "");

    id_new(w->job);
    hub_door_command(w->door, w->job, "echo", "{\"a\":[1,\"\\u00e9\"]}", 10000);
    door_wait(cx, results(w) == 1);
    ck_assert_str_eq(result_text(w, "response.output.a.1"), "\xc3\xa9");

    id_new(w->job);
    hub_door_command(w->door, w->job, "format_disk", "{}", 10000);
    door_wait(cx, results(w) == 1);
    ck_assert_str_eq(result_text(w, "status"), "failed");
    ck_assert_str_eq(result_text(w, "response.error.code"), "not_allowed");
    return OK;
}

/* The same command, again and again, before, while and after it runs. */
static rc never_twice(struct cx *cx, void *arg)
{
    struct world *w = arg;

    for (int i = 0; i < 5; i++)
        hub_door_command(w->door, w->job, "slow", "{}", 30000);
    door_wait(cx, device_marks(&w->d) == 1);
    hub_door_command(w->door, w->job, "slow", "{}", 30000);
    door_wait(cx, hub_door_count(w->door, "ack", w->job) == 6);
    ck_assert_int_eq(results(w), 0);
    device_let_go(&w->d);
    door_wait(cx, results(w) == 1);
    ck_assert_str_eq(result_text(w, "response.output"), "done\n");
    hub_door_command(w->door, w->job, "slow", "{}",
                     30000); /* its result was acknowledged; it is kept all the same */
    door_wait(cx, results(w) == 2);
    hub_door_cut(w->door);
    door_wait(cx, w->door->welcomed == 2);
    hub_door_command(w->door, w->job, "slow", "{}", 30000);
    door_wait(cx, results(w) == 3);
    ck_assert_int_eq(device_marks(&w->d), 1);
    return OK;
}

/* A result goes out again until the hub has it, over any loss, and not after. */
static rc until_acknowledged(struct cx *cx, void *arg)
{
    struct world *w = arg;

    w->door->no_result_ack = true;
    hub_door_command(w->door, w->job, "mark", "{}", 10000);
    door_wait(cx, results(w) == 1);
    hub_door_cut_in_frame(w->door);
    door_wait(cx, results(w) == 2);
    hub_door_close(w->door, 1001);
    door_wait(cx, results(w) == 3);
    door_wait(cx, results(w) == 4); /* in the same session: 10 s later */
    device_kill(&w->d);
    device_start(&w->d);
    door_wait(cx, results(w) == 5);
    w->door->no_result_ack = false;
    hub_door_result_ack(w->door, w->job);
    for (int session = 1; session <= 2;
         session++) { /* what was owed would come before another result */
        char other[ID_LEN + 1];
        int known = w->door->welcomed;
        hub_door_command(w->door, id_new(other), "get_status", "{}", 10000);
        door_wait(cx, hub_door_count(w->door, "result", other) == 1);
        hub_door_cut(w->door);
        door_wait(cx, w->door->welcomed == known + 1);
    }
    ck_assert_int_eq(results(w), 5);
    ck_assert_int_eq(device_marks(&w->d), 1);
    return OK;
}

/* The hub goes away while a command runs, and comes back on the same port after the command has ended. */
static rc hub_restarts(struct cx *cx, void *arg)
{
    struct world *w = arg;
    int port = hub_door_port(w->door);

    hub_door_command(w->door, w->job, "slow", "{}", 30000);
    door_wait(cx, device_marks(&w->d) == 1);
    w->door = hub_door_free(w->door);
    device_let_go(&w->d);
    try(fiber_sleep(cx, 300)); /* time for attempts that are refused; nothing depends on how many */
    try(hub_door_new(cx, NULL, port, &w->door));
    door_wait(cx, results(w) == 1);
    ck_assert_str_eq(result_text(w, "status"), "completed");
    return OK;
}

/* kill -9 in the middle of a command: the next life reports it, and does not run it again. */
static rc killed_mid_command(struct cx *cx, void *arg)
{
    struct world *w = arg;

    hub_door_command(w->door, w->job, "slow", "{}", 60000);
    door_wait(cx, device_marks(&w->d) == 1);
    device_kill(&w->d);
    device_start(&w->d);
    door_wait(cx, results(w) >= 1);
    ck_assert_str_eq(result_text(w, "status"), "failed");
    ck_assert_str_eq(result_text(w, "response.error.code"), "interrupted");
    hub_door_command(w->door, w->job, "slow", "{}", 60000);
    door_wait(cx, results(w) >= 2);
    ck_assert_str_eq(result_text(w, "response.error.code"), "interrupted");
    ck_assert_int_eq(device_marks(&w->d), 1);
    return OK;
}

static rc stopped_mid_command(struct cx *cx, void *arg)
{
    struct world *w = arg;

    hub_door_command(w->door, w->job, "slow", "{}", 60000);
    door_wait(cx, device_marks(&w->d) == 1);
    proc_signal(w->d.agent, SIGTERM);
    door_wait(cx, !proc_alive(w->d.agent));
    ck_assert_int_eq(proc_wait(w->d.agent, 0), 0);
    ck_assert_int_eq(w->door->close_code, 1001);
    device_kill(&w->d);
    device_start(&w->d);
    door_wait(cx, results(w) >= 1);
    ck_assert_str_eq(result_text(w, "response.error.code"), "interrupted");
    return OK;
}

static rc stopped_idle(struct cx *cx, void *arg)
{
    struct world *w = arg;

    proc_signal(w->d.agent, SIGTERM);
    door_wait(cx, !proc_alive(w->d.agent));
    ck_assert_int_eq(proc_wait(w->d.agent, 0), 0);
    door_wait(cx, w->door->lost == 1);
    ck_assert_int_eq(w->door->close_code, 1001);
    return OK;
}

/* ---------------------------------------------------------------- how it is sent away, and comes back */

static rc superseded(struct cx *cx, void *arg)
{
    struct world *w = arg;
    int64_t since = clock_mono_ms();

    hub_door_close(w->door, 4001);
    door_wait(cx, w->door->welcomed == 2);
    ck_assert_int_ge(clock_mono_ms() - since, 1400); /* superseded_wait, and not reconnect_max */
    return OK;
}

static rc revoked(struct cx *cx, void *arg)
{
    struct world *w = arg;

    hub_door_close(w->door, 4003);
    door_wait(cx, !proc_alive(w->d.agent));
    ck_assert_int_eq(proc_wait(w->d.agent, 0), 3);
    _cleanup_(freep) char *log = proc_log(w->d.agent);
    ck_assert_ptr_nonnull(strstr(log, "agent.revoked"));
    ck_assert_int_eq(w->door->asked, 1);
    return OK;
}

static rc told_when_to_come(struct cx *cx, void *arg)
{
    struct world *w = arg;
    int64_t since = clock_mono_ms();

    w->door->refuse_status = 503;
    w->door->retry_after_s = 2;
    hub_door_cut(w->door);
    door_wait(cx, w->door->asked == 2);
    w->door->refuse_status = 0;
    door_wait(cx, w->door->welcomed == 2);
    ck_assert_int_ge(clock_mono_ms() - since, 2000);
    return OK;
}

/* A new token in the file is used at the next attempt. */
static rc token_rotated(struct cx *cx, void *arg)
{
    struct world *w = arg;

    w->door->refuse_status = 401;
    hub_door_cut(w->door);
    door_wait(cx, w->door->asked >= 2);
    device_put(&w->d, "token", "mwa_new\n");
    w->door->refuse_status = 0;
    door_wait(cx, w->door->welcomed == 2);
    ck_assert_str_eq(w->door->bearer, "mwa_new");
    return OK;
}

static rc silence(struct cx *cx, void *arg)
{
    struct world *w = arg;

    w->door->heartbeat_ms = 1000;
    w->door->no_heartbeats = true;
    hub_door_cut(w->door);
    door_wait(cx, w->door->welcomed == 2);
    door_wait(cx, hub_door_count(w->door, "heartbeat", NULL) >= 2);
    door_wait(cx, w->door->lost == 2);
    ck_assert_int_eq(w->door->close_code, 4008);
    w->door->no_heartbeats = false;
    door_wait(cx, w->door->welcomed == 3);
    int beats = hub_door_count(w->door, "heartbeat", NULL);
    door_wait(cx, hub_door_count(w->door, "heartbeat", NULL) >=
                      beats + 5); /* longer than three beats: it stands */
    ck_assert_int_eq(w->door->open, 1);
    return OK;
}

/* Frames that make no sense, and a storm of losses: a result still comes. */
static rc nonsense(struct cx *cx, void *arg)
{
    struct world *w = arg;
    static const char *const frames[] = {
        "",
        "{",
        "[]",
        "null",
        "{\"type\":7}",
        "{\"type\":\"no_such_thing\"}",
        "{\"type\":\"command\"}",
        "{\"type\":\"command\",\"job_id\":\"7\",\"command\":\"mark\"}",
        "{\"type\":\"command\",\"job_id\":\"01990000-0000-7000-8000-000000000001\",\"command\":\".."
        "/mark\"}",
        "{\"type\":\"command\",\"job_id\":\"01990000-0000-7000-8000-000000000001\",\"command\":"
        "\"mark\",\"payload\":[]}",
        "{\"type\":\"command\",\"job_id\":\"01990000-0000-7000-8000-000000000001\",\"command\":"
        "\"mark\",\"timeout_ms\":-1}",
        "{\"type\":\"result_ack\",\"job_id\":\"01990000-0000-7000-8000-000000000001\"}",
        "{\"type\":\"welcome\",\"heartbeat_ms\":0}",
        "{\"type\":\"error\"}",
    };

    for (size_t i = 0; i < COUNT(frames); i++)
        hub_door_say(w->door, frames[i]);
    hub_door_command(w->door, w->job, "mark", "{}", 10000);
    for (int i = 2; i < 8; i++) {
        hub_door_cut_in_frame(w->door);
        door_wait(cx, w->door->welcomed == i);
    }
    hub_door_command(w->door, w->job, "mark", "{}", 10000);
    door_wait(cx, results(w) >= 1);
    ck_assert_int_eq(device_marks(&w->d), 1);
    return OK;
}

/* ---------------------------------------------------------------- certificates */

static const char *in_ca(struct cx *cx, const char *dir, const char *file)
{
    return arena_printf(&cx->arena, "%s/%s", dir, file);
}

static rc make_ca(struct cx *cx, const char *dir, const char *dns)
{
    const int64_t day_ms = 86400000;
    struct ca_issued c;

    try(ca_init(cx, dir, "Test CA", clock_ms() + 30 * day_ms, clock_ms() + 30 * day_ms, &c));
    try(ca_issue(cx, dir,
                 &(struct ca_request){
                     .name = "hub", .kind = CA_SERVER, .dns = dns, .until_ms = clock_ms() + day_ms},
                 &c));
    return ca_issue(
        cx, dir,
        &(struct ca_request){.name = "a1", .kind = CA_AGENT, .until_ms = clock_ms() + day_ms}, &c);
}

static const struct {
    const char *title, *dns; /* of the hub's certificate */
    bool other_ca, no_cert, welcome;
    const char *why; /* what its log says otherwise */
} certificates[] = {
    {"as it should be", "localhost", false, false, true, NULL},
    {"the hub is called otherwise", "hub.example", false, false, false,
     "certificate verify failed"},
    {"the hub is another CA's", "localhost", true, false, false, "certificate verify failed"},
    {"the agent shows none", "localhost", false, true, false, "hub.unreachable"},
};
static int certificate_case;

static rc with_certificates(struct cx *cx, void *arg)
{
    struct world *w = arg;
    int i = certificate_case;
    struct tls *tls;
    char *ca = arena_printf(&cx->arena, "%s/ca-%d", support_dir(), i),
         *other = arena_printf(&cx->arena, "%s/other-%d", support_dir(), i);
    char *own =
        arena_printf(&cx->arena, "cert = %s/issued/a1.crt\nkey = %s/issued/a1.key\n", ca, ca);

    try(make_ca(cx, ca, certificates[i].dns));
    try(make_ca(cx, other, "localhost"));
    const char *hub = certificates[i].other_ca ? other : ca;
    try(tls_new(cx, TLS_SERVER,
                &(struct tls_files){.cert = in_ca(cx, hub, "issued/hub.crt"),
                                    .key = in_ca(cx, hub, "issued/hub.key"),
                                    .ca = in_ca(cx, ca, "ca.crt")},
                &tls));
    try(hub_door_new(cx, tls, 0, &w->door));
    device_make(
        &w->d, "a1", arena_printf(&cx->arena, "wss://localhost:%d", hub_door_port(w->door)),
        "mwa_abc\n",
        arena_printf(&cx->arena, "ca = %s/ca.crt\n%s", ca, certificates[i].no_cert ? "" : own));
    device_start(&w->d);
    if (certificates[i].welcome) {
        door_wait(cx, w->door->welcomed == 1);
        id_new(w->job);
        hub_door_command(w->door, w->job, "get_status", "{}", 10000);
        door_wait(cx, results(w) == 1);
    } else {
        bool seen = false;
        for (int n = 0; n < 3000 && !seen; n++) {
            _cleanup_(freep) char *log = proc_log(w->d.agent);
            seen = strstr(log, certificates[i].why) != NULL;
            try(fiber_sleep(cx, 10));
        }
        ck_assert_msg(seen, "%s: no '%s' in the log", certificates[i].title, certificates[i].why);
        ck_assert_int_eq(w->door->asked, 0);
    }
    part(w);
    tls_free(tls);
    return OK;
}

START_TEST(certificate)
{
    struct world w = {0};

    certificate_case = _i;
    ck_ok(on_fiber(with_certificates, &w));
}
END_TEST

/* ---------------------------------------------------------------- a fleet */

#define MEMBERS 20
#define JOBS    200

/* Every line of the ledger once; how many. */
static int ledger_lines(const char *path)
{
    static char seen[JOBS * 2][ID_LEN + 1];
    char job[ID_LEN + 1], rest[600];
    FILE *f = fopen(path, "re");
    int n = 0;

    while (f && n < JOBS * 2 && fscanf(f, "%36s%599[^\n]", job, rest) == 2) {
        for (int i = 0; i < n; i++)
            ck_assert_msg(strcmp(seen[i], job) != 0, "carried out twice: %s", job);
        memcpy(seen[n++], job, sizeof job);
    }
    if (f)
        fclose(f);
    return n;
}

static void start_fleet(struct world *w, const char *url)
{
    _cleanup_(freep) char *agents = xasprintf("%s/agents", w->d.dir),
                          *ledger = xasprintf("%s/ledger", w->d.dir),
                          *state = xasprintf("%s/fleet", w->d.dir),
                          *stats = xasprintf("%s/stats", w->d.dir);
    FILE *f = fopen(agents, "we");

    for (int i = 0; f && i < MEMBERS; i++)
        fprintf(f, "member-%d mwa_%d\n", i, i);
    if (!f || fclose(f) != 0)
        support_die("%s cannot be written", agents);
    const char *argv[] = {built("tests/sim/sim-fleet"),
                          "--agents",
                          agents,
                          "--url",
                          url,
                          "--state",
                          state,
                          "--ledger",
                          ledger,
                          "--stats",
                          stats,
                          "--drop",
                          "0.3",
                          "--twice",
                          "0.3",
                          "--delay",
                          "30",
                          "--reconnect-min",
                          "10",
                          "--reconnect-max",
                          "50",
                          NULL};
    w->fleet = proc_start(&(struct proc_opts){.name = "fleet", .argv = argv});
}

/* Many agents that lose their connections, before a hub that sends each command until it has the result. */
static rc fleet_body(struct cx *cx, void *arg)
{
    struct world w = {0};
    static char jobs[JOBS][ID_LEN + 1];
    char member[32], text[256];
    int results = 0;

    try(hub_door_new(cx, NULL, 0, &w.door));
    device_make(&w.d, "a1", "ws://h", "", "");
    start_fleet(&w, arena_printf(&cx->arena, "ws://127.0.0.1:%d", hub_door_port(w.door)));
    for (int i = 0; i < JOBS; i++)
        id_new(jobs[i]);
    for (int round = 0; results < JOBS && round < 300; round++) {
        results = 0;
        for (int i = 0; i < JOBS; i++) {
            bool done = hub_door_count(w.door, "result", jobs[i]) > 0;
            results += done;
            snprintf(member, sizeof member, "member-%d", i % MEMBERS);
            snprintf(text, sizeof text,
                     "{\"type\":\"command\",\"job_id\":\"%s\",\"command\":\"any\",\"payload\":{},"
                     "\"timeout_ms\":60000}",
                     jobs[i]);
            if (!done)
                hub_door_say_to(w.door, member, text);
        }
        try(fiber_sleep(cx, 100));
    }
    ck_assert_int_eq(results, JOBS);
    ck_assert_int_gt(w.door->welcomed, MEMBERS); /* connections were lost */
    ck_assert_int_eq(ledger_lines(arena_printf(&cx->arena, "%s/ledger", w.d.dir)), JOBS);
    proc_signal(w.fleet, SIGTERM);
    door_wait(cx, !proc_alive(w.fleet));
    ck_assert_int_eq(proc_wait(w.fleet, 0), 0);
    part(&w);
    return OK;
}

START_TEST(fleet)
{
    ck_ok(on_fiber(fleet_body, NULL));
}
END_TEST

/* ---------------------------------------------------------------- the command line */

static const struct {
    const char *title, *option, *file; /* NULL: the device's own */
    int status;
    const char *out, *err; /* what each says, or NULL */
} lines[] = {
    {"version", "--version", NULL, 0, "mihwar-agent " MIHWAR_VERSION "\n", NULL},
    {"help", "--help", NULL, 0, "exit status: 0 stopped", NULL},
    {"a right file", "--check-config", NULL, 0, "the settings are right", NULL},
    {"no such file", "--check-config", "nowhere.ini", 2, NULL,
     "nowhere.ini cannot be read: No such file"},
    {"a wrong file", "--check-config", "wrong.ini", 2, NULL, "wrong.ini:2: there is no 'colour'"},
    {"no token", "--check-config", "no-token.ini", 2, NULL, "the token in /nowhere cannot be read"},
    {"no program", "--check-config", "no-program.ini", 2, NULL,
     "[command x]: /no/such cannot be run"},
    {"no CA", "--check-config", "no-ca.ini", 2, NULL, "/nowhere"},
    {"no such option", "--colour", NULL, 2, NULL, "--help"},
    {"no option", "now", NULL, 2, NULL, "'now' is not an option"},
    {"a journal that another process has", "--config", NULL, 1, NULL, "another process uses"},
};

static void fill(const struct device *d)
{
    _cleanup_(freep) char *token =
        xasprintf("[agent]\nurl = ws://h\nagent_id = a\ntoken_file = %s/token\n", d->dir);
    _cleanup_(freep) char *program = xasprintf("%s[command x]\nprogram = /no/such\n", token);
    _cleanup_(freep) char *ca = xasprintf("%sca = /nowhere\n", token);

    device_put(d, "wrong.ini", "[agent]\ncolour = red\n");
    device_put(d, "no-token.ini", "[agent]\nurl = ws://h\nagent_id = a\ntoken_file = /nowhere\n");
    device_put(d, "no-program.ini", program);
    device_put(d, "no-ca.ini", ca);
}

START_TEST(command_line)
{
    struct device d;
    _cleanup_(freep) char *file = NULL, *out = NULL, *err = NULL;

    device_make(&d, "a1", "ws://127.0.0.1:1", "mwa_abc", "");
    fill(&d);
    file = xasprintf("%s/%s", d.dir, lines[_i].file ? lines[_i].file : "agent.ini");
    const char *argv[] = {built("agent/mihwar-agent"), lines[_i].option, "--config", file, NULL};
    if (strcmp(lines[_i].option, "--config") == 0) {
        argv[2] = file;
        argv[3] = NULL;
        device_start(&d);
        _cleanup_(freep) char *journal = xasprintf("%s/state/journal", d.dir);
        ck_wait(access(journal, F_OK) == 0, 30000);
    }
    int status =
        proc_run(&(struct proc_opts){.name = "line", .argv = argv}, NULL, 30000, &out, &err);
    ck_assert_msg(status == lines[_i].status, "%s: status %d\n%s%s", lines[_i].title, status, out,
                  err);
    ck_assert_msg(!lines[_i].out || strstr(out, lines[_i].out), "%s: %s", lines[_i].title, out);
    ck_assert_msg(!lines[_i].err || strstr(err, lines[_i].err), "%s: %s", lines[_i].title, err);
    if (strcmp(lines[_i].option, "--config") == 0)
        device_kill(&d);
}
END_TEST

/* ---------------------------------------------------------------- the rows */

static const struct {
    const char *title;
    fiber_fn body;
} rows[] = {
    {"says hello", says_hello},
    {"carries out", carries_out},
    {"never twice", never_twice},
    {"until acknowledged", until_acknowledged},
    {"the hub restarts", hub_restarts},
    {"killed in the middle of a command", killed_mid_command},
    {"stopped in the middle of a command", stopped_mid_command},
    {"stopped while idle", stopped_idle},
    {"superseded", superseded},
    {"revoked", revoked},
    {"told when to come back", told_when_to_come},
    {"a token is rotated", token_rotated},
    {"silence", silence},
    {"nonsense", nonsense},
};
static int row;

static rc walk(struct cx *cx, void *arg)
{
    struct world w = {0};

    try(meet(cx, &w));
    rc r = rows[row].body(cx, &w);
    part(&w);
    return r;
}

START_TEST(with_a_hub)
{
    row = _i;
    ck_ok(on_fiber(walk, NULL));
}
END_TEST

int main(void)
{
    Suite *s = suite_create("agent");
    TCase *tc = tcase_create("with a hub"), *certs = tcase_create("certificates"),
          *many = tcase_create("a fleet"), *line = tcase_create("command line");

    tcase_set_timeout(tc, 120);
    tcase_set_timeout(certs, 120);
    tcase_set_timeout(many, 120);
    tcase_add_test(many, fleet);
    tcase_set_timeout(line, 120);
    tcase_add_loop_test(line, command_line, 0, COUNT(lines));
    tcase_add_loop_test(tc, with_a_hub, 0, COUNT(rows));
    tcase_add_loop_test(certs, certificate, 0, COUNT(certificates));
    suite_add_tcase(s, tc);
    suite_add_tcase(s, certs);
    suite_add_tcase(s, many);
    suite_add_tcase(s, line);
    return support_end(suite_run(s));
}
