/* fleet.c - many agents in one process, on the code of mihwar-agent (agent/agent.h): for failure runs and for measuring hubs.
 *
 *      sim-fleet --agents FILE --url ws://127.0.0.1:8080 [--url …] --state DIR --ledger FILE --stats FILE
 *
 *   FILE of agents   "agent_id token" a line; each is one session, at any of the URLs, at another one after a failure
 *   ledger           "job_id agent_id command" a line, written when a command is carried out: whatever anybody believes, a job that is
 *                    there twice was carried out twice
 *   stats            {"agents","connected","sessions","commands","revoked"}, written anew when something changed
 *
 * Any command is carried out: after up to --delay MS it answers with its own payload. Troubles, each with a probability from 0 to 1:
 *
 *   --drop     the connection is cut, in the middle of the command or right behind its result
 *   --twice    the result is sent twice
 *   --silent   it is carried out, and nothing is said until the request's time is over
 *
 * One journal (in --state) serves all. SIGTERM ends it. */
#include "agent/agent.h"
#include "base/buf.h"
#include "base/clock.h"
#include "base/id.h"
#include "base/log.h"
#include "base/program.h"
#include "base/text.h"
#include "rt/fiber.h"
#include "rt/loop.h"
#include "rt/offload.h"
#include "rt/supervisor.h"
#include "secure/tls.h"
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define STATS_MS  200
#define RAMP_MS   20 /* between two handfuls of new agents */
#define URLS_MAX  16
#define TOKEN_MAX 128

struct member {
    struct fleet *fleet;
    struct agent *agent;
    char agent_id[256], token[TOKEN_MAX];
};

struct fleet {
    const char *urls[URLS_MAX];
    size_t url_count;
    const char *agents_file, *ledger_file, *stats_file, *state;
    struct tls_files certs;
    int64_t count, ramp_ms, delay_ms, reconnect_min_ms, reconnect_max_ms;
    double drop, twice, silent;

    struct tls *tls;
    struct journal *journal;
    struct member *members;
    size_t member_count;
    int ledger_fd;
    size_t connected, sessions, commands, revoked;
    bool changed;
};

/* ---------------------------------------------------------------- what is counted */

static void write_stats(struct fleet *f)
{
    _cleanup_(freep) char *beside = xasprintf("%s.new", f->stats_file);
    FILE *out = fopen(beside, "we");

    f->changed = false;
    if (!out ||
        fprintf(out,
                "{\"agents\":%zu,\"connected\":%zu,\"sessions\":%zu,\"commands\":%zu,\"revoked\":%"
                "zu}\n",
                f->member_count, f->connected, f->sessions, f->commands, f->revoked) < 0 ||
        fclose(out) != 0 || rename(beside, f->stats_file) < 0)
        log_ev(LOG_ERROR, "stats.not_written", kv_str("file", f->stats_file),
               kv_str("err", strerror(errno)));
}

static rc keep_stats(struct cx *cx, void *arg)
{
    struct fleet *f = arg;

    for (;;) {
        if (f->changed && f->stats_file)
            write_stats(f);
        try(fiber_sleep(cx, STATS_MS));
    }
}

/* In the file before anything else happens: a crash of ours loses no line. */
static void note(struct fleet *f, const struct member *m, const struct agent_command *c)
{
    char line[512];
    int n = snprintf(line, sizeof line, "%s %s %s\n", c->job_id, m->agent_id, c->name);

    f->commands++;
    f->changed = true;
    if (f->ledger_fd >= 0 && write(f->ledger_fd, line, (size_t)n) != n) {
        log_ev(LOG_ERROR, "ledger.not_written", kv_str("err", strerror(errno)));
        abort(); /* a ledger with a line missing would hide what it is there to show */
    }
}

/* ---------------------------------------------------------------- an agent */

static bool chance(double p)
{
    return p > 0 && (double)random_below(1000000) < p * 1000000;
}

struct again {
    struct member *member;
    char job_id[ID_LEN + 1];
    bool cut; /* instead of saying it again */
};

/* Once the result is there: say it again, or hang up behind it. */
static rc after_result(struct cx *cx, void *arg)
{
    struct again *a = arg;
    struct fleet *f = a->member->fleet;
    const struct journal_entry *e;
    rc r = OK;

    while (r == OK && (e = journal_find(f->journal, a->job_id)) && e->state == JOURNAL_BEGUN)
        r = fiber_sleep(cx, 5);
    if (r == OK && a->cut)
        agent_cut(a->member->agent);
    else if (r == OK)
        agent_repeat(a->member->agent, a->job_id);
    free(a);
    return r;
}

