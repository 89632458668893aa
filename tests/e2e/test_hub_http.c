/* test_hub_http.c - the hub's HTTP, byte for byte: odd requests, large ones, slow ones, and callers
 * who vanish. Whatever comes, the answer is a problem+json with an X-Request-Id, and the hub lives. */
#include "base/buf.h"
#include "tests/e2e/wire.h"
#include "tests/unit/unit.h"
#include <sys/resource.h>

static struct house h;
static char package[40];

/* $K: the Authorization line. $O: an order's JSON with its length before it ("Content-Length: n",
 * blank line, body). $A: 20 KB of 'a'. Freed by the caller. */
static char *fill(const char *text)
{
    struct buf b = BUF(MiB(1));
    char body[160];

    snprintf(body, sizeof body, "{\"package_id\":\"%s\",\"user_identifier\":\"wire\"}", package);
    for (const char *p = text; *p; p++) {
        if (*p != '$') {
            buf_putc(&b, *p);
            continue;
        }
        p++;
        if (*p == 'K')
            buf_printf(&b, "Host: x\r\nAuthorization: Bearer %s\r\n", h.key);
        if (*p == 'O')
            buf_printf(&b, "Content-Length: %zu\r\n\r\n%s", strlen(body), body);
        if (*p == 'C')
            buf_printf(&b, "%zx\r\n%s\r\n", strlen(body), body);
        for (int i = 0; *p == 'A' && i < 20000; i++)
            buf_putc(&b, 'a');
    }
    return buf_take(&b);
}

static int status_of(const char *answer)
{
    return strncmp(answer, "HTTP/1.", 7) == 0 ? atoi(answer + 9) : 0;
}

static int count(const char *text, const char *what)
{
    int n = 0;

    for (; (text = strstr(text, what)); text += strlen(what))
        n++;
    return n;
}

#define HEALTH "GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n"
#define ONE    "$KConnection: close\r\n"

