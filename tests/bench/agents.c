/* agents.c - many agents that hold a session and have nothing to do.
 *
 *   bench_agents --make N --tenant ID --tokens FILE        agents and their tokens: FILE gets a line each, stdout the SQL
 *   bench_agents --port P --tokens FILE --seconds S        all of them connect; {"connected":…}; S seconds of heartbeats; {"held":…}
 *                [--ca FILE --cert FILE --key FILE]        over TLS, with a certificate; --tls 2: TLS 1.2
 *
 * Each says its heartbeat in time, as the hub asked for it, and counts what it hears. */
#include "base/clock.h"
#include "base/id.h"
#include "rt/loop.h"
#include "rt/websocket.h"
#include "secure/tls.h"
#include "secure/token.h"
#include "tests/bench/bench.h"
#include "tests/bench/options.h"
#include <arpa/inet.h>
#include <event2/bufferevent_ssl.h>
#include <event2/event.h>

#define OPENING_MAX 64 /* at once: a reconnecting fleet has its jitter */

static int make, port, seconds = 10, heartbeat_s = 30, tls_minor = 3;
static const char *tenant, *tokens_file, *ca, *cert, *key;

struct agent {
    struct websocket *ws;
    char id[32], token[TOKEN_TEXT_LEN + 1];
    bool open, welcome;
    struct event *beat;
};
static struct agent *agents;
static int count, next, opening, welcomed, lost;
static int64_t answers, beats;
static struct tls *tls;

/* ---------------------------------------------------------------- making them */

static void make_agents(void)
{
    _cleanup_(cx_release) struct cx cx = CX_PLAIN("bench");
    FILE *f = fopen(tokens_file, "we");

    if (!f)
        die(tokens_file, strerror(errno));
    printf("BEGIN;\n");
    for (int i = 0; i < make; i++) {
        char prefix[TOKEN_PREFIX_LEN + 1], text[TOKEN_TEXT_LEN + 1], hash[TOKEN_HASH_MAX],
            id[ID_LEN + 1];

        token_make(&TOKEN_AGENT, prefix, text);
        if (token_hash(&cx, &TOKEN_AGENT, text, hash) != OK)
            die("Argon2", cx.err.text);
        printf("INSERT INTO agents (agent_id, tenant_id, agent_type) VALUES ('bench-%05d', '%s', "
               "'bench');\n"
               "INSERT INTO agent_auth_tokens (token_id, agent_id, prefix, token_hash) VALUES "
               "('%s', 'bench-%05d', '%s', '%s');\n",
               i, tenant, id_new(id), i, prefix, hash);
        fprintf(f, "bench-%05d %s\n", i, text);
    }
    printf("COMMIT;\n");
    fclose(f);
}

static void read_agents(void)
{
    FILE *f = fopen(tokens_file, "re");
    char id[32], token[128];

    if (!f)
        die(tokens_file, strerror(errno));
    while (fscanf(f, "%31s %127s", id, token) == 2) {
        agents = xrealloc(agents, (size_t)(count + 1) * sizeof *agents);
        agents[count] = (struct agent){0};
        memcpy(agents[count].id, id, sizeof id);
        snprintf(agents[count++].token, sizeof agents->token, "%.*s", TOKEN_TEXT_LEN, token);
    }
    fclose(f);
}

/* ---------------------------------------------------------------- their sessions */

static void open_more(void);

static void on_beat(evutil_socket_t fd, short what, void *arg)
{
    static const char beat[] = "{\"type\":\"heartbeat\"}";
    struct agent *a = arg;

    (void)fd, (void)what;
    if (websocket_send(a->ws, beat, sizeof beat - 1))
        beats++;
}

static void on_open(void *arg)
{
    static const char hello[] =
        "{\"type\":\"hello\",\"version\":\"1.0\",\"metadata\":{\"site\":\"bench\"}}";
    struct agent *a = arg;

    a->open = true;
    websocket_send(a->ws, hello, sizeof hello - 1);
}

static void on_message(void *arg, const char *text, size_t n)
{
    struct agent *a = arg;
    struct timeval tv = {.tv_sec = heartbeat_s};

    (void)n;
    if (strstr(text, "\"heartbeat\"")) {
        answers++;
        return;
    }
    if (a->welcome || !strstr(text, "\"welcome\""))
        return;
    a->welcome = true;
    welcomed++;
    opening--;
    a->beat = event_new(loop_base(), -1, EV_PERSIST, on_beat, a);
    evtimer_add(a->beat, &tv);
    open_more();
}

