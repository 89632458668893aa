/* wire.h - HTTP as bytes: requests that no client library would send, and what comes back. */
#pragma once
#include "tests/support/house.h"
#include <arpa/inet.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

/* -1: nobody listens. */
static inline int wire_try(int port)
{
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

    to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    if (fd >= 0 && connect(fd, (struct sockaddr *)&to, sizeof to) == 0)
        return fd;
    if (fd >= 0)
        close(fd);
    return -1;
}

static inline int wire_open(int port)
{
    int fd = wire_try(port);

    ck_assert_int_ge(fd, 0);
    return fd;
}

/* False when the other side has closed before everything was written. */
static inline bool wire_send(int fd, const void *p, size_t n)
{
    for (size_t done = 0; done < n;) {
        ssize_t k = send(fd, (const char *)p + done, n - done, MSG_NOSIGNAL);
        if (k <= 0)
            return false;
        done += (size_t)k;
    }
    return true;
}

/* Reads on until `enough` occurs in what came (NULL: until the other side closes); false after
 * deadline_ms or at the end without it. text grows; NUL-terminated. */
static inline bool wire_read(int fd, char *text, size_t size, const char *enough, int deadline_ms)
{
    int64_t end = support_now_ms() + deadline_ms;

    for (;;) {
        size_t have = strlen(text);
        struct pollfd p = {.fd = fd, .events = POLLIN};
        int64_t left = end - support_now_ms();
        if (enough && strstr(text, enough))
            return true;
        if (left <= 0 || poll(&p, 1, (int)left) <= 0 || have + 1 >= size)
            return false;
        ssize_t k = recv(fd, text + have, size - have - 1, 0);
        if (k <= 0)
            return !enough;
        text[have + (size_t)k] = 0;
    }
}