/* Each ends with a closed connection; `answers` is how many replies came before. */
static const struct {
    const char *title, *request;
    int status, answers;
    const char *code; /* of the problem; NULL: no problem */
} odd[] = {
    {"HTTP/1.0", "GET /healthz HTTP/1.0\r\n\r\n", 200, 1, NULL},
    {"an absolute URI", "GET http://x/healthz HTTP/1.1\r\n" ONE "\r\n", 200, 1, NULL},
    {"an absolute URI without a path", "GET http://x HTTP/1.1\r\n" ONE "\r\n", 404, 1, "not_found"},
    {"no host in a path", "GET //x/healthz HTTP/1.1\r\n" ONE "\r\n", 404, 1, "not_found"},
    {"a path with an encoded NUL", "GET /v1/orders/a%00b HTTP/1.1\r\n" ONE "\r\n", 404, 1,
     "not_found"},
    {"a path with half an escape", "GET /v1/orders/%z HTTP/1.1\r\n" ONE "\r\n", 404, 1,
     "not_found"},
    {"HEAD of nothing there", "HEAD /nowhere HTTP/1.1\r\n" ONE "\r\n", 404, 1, NULL},
    {"OPTIONS", "OPTIONS /v1/orders HTTP/1.1\r\n" ONE "\r\n", 405, 1, "method_not_allowed"},
    {"TRACE", "TRACE /healthz HTTP/1.1\r\n" ONE "\r\n", 405, 1, "method_not_allowed"},
    {"CONNECT", "CONNECT x:1 HTTP/1.1\r\nHost: x\r\n\r\n", 404, 1, "not_found"},
    {"a method nobody knows", "BREW /healthz HTTP/1.1\r\nHost: x\r\n\r\n", 405, 1,
     "method_not_allowed"},
    {"PUT", "PUT /healthz HTTP/1.1\r\n" ONE "Content-Length: 2\r\n\r\n{}", 405, 1,
     "method_not_allowed"},
    {"no HTTP at all", "\x16\x03\x01\r\n\r\n", 400, 1, "bad_request"},
    {"HTTP/0.9", "GET /healthz\r\n\r\n", 400, 1, "bad_request"},
    {"HTTP/2 without asking", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 400, 1, "bad_request"},
    {"a header without a colon", "GET /healthz HTTP/1.1\r\nnothing\r\n\r\n", 400, 1, "bad_request"},
    {"headers of 20 KB", "GET /healthz HTTP/1.1\r\nX: $A\r\n\r\n", 400, 1, "bad_request"},
    {"a negative length", "POST /v1/orders HTTP/1.1\r\n$KContent-Length: -5\r\n\r\n", 400, 1,
     "bad_request"},
    {"a length that is none", "POST /v1/orders HTTP/1.1\r\n$KContent-Length: 5x\r\n\r\nabcde", 400,
     1, "bad_request"},
    {"two lengths, a request behind the first",
     "POST /v1/orders HTTP/1.1\r\n$KContent-Length: 2\r\nContent-Length: 40\r\n\r\n{}" HEALTH, 400,
     1, "bad_request"},
    {"length and chunks",
     "POST /v1/orders HTTP/1.1\r\n$KTransfer-Encoding: chunked\r\nContent-Length: "
     "2\r\n\r\n0\r\n\r\n" HEALTH,
     400, 1, "bad_request"},
    {"a coding nobody knows",
     "POST /v1/orders HTTP/1.1\r\n$KTransfer-Encoding: xchunked\r\n\r\n0\r\n\r\n" HEALTH, 400, 1,
     "bad_request"},
    {"a space before the colon", "POST /v1/orders HTTP/1.1\r\n$KContent-Length : 34\r\n\r\n" HEALTH,
     400, 1, "bad_request"},
    {"a request in the body of a GET",
     "GET /healthz HTTP/1.1\r\n" ONE "Content-Length: 34\r\n\r\n" HEALTH, 200, 1, NULL},
    {"a request in the body of a HEAD",
     "HEAD /healthz HTTP/1.1\r\nHost: x\r\nContent-Length: 34\r\n\r\n" HEALTH, 200, 1, NULL},
    {"a request in the body of nobody knows what",
     "BREW /healthz HTTP/1.1\r\nHost: x\r\nContent-Length: 34\r\n\r\n" HEALTH, 405, 1,
     "method_not_allowed"},
    {"three at once", HEALTH HEALTH "GET /healthz HTTP/1.1\r\n" ONE "\r\n", 200, 3, NULL},
    {"after a problem the connection goes on",
     "POST /v1/orders HTTP/1.1\r\n$KContent-Length: 1\r\n\r\n{GET /nowhere HTTP/1.1\r\n" ONE "\r\n",
     400, 2, "bad_json"},
    {"an order", "POST /v1/orders HTTP/1.1\r\n" ONE "$O", 201, 1, NULL},
    {"an order in chunks",
     "POST /v1/orders HTTP/1.1\r\n" ONE "Transfer-Encoding: chunked\r\n\r\n$C0\r\nX-T: 1\r\n\r\n",
     201, 1, NULL},
    {"chunks without a size",
     "POST /v1/orders HTTP/1.1\r\n$KTransfer-Encoding: chunked\r\n\r\nzz\r\n", 413, 1,
     "body_too_large"},
    {"a chunk of 256 MiB",
     "POST /v1/orders HTTP/1.1\r\n$KTransfer-Encoding: chunked\r\n\r\nfffffff\r\n", 413, 1,
     "body_too_large"},
    {"an expectation nobody can meet", "POST /v1/orders HTTP/1.1\r\n$KExpect: 200-maybe\r\n$O", 417,
     1, "bad_request"},
};

START_TEST(odd_requests)
{
    _cleanup_(freep) char *request = fill(odd[_i].request);
    char answer[8192] = "", code[64];
    int fd = wire_open(h.hub_port);

    wire_send(fd, request, strlen(request));
    bool closed = wire_read(fd, answer, sizeof answer, NULL, 10000);
    close(fd);
    ck_assert_msg(closed, "case: %s: the connection stayed: %s", odd[_i].title, answer);
    ck_assert_msg(status_of(answer) == odd[_i].status, "case: %s: %s", odd[_i].title, answer);
    ck_assert_msg(count(answer, "HTTP/1.") == odd[_i].answers &&
                      count(answer, "X-Request-Id: ") == odd[_i].answers &&
                      count(answer, "Cache-Control: no-store") == odd[_i].answers,
                  "case: %s: %s", odd[_i].title, answer);
    ck_assert_msg(!strcasestr(answer, "<html"), "case: %s: %s", odd[_i].title, answer);
    if (odd[_i].code) {
        snprintf(code, sizeof code, "\"code\":\"%s\"", odd[_i].code);
        ck_assert_msg(strstr(answer, code) && strstr(answer, "application/problem+json"),
                      "case: %s: %s", odd[_i].title, answer);
    }
}
END_TEST

