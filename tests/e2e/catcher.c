/* catcher.c - accept, read to Content-Length, answer, close. */
#include "tests/e2e/catcher.h"
#include "tests/support/proc.h"
#include <arpa/inet.h>
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <unistd.h>

#define REQUEST_MAX 262144

void catcher_open(struct catcher *c)
{
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof(a);
    c->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (c->fd < 0 || bind(c->fd, (struct sockaddr *)&a, sizeof(a)) < 0 || listen(c->fd, 64) < 0 ||
        getsockname(c->fd, (struct sockaddr *)&a, &len) < 0)
        support_die("catcher: %s", strerror(errno));
    c->port = ntohs(a.sin_port);
    snprintf(c->url, sizeof(c->url), "http://127.0.0.1:%d/hook", c->port);
}

static bool readable(int fd, int64_t end)
{
    struct pollfd p = {.fd = fd, .events = POLLIN};
    int64_t left = end - support_now_ms();
    return left > 0 && poll(&p, 1, (int)left) == 1;
}

const char *caught_header(const struct caught *k, const char *name)
{
    static char values[4][512];
    static unsigned turn;
    size_t n = strlen(name);
    for (const char *line = strchr(k->head, '\n'); line; line = strchr(line + 1, '\n')) {
        if (strncasecmp(line + 1, name, n) != 0 || line[1 + n] != ':')
            continue;
        char *out = values[turn++ % COUNT(values)];
        const char *v = line + n + 2 + strspn(line + n + 2, " ");
        snprintf(out, sizeof(values[0]), "%.*s", (int)strcspn(v, "\r\n"), v);
        return out;
    }
    return NULL;
}

/* The head up to the empty line, then Content-Length bytes. */
static bool read_request(int fd, int64_t end, struct caught *ret)
{
    char *text = xcalloc(1, REQUEST_MAX + 1);
    size_t len = 0, want = REQUEST_MAX;
    char *body = NULL;
    while (len < want && readable(fd, end)) {
        ssize_t n = read(fd, text + len, want - len);
        if (n <= 0)
            break;
        len += (size_t)n;
        if (!body && (body = strstr(text, "\r\n\r\n"))) {
            body[2] = '\0';
            body += 4;
            ret->head = text;
            const char *length = caught_header(ret, "Content-Length");
            want = (size_t)(body - text) + (length ? strtoul(length, NULL, 10) : 0);
        }
    }
    if (!body || len < want) {
        free(text);
        *ret = (struct caught){0};
        return false;
    }
    ret->body_len = len - (size_t)(body - text);
    ret->body = xstrndup(body, ret->body_len);
    return true;
}

bool catcher_take(struct catcher *c, int status, int deadline_ms, struct caught *ret)
{
    int64_t end = support_now_ms() + deadline_ms;
    bool got = false;
    *ret = (struct caught){0};
    while (!got && readable(c->fd, end)) {
        int fd = accept(c->fd, NULL, NULL);
        if (fd < 0)
            continue;
        got = read_request(fd, end, ret);
        if (got)
            dprintf(fd, "HTTP/1.1 %d Noted\r\nContent-Length: 0\r\nConnection: close\r\n\r\n",
                    status);
        close(fd);
    }
    return got;
}

void caught_release(struct caught *k)
{
    free(k->head);
    free(k->body);
    *k = (struct caught){0};
}

void catcher_close(struct catcher *c)
{
    close(c->fd);
}