static void then(struct member *m, const char *job_id, bool cut)
{
    struct again *a = xcalloc(1, sizeof *a);

    a->member = m;
    a->cut = cut;
    snprintf(a->job_id, sizeof a->job_id, "%s", job_id);
    fiber_detach(fiber_spawn(&(struct fiber_opts){.name = "fleet.after"}, after_result, a));
}

static rc carry_out(struct cx *cx, const struct agent_command *c, struct outcome *ret, void *arg)
{
    struct member *m = arg;
    struct fleet *f = m->fleet;

    note(f, m, c);
    if (chance(f->drop / 2))
        agent_cut(m->agent);
    if (chance(f->drop / 2))
        then(m, c->job_id, /* cut= */ true);
    if (chance(f->twice))
        then(m, c->job_id, /* cut= */ false);
    if (f->delay_ms)
        try(fiber_sleep(cx, (int64_t)random_below((uint64_t)f->delay_ms + 1)));
    if (chance(f->silent))
        try(fiber_sleep(cx, 86400000));
    cJSON_AddStringToObject(ret->response, "agent", m->agent_id);
    cJSON_AddItemToObject(ret->response, "payload", cJSON_Parse(c->payload));
    return OK;
}

static void on_state(enum agent_state state, void *arg)
{
    struct fleet *f = ((struct member *)arg)->fleet;

    f->changed = true;
    if (state == AGENT_CONNECTED) {
        f->connected++;
        f->sessions++;
    } else if (state == AGENT_AWAY) {
        f->connected--;
    } else {
        f->revoked++;
    }
}

static rc token(struct cx *cx, char *out, size_t n, void *arg)
{
    snprintf(out, n, "%s", ((struct member *)arg)->token);
    return OK;
}

static void join(struct fleet *f, struct member *m)
{
    m->agent = agent_new(&(struct agent_opts){.uplink = {.urls = f->urls,
                                                         .url_count = f->url_count,
                                                         .tls = f->tls,
                                                         .agent_id = m->agent_id,
                                                         .min_ms = f->reconnect_min_ms,
                                                         .max_ms = f->reconnect_max_ms,
                                                         .token = token,
                                                         .token_arg = m},
                                              .version = "fleet",
                                              .metadata = "{}",
                                              .journal = f->journal,
                                              .carry_out = carry_out,
                                              .on_state = on_state,
                                              .arg = m});
}

/* All of them within ramp_ms. */
static rc gather(struct cx *cx, void *arg)
{
    struct fleet *f = arg;
    size_t steps = (size_t)MAX(f->ramp_ms / RAMP_MS, (int64_t)1),
           handful = f->member_count / steps + 1;

    for (size_t i = 0; i < f->member_count; i++) {
        join(f, &f->members[i]);
        if ((i + 1) % handful == 0)
            try(fiber_sleep(cx, RAMP_MS));
    }
    return OK;
}

/* ---------------------------------------------------------------- the program */

static void on_stop(void *arg)
{
    fiber_cancel_all();
    loop_stop();
}

static rc read_agents(struct cx *cx, struct fleet *f)
{
    FILE *in = fopen(f->agents_file, "re");
    struct member m = {.fleet = f};

    if (!in)
        return fail(cx, CONFIG, "%s cannot be read: %s", f->agents_file, strerror(errno));
    while ((!f->count || f->member_count < (size_t)f->count) &&
           fscanf(in, "%255s %127s", m.agent_id, m.token) == 2) {
        if ((f->member_count & (f->member_count - 1)) == 0)
            f->members = xrealloc(f->members, MAX(f->member_count * 2, (size_t)16) * sizeof m);
        f->members[f->member_count++] = m;
    }
    fclose(in);
    if (f->member_count == 0 || (f->count && f->member_count < (size_t)f->count))
        return fail(cx, CONFIG, "%s has %zu agents", f->agents_file, f->member_count);
    return OK;
}

