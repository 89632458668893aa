/* sim.c - the server: takes requests, lets the protocol do its work, and shows the client as much
 * as the switches allow.
 *
 *   arrival --accept_after--> served (the order is in the book) --latency--> answered
 *      `-----latency--> faulted     beside the serving: a reset does not wait for the panel's mind
 *
 * Both steps are timers of one exchange, which lives until both have happened. A request whose
 * client went away meanwhile has lost its connection (libevent sets it to NULL) and is freed by the
 * answer. */
#include "sim.h"
#include "base/clock.h"
#include "base/text.h"
#include <assert.h>
#include <errno.h>
#include <event2/buffer.h>
#include <event2/bufferevent.h>
#include <event2/event.h>
#include <event2/http.h>
#include <event2/keyvalq_struct.h>
#include <event2/listener.h>
#include <getopt.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>
#include <sys/resource.h>
#include <sys/socket.h>

struct event_base *sim_base;
static struct sim sim;
static const struct sim_protocol *protocol;

struct exchange {
    struct sim_call call;
    struct evkeyvalq params;
    struct buf body;
    struct event *serve, *answer;
    bool served, answered;
    TAILQ_ENTRY(exchange) link;
};
static TAILQ_HEAD(, exchange) exchanges = TAILQ_HEAD_INITIALIZER(exchanges);

const char *sim_param(const struct sim_call *c, const char *name)
{
    const char *v = evhttp_find_header(c->params, name);

    return v ? v : "";
}

const char *sim_value(const struct sim_call *c, const char *name)
{
    int i = rules_index(c->sim->rules, name);

    assert(i >= 0);
    return c->values[i];
}

bool sim_is(const struct sim_call *c, const char *name, const char *value)
{
    return !strcmp(sim_value(c, name), value);
}

int64_t sim_number(const struct sim_call *c, const char *name)
{
    return strtoll(sim_value(c, name), NULL, 10);
}

bool sim_names(const struct sim_call *c, const char *id)
{
    const char *tilde = strchr(c->product, '~');
    size_t n = tilde ? (size_t)(tilde - c->product) : strlen(c->product);

    return (!tilde || rules_tail_ok(c->sim->rules, tilde + 1)) && !strncmp(c->product, id, n) &&
           !id[n];
}

struct order sim_order(const struct sim_call *c, const char *extra, int64_t cost, int64_t quantity,
                       bool without_pin)
{
    return (struct order){
        .dealer = c->dealer,
        .ref = c->ref,
        .product = c->product,
        .player = c->player,
        .extra = (char *)(uintptr_t)sim_param(c, extra),
        .cost = cost,
        .quantity = quantity,
        .cancels = sim_is(c, "outcome", "cancel"),
        .settle_ms = sim_number(c, "settle_ms"),
        .settle_polls = sim_number(c, "settle_polls"),
        .flip_ms = sim_number(c, "flip_ms"),
        .without_pin = without_pin,
    };
}

/* ---------------------------------------------------------------- answers */

static void exchange_free(struct exchange *x)
{
    TAILQ_REMOVE(&exchanges, x, link);
    if (x->serve)
        event_free(x->serve);
    if (x->answer)
        event_free(x->answer);
    evhttp_clear_headers(&x->params);
    free(x->call.dealer);
    free(x->call.ref);
    free(x->call.product);
    free(x->call.player);
    buf_release(&x->body);
    free(x);
}

static void reply(struct evhttp_request *req, int status, const char *type, const void *p, size_t n)
{
    struct evbuffer *out = evbuffer_new();

    evbuffer_add(out, p, n);
    evhttp_add_header(evhttp_request_get_output_headers(req), "Content-Type", type);
    evhttp_send_reply(req, status, status < 400 ? "OK" : "Trouble", out);
    evbuffer_free(out);
}

/* The connection ends here and now, in one of the impolite ways. Only from the loop, never from a
 * request's callback. */
