/* test_agent_commands.c - what the list lets through, and what becomes of a program: its output, its time, what it leaves behind. */
#include "agent/commands.h"
#include "base/clock.h"
#include "tests/support/on_fiber.h"
#include "tests/unit/ca_folder.h"
#include <dirent.h>
#include <errno.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>

#define JOB "01990000-0000-7000-8000-000000000001"

/* Shell scripts, as programs; the payload; the result as JSON text. */
static const struct {
    const char *title, *script, *more, *payload, *want;
} cases[] = {
    {"json", "echo '{\"a\": [1, 9007199254740993]}'", "", "{}",
     "{\"exit_status\":0,\"output\":{\"a\": [1, 9007199254740993]}}"},
    {"json on lines", "echo '{\"a\":'; echo ' [1, 2]}'", "", "{}",
     "{\"exit_status\":0,\"output\":{\"a\":[1,2]}}"},
    {"text", "echo hello", "", "{}", "{\"exit_status\":0,\"output\":\"hello\\n\"}"},
    {"nothing", ":", "", "{}", "{\"exit_status\":0,\"output\":\"\"}"},
    {"json and more", "echo '{}'; echo x", "", "{}",
     "{\"exit_status\":0,\"output\":\"{}\\nx\\n\"}"},
    {"not UTF-8, and a NUL", "printf 'a\\377\\000b\\303\\251\\303'", "", "{}",
     "{\"exit_status\":0,\"output\":\"a??b\xc3\xa9?\"}"},
    {"too deep for JSON", "printf '%0100d' 0 | tr 0 '['", "", "{}",
     "{\"exit_status\":0,\"output\":\"[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[["
     "[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[\"}"},
    {"as long as allowed", "printf 1234567890", "output_max = 10\n", "{}",
     "{\"exit_status\":0,\"output\":1234567890}"},
    {"one byte more", "printf 12345678901", "output_max = 10\n", "{}",
     "{\"exit_status\":0,\"truncated\":true,\"output\":\"1234567890\"}"},
    {"a flood", "head -c 3000000 /dev/zero | tr '\\000' x", "output_max = 4\n", "{}",
     "{\"exit_status\":0,\"truncated\":true,\"output\":\"xxxx\"}"},
    {"no output wanted", "echo x", "output_max = 0\n", "{}",
     "{\"exit_status\":0,\"truncated\":true,\"output\":\"\"}"},
    {"it fails", "echo out; echo why >&2; exit 3", "", "{}",
     "{\"exit_status\":3,\"output\":\"out\\n\",\"errors\":\"why\\n\",\"error\":{\"code\":\"exit_"
     "status\",\"message\":\"the program ended with status 3\"}}"},
    {"stderr of one that succeeds is its own", "echo why >&2", "", "{}",
     "{\"exit_status\":0,\"output\":\"\"}"},
    {"a signal", "kill -USR1 $$", "", "{}",
     "{\"output\":\"\",\"error\":{\"code\":\"signal\",\"message\":\"the program was ended by "
     "signal 10\"}}"},
    {"its time is over", "echo begun; while :; do sleep 0.01; done", "time_limit = 1500ms\n", "{}",
     "{\"output\":\"begun\\n\",\"error\":{\"code\":\"time_limit\",\"message\":\"the program was "
     "ended after 1500 ms\"}}"},
    {"it will not hear SIGTERM", "trap '' TERM; echo begun; while :; do sleep 0.01; done",
     "time_limit = 1500ms\nkill_after = 50ms\n", "{}",
     "{\"output\":\"begun\\n\",\"error\":{\"code\":\"time_limit\",\"message\":\"the program was "
     "ended after 1500 ms\"}}"},
    {"it ends by itself at SIGTERM", "trap 'echo bye; exit 0' TERM; while :; do sleep 0.01; done",
     "time_limit = 1500ms\n", "{}",
     "{\"exit_status\":0,\"output\":\"bye\\n\",\"error\":{\"code\":\"time_limit\",\"message\":"
     "\"the program was ended after 1500 ms\"}}"},
    {"a payload that is not wanted", "echo x", "", "{\"a\":1}",
     "{\"error\":{\"code\":\"bad_arguments\",\"message\":\"command x takes no payload\"}}"},
    {"a payload on stdin", "cat", "args = stdin\n", "{\"a\":\"; rm -rf /\"}",
     "{\"exit_status\":0,\"output\":{\"a\":\"; rm -rf /\"}}"},
    {"a payload that nobody reads", "exec <&-; echo x", "args = stdin\n", "{\"a\":1}",
     "{\"exit_status\":0,\"output\":\"x\\n\"}"},
    {"stdin is empty", "cat", "", "{}", "{\"exit_status\":0,\"output\":\"\"}"},
    {"arguments as they stand in the file", "printf '%s|' \"$@\"",
     "argument = $HOME; `id`\nargument =  two  words \n", "{}",
     "{\"exit_status\":0,\"output\":\"$HOME; `id`|two  words|\"}"},
    {"the environment", "echo $MIHWAR_JOB_ID $MIHWAR_COMMAND $SECRET", "", "{}",
     "{\"exit_status\":0,\"output\":\"" JOB " x\\n\"}"},
    {"no descriptors of ours", "exec ls /proc/self/fd", "", "{}",
     "{\"exit_status\":0,\"output\":\"0\\n1\\n2\\n3\\n\"}"}, /* 3: the folder */
    {"no such interpreter", NULL, "", "{}", NULL},
};