static void on_close(void *arg, int code, const char *reason)
{
    struct agent *a = arg;

    if (lost++ < 5)
        fprintf(stderr, "bench_agents: %s: %d %s\n", a->id, code, reason);
    if (!a->welcome)
        opening--;
    open_more();
}

static struct bufferevent *bufferevent_to_hub(void)
{
    SSL *ssl;

    if (!tls)
        return bufferevent_socket_new(loop_base(), -1, BEV_OPT_CLOSE_ON_FREE);
    ssl = SSL_new(tls_ctx(tls));
    if (ssl && tls_minor == 2)
        SSL_set_max_proto_version(ssl, TLS1_2_VERSION);
    return ssl ? bufferevent_openssl_socket_new(loop_base(), -1, ssl, BUFFEREVENT_SSL_CONNECTING,
                                                BEV_OPT_CLOSE_ON_FREE)
               : NULL;
}

static void open_one(struct agent *a)
{
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
    struct bufferevent *bev = bufferevent_to_hub();
    char target[80];

    to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    if (!bev || bufferevent_socket_connect(bev, (struct sockaddr *)&to, sizeof to) != 0)
        die("connect", strerror(errno));
    snprintf(target, sizeof target, "/v1/agent/session?agent_id=%s", a->id);
    opening++;
    a->ws = websocket_connect(bev, &(struct websocket_opts){
                                       .host = "127.0.0.1",
                                       .target = target,
                                       .bearer = a->token,
                                       .open_ms = 60000,
                                       .arg = a,
                                       .on_open = on_open,
                                       .on_message = on_message,
                                       .on_close = on_close,
                                   });
}

static void open_more(void)
{
    while (next < count && opening < OPENING_MAX)
        open_one(&agents[next++]);
}

static void turn_until(int64_t end_mono_ms, const int *value, int enough)
{
    struct timeval tick = {.tv_usec = 100000};

    while (clock_mono_ms() < end_mono_ms && (!value || *value + lost < enough)) {
        event_base_loopexit(loop_base(), &tick);
        event_base_loop(loop_base(), EVLOOP_NO_EXIT_ON_EMPTY);
    }
}

static const struct option_row options[] = {
    {"make", .number = &make, .least = 1, .most = 100000},
    {"tenant", .text = &tenant},
    {"tokens", .text = &tokens_file},
    {"port", .number = &port, .least = 1, .most = 65535},
    {"seconds", .number = &seconds, .least = 1, .most = 86400},
    {"heartbeat", .number = &heartbeat_s, .least = 1, .most = 3600},
    {"ca", .text = &ca},
    {"cert", .text = &cert},
    {"key", .text = &key},
    {"tls", .number = &tls_minor, .least = 2, .most = 3},
};

int main(int argc, char **argv)
{
    _cleanup_(cx_release) struct cx cx = CX_PLAIN("bench");
    struct rlimit files = {0};
    int64_t start;

    options_read(argc, argv, options, COUNT(options));
    if (!tokens_file || (make && !tenant) || (!make && !port))
        options_usage(options, COUNT(options));
    if (make) {
        make_agents();
        return 0;
    }
    getrlimit(RLIMIT_NOFILE, &files);
    files.rlim_cur = files.rlim_max;
    setrlimit(RLIMIT_NOFILE, &files);
    read_agents();
    if (loop_init(&cx) != OK)
        die("loop", cx.err.text);
    if (ca && tls_new(&cx, TLS_CLIENT, &(struct tls_files){.ca = ca, .cert = cert, .key = key},
                      &tls) != OK)
        die("TLS", cx.err.text);
    start = clock_mono_ms();
    open_more();
    turn_until(start + 600000, &welcomed, count);
    printf("{\"connected\":%d,\"lost\":%d,\"took_ms\":%lld}\n", welcomed, lost,
           (long long)(clock_mono_ms() - start));
    fflush(stdout);
    turn_until(clock_mono_ms() + (int64_t)seconds * 1000, NULL, 0);
    printf("{\"held\":%d,\"heartbeats\":%lld,\"answers\":%lld}\n", welcomed - lost,
           (long long)beats, (long long)answers);
    return lost ? 1 : 0;
}