static rc begin(struct cx *cx, struct fleet *f)
{
    try(read_agents(cx, f));
    if (f->certs.ca)
        try(tls_new(cx, TLS_CLIENT, &f->certs, &f->tls));
    if (f->ledger_file &&
        (f->ledger_fd = open(f->ledger_file, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644)) < 0)
        return fail(cx, CONFIG, "%s cannot be written: %s", f->ledger_file, strerror(errno));
    try(journal_open(cx, f->state,
                     &(struct journal_opts){.entries_max = 1000000, .bytes_max = MiB(256)},
                     &f->journal));
    return loop_init(cx);
}

static void run(struct fleet *f)
{
    child_signals(on_stop, NULL, f);
    child_raise_files((long)f->member_count + 100);
    fiber_detach(fiber_spawn(&(struct fiber_opts){.name = "fleet.gather"}, gather, f));
    fiber_detach(fiber_spawn(&(struct fiber_opts){.name = "fleet.stats"}, keep_stats, f));
    f->changed = true;
    loop_run();
    if (f->stats_file)
        write_stats(f);
    for (size_t i = 0; i < f->member_count; i++)
        agent_free(f->members[i].agent);
    offload_free();
    loop_free();
}

static void end(struct fleet *f)
{
    journal_close(f->journal);
    tls_free(f->tls);
    closep(&f->ledger_fd);
    free(f->members);
}

enum kind { TEXT, URL, COUNTED, DURATION, CHANCE };

static bool set(struct fleet *f, enum kind kind, void *slot, const char *value)
{
    char *end_of;

    switch (kind) {
    case TEXT:
        *(const char **)slot = value;
        return true;
    case URL:
        if (f->url_count == URLS_MAX)
            return false;
        f->urls[f->url_count++] = value;
        return true;
    case COUNTED:
        return parse_int(value, 0, 1000000, slot);
    case DURATION:
        return parse_duration_ms(value, slot);
    default:
        *(double *)slot = strtod(value, &end_of);
        return end_of != value && !*end_of && *(double *)slot >= 0 && *(double *)slot <= 1;
    }
}

static bool read_options(struct fleet *f, int argc, char **argv)
{
    const struct {
        const char *name;
        enum kind kind;
        void *slot;
    } rows[] = {
        {"agents", TEXT, &f->agents_file},
        {"ca", TEXT, &f->certs.ca},
        {"cert", TEXT, &f->certs.cert},
        {"count", COUNTED, &f->count},
        {"delay", DURATION, &f->delay_ms},
        {"drop", CHANCE, &f->drop},
        {"key", TEXT, &f->certs.key},
        {"ledger", TEXT, &f->ledger_file},
        {"ramp", DURATION, &f->ramp_ms},
        {"reconnect-max", DURATION, &f->reconnect_max_ms},
        {"reconnect-min", DURATION, &f->reconnect_min_ms},
        {"silent", CHANCE, &f->silent},
        {"state", TEXT, &f->state},
        {"stats", TEXT, &f->stats_file},
        {"twice", CHANCE, &f->twice},
        {"url", URL, NULL},
    };
    struct option options[COUNT(rows) + 1] = {0};
    int at = 0;

    for (size_t i = 0; i < COUNT(rows); i++)
        options[i] = (struct option){rows[i].name, required_argument, NULL, 1};
    while (getopt_long(argc, argv, "", options, &at) == 1) {
        if (!set(f, rows[at].kind, rows[at].slot, optarg)) {
            fprintf(stderr, "sim-fleet: --%s cannot be '%s'\n", rows[at].name, optarg);
            return false;
        }
    }
    if (optind == argc && f->agents_file && f->url_count && f->state)
        return true;
    fprintf(stderr, "usage: sim-fleet --agents FILE --url URL --state DIR, and any of\n");
    for (size_t i = 0; i < COUNT(rows); i++)
        fprintf(stderr, "  --%s\n", rows[i].name);
    return false;
}

int main(int argc, char **argv)
{
    _cleanup_(cx_release) struct cx cx = CX_PLAIN("fleet");
    struct fleet f = {.ledger_fd = -1, .reconnect_min_ms = 200, .reconnect_max_ms = 5000};

    if (!read_options(&f, argc, argv))
        return 2;
    log_setup(NULL, LOG_ERROR, LOG_LOGFMT); /* ten thousand that come and go are a noise */
    rc r = begin(&cx, &f);
    if (r == OK)
        run(&f);
    else
        fprintf(stderr, "sim-fleet: %s\n", cx_words(&cx, r));
    end(&f);
    return r == OK ? 0 : 1;
}