struct run {
    struct folder *f;
    struct config config;
    const char *payload;
    const char *name;
    struct outcome outcome;
    int64_t deadline_ms; /* 0: none */
    bool cancel;
};

static rc run_body(struct cx *cx, void *arg)
{
    struct run *r = arg;

    r->outcome = outcome_new();
    if (r->deadline_ms)
        cx_deadline_within(cx, r->deadline_ms);
    rc result = commands_carry_out(cx, &(struct agent_command){JOB, r->name, r->payload},
                                   &r->outcome, &r->config);
    return result;
}

static void script(struct folder *f, const char *text, const char *more, struct config *ret)
{
    FILE *out = fopen(folder_path(f, "x"), "w");
    const char *ini = folder_path(f, "agent.ini");

    ck_assert(out &&
              fprintf(out, "#!%s\n%s\n", text ? "/bin/sh" : "/no/such/shell", text ? text : "") >
                  0 &&
              fclose(out) == 0);
    ck_assert_int_eq(chmod(folder_path(f, "x"), 0700), 0);
    out = fopen(ini, "w");
    ck_assert(out && fprintf(out,
                             "[agent]\nurl = ws://h\nagent_id = a\ntoken_file = /t\nstate_dir = "
                             "/tmp\n[command x]\nprogram = %s\n%s",
                             folder_path(f, "x"), more) > 0);
    ck_assert_int_eq(fclose(out), 0);
    folder_ok(f, config_load(&f->cx, ini, ret));
}

static void run_release(struct run *r)
{
    outcome_release(&r->outcome);
    config_release(&r->config);
}

START_TEST(programs)
{
    _folder_ f = folder_new();
    _cleanup_(run_release) struct run r = {.f = &f, .payload = cases[_i].payload, .name = "x"};

    setenv("SECRET", "of the agent", 1);
    script(&f, cases[_i].script, cases[_i].more, &r.config);
    ck_assert_int_eq(on_fiber(run_body, &r), OK);
    _cleanup_(freep) char *got = cJSON_PrintUnformatted(r.outcome.response);
    if (!cases[_i].script)
        ck_assert_msg(strstr(got, "\"exit_status\":127") && strstr(got, "No such file"), "%s", got);
    else
        ck_assert_msg(strcmp(got, cases[_i].want) == 0, "%s:\n%s\n%s", cases[_i].title, got,
                      cases[_i].want);
    ck_assert_int_eq(r.outcome.completed, strstr(got, "\"error\":") == NULL);
}
END_TEST

/* ---------------------------------------------------------------- the list */

static const struct {
    const char *name, *code;
} names[] = {{"get_status", NULL},     {"x", NULL},         {"X", "not_allowed"},
             {"x ", "not_allowed"},    {"", "not_allowed"}, {"/bin/sh", "not_allowed"},
             {"reboot", "not_allowed"}};

START_TEST(the_list)
{
    _folder_ f = folder_new();
    _cleanup_(run_release) struct run r = {.f = &f, .payload = "{}", .name = names[_i].name};

    script(&f, "echo x", "", &r.config);
    ck_assert_int_eq(on_fiber(run_body, &r), OK);
    const cJSON *code =
        cJSON_GetObjectItem(cJSON_GetObjectItem(r.outcome.response, "error"), "code");
    ck_assert_int_eq(r.outcome.completed, names[_i].code == NULL);
    if (names[_i].code)
        ck_assert_str_eq(code->valuestring, names[_i].code);
}
END_TEST

/* ---------------------------------------------------------------- ends that the caller decides */

