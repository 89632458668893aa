/* test_agent_config.c - the agent's file: what it may say, and how it is told what is wrong; where a hub is; how long an agent rests. */
#include "agent/config.h"
#include "agent/hub_url.h"
#include "agent/uplink.h"
#include "tests/unit/ca_folder.h"
#include <sys/stat.h>

#define AGENT   "[agent]\nurl = ws://127.0.0.1:8080\nagent_id = a1\ntoken_file = /token\n"
#define COMMAND AGENT "[command x]\nprogram = /bin/true\n"

static char long_value[5000];

static const struct {
    const char *title, *text;
    const char *words[3]; /* of the error; none: it is right */
} files[] = {
    {"the least", AGENT, {0}},
    {"comments, spaces, empty lines",
     "# c\n; c\n\n  [agent]  \n  url=ws://h\nagent_id : a1\ntoken_file = /t # not a comment\n",
     {0}},
    {"a command",
     COMMAND "argument = -r\nargument = a b; c\nargs = stdin\ntime_limit = 2m\noutput_max = "
             "10\nkill_after = 0\n",
     {0}},
    {"nothing", "", {"url"}},
    {"no agent_id", "[agent]\nurl = ws://h\ntoken_file = /t\n", {"agent_id"}},
    {"no token_file", "[agent]\nurl = ws://h\nagent_id = a\n", {"token_file"}},
    {"an agent_id with a space",
     "[agent]\nurl = ws://h\nagent_id = a b\ntoken_file = /t\n",
     {"agent_id"}},
    {"an agent_id that begins with a dot",
     "[agent]\nurl = ws://h\nagent_id = .a\ntoken_file = /t\n",
     {"agent_id"}},
    {"an unknown name", AGENT "colour = red\n", {":5", "colour"}},
    {"an unknown section", AGENT "[agents]\na = b\n", {":6", "[agents]"}},
    {"a name before any section", "url = ws://h\n", {":1", "section"}},
    {"no equals sign", AGENT "nonsense\n", {":5", "name = value"}},
    {"a URL of another kind", "[agent]\nurl = ftp://h\n", {":2", "ftp://h"}},
    {"nine hubs",
     "[agent]\nurl=ws://a\nurl=ws://a\nurl=ws://a\nurl=ws://a\nurl=ws://a\nurl=ws://a\nurl=ws://"
     "a\nurl=ws://a\nurl=ws://a\n",
     {":10", "8"}},
    {"wss without a CA",
     "[agent]\nurl = wss://h\nagent_id = a\ntoken_file = /t\n",
     {"wss://h", "'ca'"}},
    {"a certificate without its key", AGENT "cert = /c\n", {"'key'"}},
    {"a relative path", AGENT "state_dir = here\n", {":5", "state_dir", "absolute"}},
    {"no number", AGENT "concurrency = many\n", {":5", "concurrency", "whole number"}},
    {"too many at once", AGENT "concurrency = 1001\n", {"concurrency", "1000"}},
    {"no duration", AGENT "stop_grace = soon\n", {":5", "stop_grace", "duration"}},
    {"back-off upside down", AGENT "reconnect_min = 1m\nreconnect_max = 1s\n", {"reconnect_min"}},
    {"a level that is none", AGENT "log_level = loud\n", {"log_level"}},
    {"a format that is none", AGENT "log_format = xml\n", {"log_format"}},
    {"metadata twice", AGENT "[metadata]\nsite = 1\nsite = 2\n", {":7", "site"}},
    {"a command without a program",
     AGENT "[command x]\nargument = y\n",
     {"[command x]", "program"}},
    {"a program without a path", AGENT "[command x]\nprogram = true\n", {":6", "absolute"}},
    {"a command called like a path",
     AGENT "[command ../x]\nprogram = /bin/true\n",
     {":6", "name of a command"}},
    {"a command without a name", AGENT "[command ]\nprogram = /bin/true\n", {":6"}},
    {"a command whose name is too long",
     AGENT "[command xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx]\nprogram = /bin/true\n",
     {":6", "40"}},
    {"get_status again", AGENT "[command get_status]\nprogram = /bin/true\n", {":6", "built in"}},
    {"args of another kind", COMMAND "args = shell\n", {"args", "stdin"}},
    {"an output without end", COMMAND "output_max = 99999999\n", {":7", "output_max"}},
    {"a name of the other table", COMMAND "agent_id = y\n", {":7", "agent_id"}},
    {"a line longer than any", long_value, {":5"}},
};