START_TEST(head_is_get_without_a_body)
{
    char answer[4096] = "";
    int fd = wire_open(h.hub_port);
    static const char two[] = "HEAD /healthz HTTP/1.1\r\nHost: x\r\n\r\n"
                              "GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n";

    wire_send(fd, two, strlen(two));
    ck_assert(wire_read(fd, answer, sizeof answer, "{\"status\":\"ok\"}", 10000));
    close(fd);
    ck_assert_int_eq(count(answer, "HTTP/1.1 200 OK"), 2);
    ck_assert_int_eq(count(answer, "Content-Length: 15"), 2);
    ck_assert_int_eq(count(answer, "{\"status\":\"ok\"}"), 1);
}
END_TEST

START_TEST(expect_continue)
{
    _cleanup_(freep) char *order = fill("$O");
    _cleanup_(freep) char *head = fill("POST /v1/orders HTTP/1.1\r\nExpect: 100-continue\r\n" ONE);
    char answer[4096] = "";
    char *body = strstr(order, "\r\n\r\n") + 4;
    int fd = wire_open(h.hub_port);

    wire_send(fd, head, strlen(head));
    wire_send(fd, order, (size_t)(body - order));
    ck_assert(wire_read(fd, answer, sizeof answer, "100 Continue\r\n\r\n", 10000));
    wire_send(fd, body, strlen(body));
    ck_assert(wire_read(fd, answer, sizeof answer, "HTTP/1.1 201", 10000));
    close(fd);
}
END_TEST

/* The whole is sent before the answer is read, as simple clients do. */
static const struct {
    const char *title;
    size_t n;
    int status;
} sizes[] = {
    {"1 MiB", MiB(1), 422},          {"1 byte more", MiB(1) + 1, 413},
    {"2 MiB", MiB(2), 413},          {"4 MiB and a byte", MiB(4) + 1, 413},
    {"10 MiB", MiB(10), 413},        {"10 MiB again", MiB(10), 413},
    {"and once more", MiB(10), 413},
};

START_TEST(large_bodies)
{
    _cleanup_(freep) char *head = NULL, *body = xmalloc(sizes[_i].n);
    _cleanup_(freep) char *lines = fill("POST /v1/orders HTTP/1.1\r\n" ONE);
    char answer[4096] = "";
    int fd = wire_open(h.hub_port);

    memset(body, 'x', sizes[_i].n);
    memcpy(body, "{\"x\":\"", 6);
    memcpy(body + sizes[_i].n - 2, "\"}", 2);
    head = xasprintf("%sContent-Length: %zu\r\n\r\n", lines, sizes[_i].n);
    ck_assert_msg(wire_send(fd, head, strlen(head)) && wire_send(fd, body, sizes[_i].n),
                  "case: %s: cut while sending", sizes[_i].title);
    ck_assert_msg(wire_read(fd, answer, sizeof answer, NULL, 10000), "case: %s", sizes[_i].title);
    close(fd);
    ck_assert_msg(status_of(answer) == sizes[_i].status && strstr(answer, "problem+json") &&
                      strstr(answer, "X-Request-Id: "),
                  "case: %s: %s", sizes[_i].title, answer);
}
END_TEST

static double metric(const char *name)
{
    _cleanup_(web_reply_release) struct web_reply r = house_get(&h, "/metrics");
    _cleanup_(freep) char *line = xasprintf("\n%s ", name);
    const char *at = strstr(r.body, line);

    return at ? atof(at + strlen(line)) : -1;
}

/* One byte at a time: evhttp's own time limit begins anew with each. */
START_TEST(a_dripping_caller_is_cut)
{
    _cleanup_(freep) char *text =
        fill("POST /v1/orders HTTP/1.1\r\n$KContent-Length: 9000\r\n\r\n");
    double before = metric("mihwar_hub_connections_too_slow_total");
    int fd = wire_open(h.hub_port);
    int64_t start = support_now_ms();
    size_t n = strlen(text);
    bool open = true;

    for (size_t i = 0; open && support_now_ms() - start < 20000; i++) {
        open = wire_send(fd, i < n ? text + i : "{", 1);
        support_nap(20);
    }
    close(fd);
    ck_assert_msg(!open, "it may drip for ever");
    ck_assert(metric("mihwar_hub_connections_too_slow_total") == before + 1);
}
END_TEST