/* The process whose number the script wrote; true once it is gone. */
static bool gone(struct folder *f, const char *file)
{
    FILE *in = fopen(folder_path(f, file), "r");
    int pid = 0;

    ck_assert(in && fscanf(in, "%d", &pid) == 1 && fclose(in) == 0);
    for (int i = 0; i < 3000 && kill(pid, 0) == 0; i++) {
        char path[64], state = 0;
        snprintf(path, sizeof path, "/proc/%d/stat", pid);
        FILE *stat = fopen(path, "r");
        if (!stat || fscanf(stat, "%*d %*s %c", &state) != 1 || state == 'Z') {
            if (stat)
                fclose(stat);
            return true;
        }
        fclose(stat);
        usleep(10000);
    }
    return kill(pid, 0) != 0;
}

START_TEST(what_it_leaves)
{
    static const char *const scripts[] = {
        "sleep 1000 & echo $! > %s/left",       /* ends, and leaves one behind */
        "sleep 1000 & echo $! > %s/left; wait", /* time limit */
        "trap '' TERM; (trap '' TERM; sleep 1000) & echo $! > %s/left; wait", /* and neither hears SIGTERM */
    };
    _folder_ f = folder_new();
    _cleanup_(run_release) struct run r = {.f = &f, .payload = "{}", .name = "x"};
    char *text = arena_alloc(&f.cx.arena, 512), *place = strstr(scripts[_i], "%s");

    snprintf(text, 512, "%.*s%s%s", (int)(place - scripts[_i]), scripts[_i], f.dir, place + 2);
    script(&f, text, "time_limit = 1500ms\nkill_after = 50ms\n", &r.config);
    ck_assert_int_eq(on_fiber(run_body, &r), OK);
    ck_assert(gone(&f, "left"));
}
END_TEST

START_TEST(the_requests_deadline)
{
    _folder_ f = folder_new();
    _cleanup_(run_release) struct run r = {
        .f = &f, .payload = "{}", .name = "x", .deadline_ms = 200};

    script(&f, "while :; do sleep 0.01; done", "time_limit = 1h\n", &r.config);
    ck_assert_int_eq(on_fiber(run_body, &r), OK);
    ck_assert(!r.outcome.completed);
}
END_TEST

static rc cancel_it(struct cx *cx, void *arg)
{
    struct run *r = arg;
    struct fiber *f = fiber_spawn(&(struct fiber_opts){.name = "run"}, run_body, r);
    rc result;

    while (access(folder_path(r->f, "pid"), F_OK) < 0)
        try(fiber_sleep(cx, 5));
    try(fiber_sleep(cx, 20));
    fiber_cancel(f);
    try(fiber_join(cx, f, &result));
    ck_assert_int_eq(result, E_CANCELLED);
    return OK;
}

START_TEST(cancelled)
{
    _folder_ f = folder_new();
    _cleanup_(run_release) struct run r = {.f = &f, .payload = "{}", .name = "x"};

    script(&f,
           arena_printf(&f.cx.arena, "trap '' TERM; echo $$ > %s/pid; while :; do sleep 0.01; done",
                        f.dir),
           "", &r.config);
    ck_assert_int_eq(on_fiber(cancel_it, &r), OK);
    ck_assert(gone(&f, "pid"));
}
END_TEST

/* Descriptors run out at each of the steps: no process, or all of it; nothing stays behind. */
static rc without_descriptors(struct cx *cx, void *arg)
{
    struct run *r = arg;
    struct rlimit was;
    int next = dup(0);

    close(next);
    getrlimit(RLIMIT_NOFILE, &was);
    rc result = E_OS;
    for (int more = 0; result != OK; more++) {
        setrlimit(RLIMIT_NOFILE, &(struct rlimit){(rlim_t)(next + more), was.rlim_max});
        result = run_body(cx, r);
        setrlimit(RLIMIT_NOFILE, &was);
        ck_assert_int_lt(more, 32);
        ck_assert(result == OK ? more >= 6 : result == E_OS);
        outcome_release(&r->outcome);
        int now = dup(0);
        close(now);
        ck_assert_int_eq(now, next);
        ck_assert(waitpid(-1, NULL, WNOHANG) < 0 && errno == ECHILD);
    }
    return OK;
}

START_TEST(descriptors_run_out)
{
    _folder_ f = folder_new();
    _cleanup_(run_release) struct run r = {.f = &f, .payload = "{}", .name = "x"};

    script(&f, "echo x", "", &r.config);
    ck_assert_int_eq(on_fiber(without_descriptors, &r), OK);
}
END_TEST

UNIT(agent_commands, {"programs", programs, COUNT(cases)}, {"the list", the_list, COUNT(names)},
     {"what it leaves", what_it_leaves, 3}, {"the request's deadline", the_requests_deadline},
     {"cancelled", cancelled}, {"descriptors run out", descriptors_run_out})