static void hang_up(struct evhttp_request *req, bool reset, const char *last_words)
{
    struct evhttp_connection *conn = evhttp_request_get_connection(req);

    if (!conn) { /* the client was faster */
        evhttp_request_free(req);
        return;
    }
    int fd = bufferevent_getfd(evhttp_connection_get_bufferevent(conn));
    if (last_words && send(fd, last_words, strlen(last_words), MSG_NOSIGNAL) < 0)
        fprintf(stderr, "sim: send: %s\n", strerror(errno));
    /* libevent says goodbye (FIN) before it closes; dissolving the socket sends a RST and nothing
     * else */
    if (reset &&
        connect(fd, &(struct sockaddr){.sa_family = AF_UNSPEC}, sizeof(struct sockaddr)) != 0)
        fprintf(stderr, "sim: reset: %s\n", strerror(errno));
    evhttp_connection_free(conn); /* and the request with it */
}

static const char html[] =
    "<!DOCTYPE html>\n<html><head><title>Giriş</title></head><body><h1>Erişim "
    "engellendi</h1></body></html>\n";

static void answer(struct exchange *x)
{
    struct evhttp_request *req = TAKE_PTR(x->call.req);
    const char *fault = sim_value(&x->call, "fault");
    const char *wrap = sim_value(&x->call, "wrap");
    _cleanup_(buf_release) struct buf out = BUF(MiB(64));

    if (!strcmp(fault, "hang") || !strcmp(fault, "close"))
        hang_up(req, false, NULL);
    else if (!strcmp(fault, "reset"))
        hang_up(req, true, NULL);
    else if (!strcmp(fault, "cut"))
        hang_up(req, false,
                "HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: 64\r\n\r\nOK|1");
    else if (!strcmp(fault, "empty"))
        reply(req, 200, "text/html; charset=UTF-8", "", 0);
    else if (!strcmp(fault, "html"))
        reply(req, 200, "text/html; charset=UTF-8", html, sizeof(html) - 1);
    else if (!strcmp(fault, "garbage"))
        reply(req, 200, "text/html; charset=UTF-8", "\x01\x02 Fatal error: |||", 20);
    else if (strcmp(fault, "none") != 0)
        reply(req, atoi(fault), "text/html; charset=UTF-8", html, sizeof(html) - 1);
    else {
        buf_puts(&out, !strcmp(wrap, "space")     ? "  \t"
                       : !strcmp(wrap, "newline") ? "\r\n\n"
                       : !strcmp(wrap, "bom")     ? "\xef\xbb\xbf"
                                                  : "");
        buf_append(&out, x->body.p, x->body.len);
        buf_puts(&out, !strcmp(wrap, "none") || !strcmp(wrap, "bom") ? "" : " \r\n");
        reply(req, 200, protocol->content_type, buf_str(&out), out.len);
    }
    control_in_flight(-1);
}

static void on_serve(evutil_socket_t fd, short what, void *arg);
static void on_answer(evutil_socket_t fd, short what, void *arg);

static void after(struct event **timer, event_callback_fn fn, struct exchange *x, int64_t ms)
{
    const struct timeval tv = {.tv_sec = ms / 1000, .tv_usec = ms % 1000 * 1000};

    *timer = evtimer_new(sim_base, fn, x);
    evtimer_add(*timer, &tv);
}

static void serve(struct exchange *x)
{
    struct sim_call *c = &x->call;

    if (!protocol->admit(c, &x->body))
        return;
    switch (c->endpoint) {
    case EP_BALANCE:
        protocol->balance(c, &x->body);
        break;
    case EP_CATALOGUE:
        protocol->catalogue(c, &x->body);
        break;
    case EP_PLACE:
        protocol->place(c, &x->body);
        break;
    case EP_STATUS:
        protocol->status(c, &x->body);
        break;
    default:
        break;
    }
}

static void on_serve(evutil_socket_t fd, short what, void *arg)
{
    struct exchange *x = arg;
    bool faulty = !sim_is(&x->call, "fault", "none");

    serve(x);
    x->served = true;
    if (x->answered)
        exchange_free(x);
    else if (!faulty && sim_number(&x->call, "latency") > 0)
        after(&x->answer, on_answer, x, sim_number(&x->call, "latency"));
    else if (!faulty)
        on_answer(fd, what, x);
}

static void on_answer(evutil_socket_t fd, short what, void *arg)
{
    struct exchange *x = arg;

    answer(x);
    x->answered = true;
    if (x->served)
        exchange_free(x);
}

