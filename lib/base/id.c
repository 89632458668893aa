/* id.c - ids and the random bytes behind them.
 *
 * getrandom() is a system call, too dear for every id: 1 KiB is fetched at once and thrown away
 * after a fork (the pid is compared), so that two children never share bytes. */
#include "base/id.h"
#include "base/clock.h"
#include "base/util.h"
#include <ctype.h>
#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <unistd.h>

static _Thread_local struct {
    unsigned char bytes[1024];
    size_t used;
    uint64_t epoch; /* fork_epoch + 1 when filled */
} pool;
static uint64_t fork_epoch;

static void forget_pool(void)
{
    fork_epoch++;
}

__attribute__((constructor)) static void watch_fork(void)
{
    pthread_atfork(NULL, NULL, forget_pool);
}

void random_bytes(void *out, size_t n)
{
    unsigned char *o = out;

    while (n) {
        if (pool.epoch != fork_epoch + 1 || pool.used == sizeof pool.bytes) {
            size_t got = 0;
            while (got < sizeof pool.bytes) {
                ssize_t r = getrandom(pool.bytes + got, sizeof pool.bytes - got, 0);
                if (r < 0 && errno != EINTR)
                    abort(); /* no kernel of ours lacks it; guessing would be worse */
                got += r > 0 ? (size_t)r : 0;
            }
            pool.used = 0;
            pool.epoch = fork_epoch + 1;
        }
        size_t k = MIN(n, sizeof pool.bytes - pool.used);
        memcpy(o, pool.bytes + pool.used, k);
        memset(pool.bytes + pool.used, 0, k);
        pool.used += k;
        o += k;
        n -= k;
    }
}

uint64_t random_below(uint64_t n)
{
    uint64_t r, limit = UINT64_MAX - UINT64_MAX % n;

    do
        random_bytes(&r, sizeof r);
    while (r >= limit);
    return r % n;
}

char *id_new(char *out)
{
    static _Thread_local uint64_t last; /* ms << 12 | counter */
    static const char hex[] = "0123456789abcdef";
    unsigned char b[16];
    uint64_t now = (uint64_t)clock_ms() << 12;

    last =
        now > last ? now : last + 1; /* the counter runs over into the ms rather than going back */
    random_bytes(b + 8, 8);
    for (int i = 0; i < 6; i++)
        b[i] = (unsigned char)(last >> 12 >> (40 - 8 * i));
    b[6] = (unsigned char)(0x70 | ((last >> 8) & 0x0f));
    b[7] = (unsigned char)last;
    b[8] = (unsigned char)(0x80 | (b[8] & 0x3f));
    char *o = out;
    for (int i = 0; i < 16; i++) {
        if (i == 4 || i == 6 || i == 8 || i == 10)
            *o++ = '-';
        *o++ = hex[b[i] >> 4];
        *o++ = hex[b[i] & 15];
    }
    *o = 0;
    return out;
}

bool id_parse(const char *s, char *out)
{
    char text[ID_LEN + 1];

    if (!s)
        return false;
    for (int i = 0; i < ID_LEN; i++) {
        bool dash = i == 8 || i == 13 || i == 18 || i == 23;
        if (dash ? s[i] != '-' : !isxdigit((unsigned char)s[i]))
            return false;
        text[i] = (char)tolower((unsigned char)s[i]);
    }
    if (s[ID_LEN])
        return false;
    text[ID_LEN] = 0;
    memcpy(out, text, sizeof text);
    return true;
}

static int hex_digit(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    c |= 0x20;
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

bool id_bytes(const char *s, unsigned char out[16])
{
    unsigned char b[16];

    if (!s)
        return false;
    for (int i = 0; i < 16; i++, s += 2) {
        if (i == 4 || i == 6 || i == 8 || i == 10) {
            if (*s++ != '-')
                return false;
        }
        int high = hex_digit(s[0]), low = high < 0 ? -1 : hex_digit(s[1]);
        if (low < 0)
            return false;
        b[i] = (unsigned char)(high << 4 | low);
    }
    if (*s)
        return false;
    memcpy(out, b, sizeof b);
    return true;
}

int64_t id_time_ms(const char *s)
{
    char digits[13];

    if (s[14] != '7')
        return 0;
    memcpy(digits, s, 8);
    memcpy(digits + 8, s + 9, 4);
    digits[12] = 0;
    return (int64_t)strtoull(digits, NULL, 16);
}