static rc load(struct folder *f, const char *text, struct config *ret)
{
    FILE *out = fopen(folder_path(f, "agent.ini"), "w");

    ck_assert(out && fputs(text, out) >= 0 && fclose(out) == 0);
    return config_load(&f->cx, folder_path(f, "agent.ini"), ret);
}

START_TEST(files_are_read)
{
    _folder_ f = folder_new();
    _cleanup_(config_release) struct config c = {0};

    snprintf(long_value, sizeof long_value, AGENT "type = %04500d\n", 7);
    rc r = load(&f, files[_i].text, &c);
    ck_assert_msg((r == OK) == !files[_i].words[0], "%s: %s", files[_i].title, cx_words(&f.cx, r));
    for (size_t i = 0; i < 3 && files[_i].words[i]; i++)
        ck_assert_msg(strstr(cx_words(&f.cx, r), files[_i].words[i]), "%s: no '%s' in: %s",
                      files[_i].title, files[_i].words[i], cx_words(&f.cx, r));
}
END_TEST

START_TEST(values)
{
    _folder_ f = folder_new();
    _cleanup_(config_release) struct config c = {0};
    rc r = load(
        &f,
        AGENT
        "url = wss://[::1]:8443/hub\nca = /ca\ntype = cpe\n[metadata]\nsite = 12\nquote = \"a\"\n"
        "[command x]\nargument = -r\nprogram = /bin/echo\nargument = $(reboot) ; # \"q\"\n[command "
        "y]\nprogram = /bin/y\n",
        &c);

    folder_ok(&f, r);
    ck_assert_uint_eq(c.url_count, 2);
    ck_assert_str_eq(c.urls[1], "wss://[::1]:8443/hub");
    ck_assert_str_eq(c.state_dir, "/var/lib/mihwar-agent");
    ck_assert_int_eq(c.concurrency, 4);
    ck_assert_int_eq(c.superseded_wait_ms, 300000);
    ck_assert_str_eq(c.metadata, "{\"site\":\"12\",\"quote\":\"\\\"a\\\"\",\"type\":\"cpe\"}");
    const struct config_command *x = config_command(&c, "x");
    ck_assert_str_eq(x->argv[0], "/bin/echo");
    ck_assert_str_eq(x->argv[1], "-r");
    ck_assert_str_eq(x->argv[2], "$(reboot) ; # \"q\""); /* one argument, as it stands */
    ck_assert_ptr_null(x->argv[3]);
    ck_assert_int_eq(x->time_limit_ms, 30000);
    ck_assert_str_eq(config_command(&c, "y")->args, "no");
    ck_assert_ptr_null(config_command(&c, "z"));
}
END_TEST

/* The sample names every setting, and is right. */
START_TEST(sample)
{
    _folder_ f = folder_new();
    _cleanup_(config_release) struct config c = {0};
    _cleanup_(freep) char *text = unit_read("agent/mihwar-agent.ini.sample");

    folder_ok(&f, load(&f, text, &c));
    for (char *p = text; (p = strstr(p, "\n;")); p++)
        p[1] = ' '; /* what is commented out is right too */
    config_release(&c);
    folder_ok(&f, load(&f, text, &c));
    static const char *const names[] = {
        "agent_id",      "ca",         "cert",       "concurrency",
        "key",           "log_format", "log_level",  "reconnect_max",
        "reconnect_min", "state_dir",  "stop_grace", "superseded_wait",
        "token_file",    "type",       "version",    "args",
        "kill_after",    "output_max", "program",    "time_limit",
        "argument",      "url"};
    for (size_t i = 0; i < COUNT(names); i++)
        ck_assert_msg(strstr(text, names[i]), "the sample does not show %s", names[i]);
}
END_TEST

static const struct {
    const char *title, *text, *want; /* NULL: the file is not there; NULL: refused */
} tokens[] = {
    {"a line", "mwa_abc_DEF-1\n", "mwa_abc_DEF-1"},
    {"no end of line", "mwa_abc", "mwa_abc"},
    {"spaces and more lines", "  mwa_abc \t\r\nnotes\n", "mwa_abc"},
    {"empty", "", NULL},
    {"an empty line", "\nmwa_abc\n", NULL},
    {"a header in it", "mwa_abc\rX: y\n", NULL},
    {"not there", NULL, NULL},
};