/* A fault runs beside the serving, a true answer after it. */
static void schedule(struct exchange *x)
{
    const char *fault = sim_value(&x->call, "fault");
    bool faulty = strcmp(fault, "none") != 0, place = x->call.endpoint == EP_PLACE;
    int64_t late = place ? sim_number(&x->call, "accept_after") : 0;

    if (faulty) {
        after(&x->answer, on_answer, x,
              !strcmp(fault, "hang") ? sim.hang_ms : sim_number(&x->call, "latency"));
        x->served = place && sim_is(&x->call, "accepts", "no");
    }
    if (!x->served && late > 0)
        after(&x->serve, on_serve, x, late);
    else if (!x->served)
        on_serve(-1, 0, x);
}

/* ---------------------------------------------------------------- requests */

/* Kept and printed as JSON later: what is not UTF-8 is shown as '?'. */
static char *own(char *s)
{
    if (!s)
        return xstrdup("");
    if (!utf8_valid(s, strlen(s)))
        for (char *p = s; *p; p++)
            if (*p & 0x80)
                *p = '?';
    return s;
}

static void read_params(struct evhttp_request *req, struct evkeyvalq *params)
{
    const char *query = evhttp_uri_get_query(evhttp_request_get_evhttp_uri(req));
    struct evbuffer *in = evhttp_request_get_input_buffer(req);
    size_t n = evbuffer_get_length(in);
    _cleanup_(freep) char *all = xmalloc((query ? strlen(query) : 0) + n + 2);
    size_t len = 0;

    TAILQ_INIT(params);
    if (query)
        len = (size_t)sprintf(all, "%s%s", query, n ? "&" : "");
    if (n > 0 && evbuffer_copyout(in, all + len, n) == (ssize_t)n)
        len += n;
    all[len] = 0;
    if (len > 0)
        evhttp_parse_query_str(all, params);
}

static void serve_control(struct evhttp_request *req, const char *path)
{
    _cleanup_(buf_release) struct buf out = BUF(MiB(256));
    struct evkeyvalq params;
    int status = 200;

    read_params(req, &params);
    if (!control_serve(&sim, path, &params, &out, &status)) {
        status = 404;
        buf_puts(&out, "{\"error\":\"no such control\"}\n");
    }
    reply(req, status, "application/json", buf_str(&out), out.len);
    evhttp_clear_headers(&params);
}

static void on_request(struct evhttp_request *req, void *arg)
{
    const struct evhttp_uri *uri = evhttp_request_get_evhttp_uri(req);
    const char *raw = evhttp_uri_get_path(uri);
    _cleanup_(freep) char *path = evhttp_uridecode(raw ? raw : "/", 0, NULL);

    if (path && starts_with(path, "/_sim/")) {
        serve_control(req, path + strlen("/_sim/"));
        return;
    }

    struct exchange *x = xcalloc(1, sizeof(*x));
    struct sim_call *c = &x->call;
    TAILQ_INSERT_TAIL(&exchanges, x, link);
    *c = (struct sim_call){.sim = &sim, .req = req, .params = &x->params, .at_ms = clock_ms()};
    x->body = BUF(MiB(64));
    read_params(req, &x->params);
    if (!path || !protocol->parse(c, path)) {
        reply(TAKE_PTR(c->req), 404, "text/html", html, sizeof(html) - 1);
        exchange_free(x);
        return;
    }
    c->dealer = own(c->dealer);
    c->ref = own(c->ref);
    c->product = own(c->product);
    c->player = own(c->player);

    int nth = 1;
    if (*c->ref) {
        struct ref *r = book_ref(sim.book, c->dealer, c->ref);

        nth = c->endpoint == EP_PLACE ? ++r->places : ++r->polls;
        if (c->endpoint == EP_STATUS && r->order) {
            free(c->product);
            free(c->player);
            c->product = xstrdup(r->order->product);
            c->player = xstrdup(r->order->player);
        }
    }
    const char *tilde = strchr(c->product, '~');
    _cleanup_(freep) char *base =
        tilde ? xstrndup(c->product, (size_t)(tilde - c->product)) : xstrdup(c->product);
    rules_apply(sim.rules, c->endpoint, &(struct rule_for){base, c->player, c->ref},
                tilde ? tilde + 1 : "", nth, c->values);
    control_in_flight(+1);
    control_note(c, sim_value(c, "fault"));
    schedule(x);
}

/* ---------------------------------------------------------------- the program */

