/* post.c - a closed loop of clients that post: each connection sends the next request when the
 * answer to the last one has come.
 *
 *   bench_post --port N --key KEY --package ID | --body JSON [--connections 64] [--seconds 5]
 *              [--requests N] [--path /v1/orders] [--status 201]
 *
 * Orders of a package, or the same body again and again. Prints one line of JSON: requests, rate,
 * median and 99th percentile in microseconds, answers other than --status. Plain sockets and epoll: on a machine with few cores the client must cost little.
 */
#include "base/clock.h"
#include "base/util.h"
#include "tests/bench/options.h"
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#define SAMPLES_MAX 4000000

struct client {
    int fd;
    int64_t sent_us;
    char in[8192];
    size_t len;
};

static const char *key = "", *package = "", *path = "/v1/orders", *given;
static int port, connections = 64, seconds = 5, status = 201,
                 wanted; /* 0: as many as the time allows */
static int64_t *took_us, asked, done, refused;

static int connect_to(void)
{
    struct sockaddr_in sa = {.sin_family = AF_INET,
                             .sin_port = htons((uint16_t)port),
                             .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int fd = socket(AF_INET, SOCK_STREAM, 0), on = 1;

    if (fd < 0 || connect(fd, (struct sockaddr *)&sa, sizeof sa) < 0) {
        fprintf(stderr, "bench_post: port %d: %s\n", port, strerror(errno));
        exit(1);
    }
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    return fd;
}

#define DIGITS 9

/* Its length; *ret_nth: where the number of the order stands. */
static int print(char *request, size_t size, int *ret_nth)
{
    char body[2048];
    int n = given
                ? snprintf(body, sizeof body, "%s", given)
                : snprintf(body, sizeof body,
                           "{\"package_id\":\"%s\",\"extra_field\":\"654321\",\"user_identifier\":"
                           "\"5%0*d\"}",
                           package, DIGITS, 0);
    int length = snprintf(request, size,
                          "POST %s HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer "
                          "%s\r\nContent-Type: application/json\r\n"
                          "Content-Length: %d\r\n\r\n%s",
                          path, key, n, body);

    if (n >= (int)sizeof body || length >= (int)size) {
        fprintf(stderr, "bench_post: the request is too long\n");
        exit(2);
    }
    *ret_nth = length - DIGITS - 2;
    return length;
}

static void post(struct client *c)
{
    static char request[4096]; /* the same for all, but for the number of the order */
    static int head, length;
    long long nth = ++asked;

    if (!length)
        length = print(request, sizeof request, &head);
    if (!given) {
        for (int at = head + DIGITS; at-- > head; nth /= 10)
            request[at] = (char)('0' + nth % 10);
    }
    c->sent_us = clock_mono_us();
    c->len = 0;
    if (write(c->fd, request, (size_t)length) != length) {
        fprintf(stderr, "bench_post: the request could not be written\n");
        exit(1);
    }
}

/* A whole answer? Head, then Content-Length bytes. */
static bool complete(const struct client *c)
{
    const char *end = memmem(c->in, c->len, "\r\n\r\n", 4);
    const char *length = end ? strcasestr(c->in, "\r\nContent-Length:") : NULL;

    return length && length < end &&
           c->len >= (size_t)(end + 4 - c->in) + strtoul(length + 17, NULL, 10);
}

static void on_readable(struct client *c)
{
    ssize_t n = read(c->fd, c->in + c->len, sizeof c->in - 1 - c->len);

    if (n <= 0) {
        fprintf(stderr, "bench_post: the connection was cut\n");
        exit(1);
    }
    c->len += (size_t)n;
    c->in[c->len] = 0;
    if (!complete(c))
        return;
    if (done < SAMPLES_MAX)
        took_us[done] = clock_mono_us() - c->sent_us;
    done++;
    refused += atoi(c->in + strlen("HTTP/1.1 ")) != status;
    if (!wanted || asked < wanted)
        post(c);
}

static int by_size(const void *a, const void *b)
{
    int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;

    return (x > y) - (x < y);
}

static const struct option_row options[] = {
    {"port", .number = &port, .least = 1, .most = 65535},
    {"key", .text = &key},
    {"package", .text = &package},
    {"connections", .number = &connections, .least = 1, .most = 10000},
    {"seconds", .number = &seconds, .least = 1, .most = 3600},
    {"requests", .number = &wanted, .least = 1, .most = 100000000},
    {"path", .text = &path},
    {"body", .text = &given},
    {"status", .number = &status, .least = 200, .most = 599},
};

int main(int argc, char **argv)
{
    int ep = epoll_create1(0);
    struct client *c;
    int64_t start, end;

    options_read(argc, argv, options, COUNT(options));
    if (!port || (wanted && wanted < connections)) {
        fprintf(stderr, "bench_post: give a --port, and no fewer --requests than --connections\n");
        return 2;
    }
    took_us = xcalloc(SAMPLES_MAX, sizeof *took_us);
    c = xcalloc((size_t)connections, sizeof *c);
    for (int i = 0; i < connections; i++) {
        struct epoll_event e = {.events = EPOLLIN, .data.ptr = &c[i]};
        c[i].fd = connect_to();
        epoll_ctl(ep, EPOLL_CTL_ADD, c[i].fd, &e);
    }
    start = clock_mono_us();
    end = start + (int64_t)seconds * 1000000;
    for (int i = 0; i < connections; i++)
        post(&c[i]);
    while (clock_mono_us() < end && (!wanted || done < wanted)) {
        struct epoll_event e[256];
        int n = epoll_wait(ep, e, (int)COUNT(e), 100);
        for (int i = 0; i < n; i++)
            on_readable(e[i].data.ptr);
    }
    double took = (double)(clock_mono_us() - start) / 1e6;
    int64_t n = MIN(done, SAMPLES_MAX);
    if (n == 0) {
        fprintf(stderr, "bench_post: no answer\n");
        return 1;
    }
    qsort(took_us, (size_t)n, sizeof *took_us, by_size);
    printf("{\"requests\":%lld,\"per_s\":%.0f,\"p50_us\":%lld,\"p99_us\":%lld,\"refused\":%lld}\n",
           (long long)done, (double)done / took, (long long)took_us[n / 2],
           (long long)took_us[n * 99 / 100], (long long)refused);
    return refused ? 1 : 0;
}