START_TEST(tokens_are_read)
{
    _folder_ f = folder_new();
    _cleanup_(config_release) struct config c = {.token_file = xstrdup(folder_path(&f, "token"))};
    char token[64];

    if (tokens[_i].text) {
        FILE *out = fopen(c.token_file, "w");
        ck_assert(out && fputs(tokens[_i].text, out) >= 0 && fclose(out) == 0);
    }
    rc r = config_token(&f.cx, &c, token, sizeof token);
    ck_assert_msg((r == OK) == (tokens[_i].want != NULL), "%s", tokens[_i].title);
    if (r == OK)
        ck_assert_str_eq(token, tokens[_i].want);
}
END_TEST

/* ---------------------------------------------------------------- where a hub is */

static const struct {
    const char *text, *host; /* NULL: none */
    int port;
    bool tls;
    const char *authority, *prefix;
} urls[] = {
    {"ws://h", "h", 80, false, "h", ""},
    {"wss://hub.example:8443", "hub.example", 8443, true, "hub.example:8443", ""},
    {"https://hub.example/a/b/", "hub.example", 443, true, "hub.example", "/a/b"},
    {"HTTP://10.0.0.1:1/", "10.0.0.1", 1, false, "10.0.0.1:1", ""},
    {"wss://[fe80::1]:8443", "fe80::1", 8443, true, "[fe80::1]:8443", ""},
    {"wss://[::1]", "::1", 443, true, "[::1]", ""},
    {"hub.example"},
    {"ws://"},
    {"ws:///x"},
    {"ws://h:"},
    {"ws://h:0"},
    {"ws://h:65536"},
    {"ws://h:8x"},
    {"ws://:80"},
    {"ws://[::1"},
    {"ws://[]:80"},
    {"ws://[::1]x"},
    {"ws://u:p@h"},
    {"ws://h?x=1"},
    {"ws://h/#x"},
    {"ws://h/a b"},
    {"ws://h\r\nX: y"},
};

START_TEST(urls_are_read)
{
    _cleanup_(cx_release) struct cx cx = CX_PLAIN("test");
    struct hub_url u;
    rc r = hub_url_parse(&cx, urls[_i].text, &u);

    ck_assert_msg((r == OK) == (urls[_i].host != NULL), "%s", urls[_i].text);
    if (r != OK)
        return;
    ck_assert_str_eq(u.host, urls[_i].host);
    ck_assert_int_eq(u.port, urls[_i].port);
    ck_assert_int_eq(u.tls, urls[_i].tls);
    ck_assert_str_eq(u.authority, urls[_i].authority);
    ck_assert_str_eq(u.prefix, urls[_i].prefix);
}
END_TEST

/* ---------------------------------------------------------------- how long it rests */

static const struct {
    const char *title;
    int code;
    int64_t retry_after_s;
    unsigned tries;
    int64_t at_least_ms, spread_ms;
} rests[] = {
    {"lost", 1006, -1, 0, 0, 1000},
    {"lost again", 1006, -1, 1, 0, 2000},
    {"the fifth time", 0, -1, 4, 0, 16000},
    {"at the ceiling", 0, -1, 6, 0, 60000},
    {"for days", 0, -1, 100000, 0, 60000},
    {"the hub goes away", 1001, -1, 0, 0, 1000},
    {"silence", 4008, -1, 0, 0, 1000},
    {"superseded", 4001, -1, 0, 300000, 150000},
    {"revoked", 4003, -1, 0, -1, 0},
    {"a wrong token", 401, -1, 0, 30000, 30000},
    {"not allowed", 403, -1, 3, 30000, 30000},
    {"busy, and it says until when", 503, 7, 0, 7000, 1000},
    {"too often", 429, 30, 2, 30000, 4000},
    {"busy, and it says nothing", 503, -1, 1, 0, 2000},
    {"a hub that wants us away for a year", 429, 31536000, 0, 3600000, 1000},
    {"another answer", 404, 99, 0, 0, 1000},
};

START_TEST(it_rests)
{
    const struct uplink_opts o = {.min_ms = 1000, .max_ms = 60000, .superseded_ms = 300000};
    struct uplink_rest r =
        uplink_rest(&o, rests[_i].code, rests[_i].retry_after_s, rests[_i].tries);

    ck_assert_msg(r.at_least_ms == rests[_i].at_least_ms && r.spread_ms == rests[_i].spread_ms,
                  "%s: %lld + %lld", rests[_i].title, (long long)r.at_least_ms,
                  (long long)r.spread_ms);
}
END_TEST

UNIT(agent_config, {"files", files_are_read, COUNT(files)}, {"values", values}, {"sample", sample},
     {"tokens", tokens_are_read, COUNT(tokens)}, {"urls", urls_are_read, COUNT(urls)},
     {"rests", it_rests, COUNT(rests)})