static const struct option options[] = {
    {"listen", required_argument, NULL, 'l'},
    {"port", required_argument, NULL, 'p'},
    {"port-file", required_argument, NULL, 'f'},
    {"settle-ms", required_argument, NULL, 's'},
    {"latency-ms", required_argument, NULL, 'd'},
    {"ledger", required_argument, NULL, 'L'},
    {"switch", required_argument, NULL, 'w'},
    {"login", required_argument, NULL, 'k'},
    {"hang-ms", required_argument, NULL, 'g'},
    {"help", no_argument, NULL, 'h'},
    {0},
};

static void usage(FILE *out)
{
    fprintf(out,
            "usage: sim-%s [options]   a stand-in for a %s provider; see tests/sim/README.md\n"
            "  --listen ADDR      address (127.0.0.1)\n"
            "  --port N           port; 0: a free one (0)\n"
            "  --port-file FILE   write the port here once it listens\n"
            "  --ledger FILE      keep orders and deliveries here, over restarts\n"
            "  --login A[:B]      the one account: kod:sifre, or a token (everybody)\n"
            "  --settle-ms N      ms until an order ends; -1: never by time (1000)\n"
            "  --latency-ms N     ms until each answer (0)\n"
            "  --hang-ms N        a hung call is dropped after this (120000)\n"
            "  --switch A=B       another default for a switch; may be repeated\n",
            protocol->name, protocol->name);
    for (size_t i = 0; i < protocol->nswitches; i++)
        fprintf(out, "    %-14s %s\n", protocol->switches[i].name, protocol->switches[i].values);
}

static void default_or_die(const char *assignment)
{
    char err[320];

    if (!rules_default(sim.rules, assignment, err)) {
        fprintf(stderr, "sim-%s: %s\n", protocol->name, err);
        exit(2);
    }
}

static void default_number(const char *name, const char *value)
{
    _cleanup_(freep) char *a = xasprintf("%s=%s", name, value);

    default_or_die(a);
}

static evutil_socket_t listen_on(const char *addr, int port, struct evhttp *http)
{
    struct sockaddr_storage ss;
    int len = sizeof(ss);
    struct evconnlistener *l;

    if (evutil_parse_sockaddr_port(addr, (struct sockaddr *)&ss, &len) != 0) {
        fprintf(stderr, "sim-%s: %s is not an address\n", protocol->name, addr);
        return -1;
    }
    if (ss.ss_family == AF_INET6)
        ((struct sockaddr_in6 *)(void *)&ss)->sin6_port = htons((uint16_t)port);
    else
        ((struct sockaddr_in *)(void *)&ss)->sin_port = htons((uint16_t)port);
    l = evconnlistener_new_bind(sim_base, NULL, NULL,
                                LEV_OPT_CLOSE_ON_FREE | LEV_OPT_CLOSE_ON_EXEC | LEV_OPT_REUSEABLE,
                                /* backlog= */ 8192, (struct sockaddr *)&ss, len);
    if (!l || !evhttp_bind_listener(http, l)) {
        fprintf(stderr, "sim-%s: cannot listen on %s:%d: %s\n", protocol->name, addr, port,
                strerror(errno));
        return -1;
    }
    return evconnlistener_get_fd(l);
}

static bool tell_port(evutil_socket_t fd, const char *file)
{
    struct sockaddr_storage ss = {0};
    socklen_t len = sizeof(ss);
    _cleanup_(freep) char *next = file ? xasprintf("%s.new", file) : NULL;
    FILE *f;
    int port;

    getsockname(fd, (struct sockaddr *)&ss, &len);
    port = ntohs(ss.ss_family == AF_INET6 ? ((struct sockaddr_in6 *)(void *)&ss)->sin6_port
                                          : ((struct sockaddr_in *)(void *)&ss)->sin_port);
    printf("sim-%s listens on port %d\n", protocol->name, port);
    fflush(stdout);
    if (!file)
        return true;
    f = fopen(next, "we"); /* renamed when whole: who sees the file can read the port */
    if (!f || fprintf(f, "%d\n", port) < 0 || fclose(f) != 0 || rename(next, file) != 0) {
        fprintf(stderr, "sim-%s: %s: %s\n", protocol->name, file, strerror(errno));
        return false;
    }
    return true;
}

static void on_signal(evutil_socket_t fd, short what, void *arg)
{
    event_base_loopbreak(sim_base);
}