/* A slow answer is not a slow caller: what a request takes is not counted. */
START_TEST(callers_who_vanish)
{
    _cleanup_(freep) char *order = fill("POST /v1/orders HTTP/1.1\r\n$K$O");

    for (int i = 0; i < 60; i++) {
        int fd = wire_open(h.hub_port);
        struct linger cut = {.l_onoff = 1};
        size_t n = i % 3 == 2 ? strlen(order) / 2 : strlen(order);
        wire_send(fd, order, n);
        if (i % 2) /* a reset instead of an end */
            setsockopt(fd, SOL_SOCKET, SO_LINGER, &cut, sizeof cut);
        close(fd);
    }
    for (int i = 0; i < 200; i++) /* who says nothing at all */
        close(wire_open(h.hub_port));
    ck_wait(metric("mihwar_hub_requests_in_flight") == 1, 10000); /* the question itself */
    _cleanup_(web_reply_release) struct web_reply r = house_get(&h, "/v1/orders");
    ck_assert_int_eq(r.status, 200);
}
END_TEST

/* The live timeline: a caller who goes is noticed, and one who talks into it does no harm. */
START_TEST(streams_end_with_their_callers)
{
    const char *order = house_order(&h, package, "stream", "");
    _cleanup_(freep) char *lines = fill("$K");
    _cleanup_(freep) char *request = xasprintf(
        "GET /v1/orders/%s/events HTTP/1.1\r\nAccept: text/event-stream\r\n%s\r\n", order, lines);
    int fds[20];

    for (size_t i = 0; i < COUNT(fds); i++) {
        char answer[4096] = "";
        fds[i] = wire_open(h.hub_port);
        wire_send(fds[i], request, strlen(request));
        ck_assert(wire_read(fds[i], answer, sizeof answer, "event: ", 10000));
        ck_assert_ptr_nonnull(strstr(answer, "text/event-stream"));
        wire_send(fds[i], HEALTH, strlen(HEALTH));
    }
    ck_assert(metric("mihwar_hub_streams_open") == (double)COUNT(fds));
    for (size_t i = 0; i < COUNT(fds); i++)
        close(fds[i]);
    ck_wait(metric("mihwar_hub_streams_open") == 0, 10000);
}
END_TEST

/* Accepting pauses, nobody dies, and those who wait in the kernel's queue are served later. */
START_TEST(no_descriptors_left)
{
    struct rlimit few = {.rlim_cur = 80, .rlim_max = 80};
    pid_t hub = proc_pid(h.procs[HUB]), child[8];
    size_t n = proc_children(hub, child, COUNT(child));
    char answer[4096] = "";
    int fds[300];

    for (size_t i = 0; i < n; i++)
        ck_assert_int_eq(prlimit(child[i], RLIMIT_NOFILE, &few, NULL), 0);
    for (size_t i = 0; i < COUNT(fds); i++)
        fds[i] = wire_open(h.hub_port);
    wire_send(fds[COUNT(fds) - 1], HEALTH, strlen(HEALTH));
    for (size_t i = 0; i + 1 < COUNT(fds); i++)
        close(fds[i]);
    ck_assert(wire_read(fds[COUNT(fds) - 1], answer, sizeof answer, "HTTP/1.1 200", 10000));
    close(fds[COUNT(fds) - 1]);
    ck_assert(metric("mihwar_hub_accept_paused_total") > 0);
    pid_t now[8];
    ck_assert_uint_eq(proc_children(hub, now, COUNT(now)), n);
    for (size_t i = 0; i < n; i++)
        ck_assert_int_eq(now[i], child[i]);
    ck_assert(house_down(&h, HUB)); /* the limit goes with it */
    house_up(&h, HUB);
}
END_TEST

/* It stops and starts the hub, so it must not run in a fork of ours. */
static int run_alone(void)
{
    Suite *s = suite_create("hub_http_alone");
    TCase *tc = tcase_create("no descriptors");

    tcase_add_test(tc, no_descriptors_left);
    suite_add_tcase(s, tc);
    return suite_run_unforked(s);
}

int main(void)
{
    static const char *const env[] = {"MIHWAR_HUB_IDLE_TIMEOUT=2s", NULL};
    const struct unit_row rows[] = {
        {"odd requests", odd_requests, COUNT(odd), 0},
        {"HEAD", head_is_get_without_a_body, 0, 0},
        {"Expect", expect_continue, 0, 0},
        {"large bodies", large_bodies, COUNT(sizes), 0},
        {"dripping", a_dripping_caller_is_cut, 0, 0},
        {"vanishing", callers_who_vanish, 0, 0},
        {"streams", streams_end_with_their_callers, 0, 0},
    };

    house_open(&h, NULL, env);
    snprintf(package, sizeof package, "%s", house_package(&h, "60", NULL));
    int failed = unit_run("hub_http", rows, COUNT(rows));
    failed += run_alone();
    failed += house_stop(&h);
    return support_end(failed);
}
