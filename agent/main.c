/* main.c - mihwar-agent: holds a session with a hub and carries out what its list allows.
 *
 *      config.c    the file                          agent.c      the protocol
 *      commands.c  the list, and what it runs          uplink.c   the connection
 *        child.c     one program, under limits         journal.c  what was done, over any death
 *
 * SIGTERM: takes no more commands, lets those under way end within stop_grace. SIGHUP: certificates are read again (the token is read at
 * each connection anyway). Exit status 3: the hub took the agent or its token back. */
#include "agent/commands.h"
#include "base/log.h"
#include "base/program.h"
#include "base/text.h"
#include "rt/fiber.h"
#include "rt/loop.h"
#include "rt/offload.h"
#include "rt/supervisor.h"
#include "secure/tls.h"
#include <fcntl.h>
#include <getopt.h>
#include <stdlib.h>
#include <unistd.h>

#define EXIT_REVOKED 3

struct program {
    struct config config;
    struct tls *tls;
    struct journal *journal;
    struct agent *agent;
    bool stopping;
    int status;
};

/* ---------------------------------------------------------------- running */

static rc stop(struct cx *cx, void *arg)
{
    struct program *p = arg;

    agent_stop(cx, p->agent, p->config.stop_grace_ms);
    fiber_cancel_all();
    loop_stop();
    return OK;
}

static void on_stop(void *arg)
{
    struct program *p = arg;

    if (!p->stopping)
        fiber_detach(fiber_spawn(&(struct fiber_opts){.name = "agent.stop"}, stop, p));
    p->stopping = true;
}

static void on_reload(void *arg)
{
    _cleanup_(cx_release) struct cx cx = CX_PLAIN("reload");
    struct program *p = arg;
    rc r = p->tls ? tls_reload(&cx, p->tls) : OK;

    if (r != OK)
        log_fail(LOG_ERROR, "tls.not_reloaded", &cx, r);
}

static void on_state(enum agent_state state, void *arg)
{
    struct program *p = arg;

    if (state == AGENT_REVOKED) {
        p->status = EXIT_REVOKED;
        on_stop(p);
    }
}

static rc carry_out(struct cx *cx, const struct agent_command *c, struct outcome *ret, void *arg)
{
    return commands_carry_out(cx, c, ret, &((struct program *)arg)->config);
}

static rc token(struct cx *cx, char *out, size_t n, void *arg)
{
    return config_token(cx, &((struct program *)arg)->config, out, n);
}

static void run(struct program *p)
{
    const struct config *c = &p->config;

    child_signals(on_stop, on_reload, p);
    p->agent = agent_new(&(struct agent_opts){.uplink = {.urls = (const char *const *)c->urls,
                                                         .url_count = c->url_count,
                                                         .tls = p->tls,
                                                         .agent_id = c->agent_id,
                                                         .min_ms = c->reconnect_min_ms,
                                                         .max_ms = c->reconnect_max_ms,
                                                         .superseded_ms = c->superseded_wait_ms,
                                                         .token = token,
                                                         .token_arg = p},
                                              .version = c->version,
                                              .metadata = c->metadata,
                                              .journal = p->journal,
                                              .concurrency = (size_t)c->concurrency,
                                              .carry_out = carry_out,
                                              .on_state = on_state,
                                              .arg = p});
    log_ev(LOG_INFO, "agent.started", kv_str("agent", c->agent_id), kv_str("version", c->version),
           kv_int("commands", (int64_t)c->command_count + 1),
           kv_int("journal", (int64_t)journal_count(p->journal)));
    loop_run();
    p->agent = agent_free(p->agent);
    log_ev(LOG_INFO, "agent.stopped", kv_int("status", p->status));
}

/* ---------------------------------------------------------------- beginning */

static rc open_tls(struct cx *cx, struct program *p)
{
    const struct config *c = &p->config;

    return c->ca
               ? tls_new(cx, TLS_CLIENT,
                         &(struct tls_files){.cert = c->cert, .key = c->key, .ca = c->ca}, &p->tls)
               : OK;
}

static rc begin(struct cx *cx, struct program *p, const char *file)
{
    enum log_level level = LOG_INFO;

    try(config_load(cx, file, &p->config));
    log_level_from(p->config.log_level, &level);
    log_setup(NULL, level, str_eq(p->config.log_format, "json") ? LOG_JSON : LOG_LOGFMT);
    log_set_prog("agent");
    try(config_check(cx, &p->config));
    return open_tls(cx, p);
}

static rc work(struct cx *cx, struct program *p)
{
    try(journal_open(cx, p->config.state_dir, &(struct journal_opts){0}, &p->journal));
    try(loop_init(cx));
    run(p);
    offload_free();
    loop_free();
    return OK;
}

static void end(struct program *p)
{
    p->journal = journal_close(p->journal);
    p->tls = tls_free(p->tls);
    config_release(&p->config);
}

static void print_help(void)
{
    printf("mihwar-agent - carries out commands of a hub on this machine\n\n"
           "usage: mihwar-agent [--config FILE] [--check-config] [--version] [--help]\n\n"
           "  --config FILE    who it is, where the hub is, what it may do (default: "
           "/etc/mihwar/agent.ini)\n"
           "  --check-config   say whether the file is right, and leave\n\n"
           "exit status: 0 stopped, 1 failed, 2 usage or a wrong file, 3 the hub took the agent or "
           "its token back\n");
}

/* -1: go on; otherwise the exit status. */
static int read_options(int argc, char **argv, const char **file, bool *check)
{
    static const struct option options[] = {
        {"config", required_argument, NULL, 'c'},
        {"check-config", no_argument, NULL, 'k'},
        {"version", no_argument, NULL, 'v'},
        {"help", no_argument, NULL, 'h'},
        {0},
    };
    int c;

    while ((c = getopt_long(argc, argv, "", options, NULL)) != -1) {
        switch (c) {
        case 'c':
            *file = optarg;
            break;
        case 'k':
            *check = true;
            break;
        case 'v':
            printf("mihwar-agent %s\n", program_version());
            return 0;
        case 'h':
            print_help();
            return 0;
        default:
            fprintf(stderr, "try 'mihwar-agent --help'\n");
            return 2;
        }
    }
    if (optind == argc)
        return -1;
    fprintf(stderr, "mihwar-agent: '%s' is not an option; try 'mihwar-agent --help'\n",
            argv[optind]);
    return 2;
}

/* Descriptors 0 to 2 are what a command's program will have there; none of ours may be one of them. */
static void fill_standard_descriptors(void)
{
    int fd;

    while ((fd = open("/dev/null", O_RDWR)) >= 0 && fd < 3)
        ;
    if (fd >= 3)
        close(fd);
}

int main(int argc, char **argv)
{
    _cleanup_(cx_release) struct cx cx = CX_PLAIN("agent");
    struct program p = {0};
    const char *file = "/etc/mihwar/agent.ini";
    bool check = false;
    int status = read_options(argc, argv, &file, &check);

    if (status >= 0)
        return status;
    fill_standard_descriptors();
    rc r = begin(&cx, &p, file);
    if (r == OK && check)
        printf("mihwar-agent: the settings are right\n");
    else if (r == OK)
        r = work(&cx, &p);
    if (r != OK)
        fprintf(stderr, "mihwar-agent: %s\n", cx_words(&cx, r));
    end(&p);
    return r != OK ? error_info(r)->exit_status : p.status;
}