static void raise_files(void)
{
    struct rlimit r;

    if (getrlimit(RLIMIT_NOFILE, &r) == 0 && r.rlim_cur < r.rlim_max) {
        r.rlim_cur = r.rlim_max;
        setrlimit(RLIMIT_NOFILE, &r);
    }
}

/* What the command line says besides the switches' defaults. */
struct options {
    const char *addr, *port_file, *ledger;
    char *login; /* owns what sim.login and sim.password point to */
    int64_t port;
};

static void number_or_die(const char *option, const char *value, int64_t min, int64_t max,
                          int64_t *ret)
{
    if (parse_int(value, min, max, ret))
        return;
    fprintf(stderr, "sim-%s: --%s %s is not a number from %lld to %lld\n", protocol->name, option,
            value, (long long)min, (long long)max);
    exit(2);
}

static void set_login(struct options *o, const char *value)
{
    free(o->login);
    o->login = xstrdup(value);
    sim.login = o->login;
    sim.password = strchr(o->login, ':');
    if (sim.password)
        o->login[sim.password++ - o->login] = 0;
}

/* Leaves the program after --help and after a mistake. */
static void read_options(int argc, char **argv, struct options *o)
{
    int c;

    while ((c = getopt_long(argc, argv, "", options, NULL)) != -1)
        switch (c) {
        case 'l':
            o->addr = optarg;
            break;
        case 'p':
            number_or_die("port", optarg, 0, 65535, &o->port);
            break;
        case 'f':
            o->port_file = optarg;
            break;
        case 's':
            default_number("settle_ms", optarg);
            break;
        case 'd':
            default_number("latency", optarg);
            break;
        case 'L':
            o->ledger = optarg;
            break;
        case 'w':
            default_or_die(optarg);
            break;
        case 'k':
            set_login(o, optarg);
            break;
        case 'g':
            number_or_die("hang-ms", optarg, 1, 86400000, &sim.hang_ms);
            break;
        case 'h':
            usage(stdout);
            exit(0);
        default:
            usage(stderr);
            exit(2);
        }
}

static struct evhttp *http_open(void)
{
    struct evhttp *http = evhttp_new(sim_base);

    evhttp_set_gencb(http, on_request, NULL);
    evhttp_set_timeout(http, 600); /* slow answers are on purpose */
    evhttp_set_max_headers_size(http, (ev_ssize_t)KiB(64));
    evhttp_set_max_body_size(http, (ev_ssize_t)MiB(1));
    return http;
}

/* True after a signal has asked it to end; false when it could not begin. */
static bool serve_until_told(struct evhttp *http, const struct options *o)
{
    if (o->ledger && !book_open(sim.book, o->ledger))
        return false;
    evutil_socket_t fd = listen_on(o->addr, (int)o->port, http);
    if (fd < 0 || !tell_port(fd, o->port_file))
        return false;
    event_base_dispatch(sim_base);
    return true;
}

static void drop_exchanges(void)
{
    struct exchange *x, *next;

    for (x = TAILQ_FIRST(&exchanges); x; x = next) {
        next = TAILQ_NEXT(x, link);
        if (x->call.req && !evhttp_request_get_connection(x->call.req))
            evhttp_request_free(x->call.req);
        exchange_free(x);
    }
}

int sim_main(int argc, char **argv, const struct sim_protocol *p)
{
    struct options o = {.addr = "127.0.0.1"};

    protocol = p;
    sim = (struct sim){.name = p->name, .hang_ms = 120000};
    sim.rules = rules_new(p->switches, p->nswitches);
    read_options(argc, argv, &o);

    signal(SIGPIPE, SIG_IGN);
    raise_files();
    sim_base = event_base_new();
    sim.book = book_new();
    struct evhttp *http = http_open();
    struct event *term = evsignal_new(sim_base, SIGTERM, on_signal, NULL),
                 *intr = evsignal_new(sim_base, SIGINT, on_signal, NULL);
    event_add(term, NULL);
    event_add(intr, NULL);

    bool ended_well = serve_until_told(http, &o);

    drop_exchanges();
    evhttp_free(http);
    sim.book = book_free(sim.book);
    sim.rules = rules_free(sim.rules);
    control_reset();
    event_free(term);
    event_free(intr);
    event_base_free(sim_base);
    free(o.login);
    return ended_well ? 0 : 1;
}
