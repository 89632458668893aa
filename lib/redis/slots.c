/* slots.c - see slots.h. Redis's cluster specification: CRC16 (XMODEM) of the key or of its tag. */
#include "redis/slots.h"
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/util.h"

/* Four bits at a time: keys are short, and a table of 16 stays in the cache. */
static uint16_t crc16(const char *p, size_t n)
{
    static const uint16_t of[16] = {0x0000, 0x1021, 0x2042, 0x3063, 0x4084, 0x50a5, 0x60c6, 0x70e7,
                                    0x8108, 0x9129, 0xa14a, 0xb16b, 0xc18c, 0xd1ad, 0xe1ce, 0xf1ef};
    uint16_t crc = 0;

    for (size_t i = 0; i < n; i++) {
        uint8_t c = (uint8_t)p[i];
        crc = (uint16_t)(crc << 4) ^ of[(crc >> 12) ^ (c >> 4)];
        crc = (uint16_t)(crc << 4) ^ of[(crc >> 12) ^ (c & 15)];
    }
    return crc;
}

int slot_of_key(const char *key, size_t len)
{
    const char *open = memchr(key, '{', len);
    const char *close = open ? memchr(open, '}', len - (size_t)(open - key)) : NULL;

    if (close && close > open + 1)
        return crc16(open + 1, (size_t)(close - open - 1)) % SLOTS;
    return crc16(key, len) % SLOTS;
}

/* ---------------------------------------------------------------- commands */

struct word {
    const char *p;
    size_t len;
};

static bool read_number(const char **p, const char *end, char kind, size_t *ret)
{
    const char *s = *p;
    size_t n = 0;

    if (s == end || *s++ != kind)
        return false;
    for (; s < end && *s >= '0' && *s <= '9' && n < ((size_t)1 << 40); s++)
        n = n * 10 + (size_t)(*s - '0');
    if (end - s < 2 || s[0] != '\r' || s[1] != '\n')
        return false;
    *p = s + 2;
    *ret = n;
    return true;
}

static bool read_word(const char **p, const char *end, struct word *ret)
{
    size_t n;

    if (!read_number(p, end, '$', &n) || (size_t)(end - *p) < n + 2)
        return false;
    *ret = (struct word){*p, n};
    *p += n + 2;
    return true;
}

/* Where the first key is, for the commands in which it is not the first argument. -1: none. `counted`:
 * a number of keys stands before it, and may be 0. */
static const struct shape {
    const char *name;
    int at;
    bool counted;
} shapes[] = {
    {"ACL", -1, false},      {"AUTH", -1, false},    {"BLMPOP", 3, true},
    {"BZMPOP", 3, true},     {"CLIENT", -1, false},  {"CLUSTER", -1, false},
    {"COMMAND", -1, false},  {"CONFIG", -1, false},  {"DBSIZE", -1, false},
    {"ECHO", -1, false},     {"EVAL", 3, true},      {"EVALSHA", 3, true},
    {"EVALSHA_RO", 3, true}, {"EVAL_RO", 3, true},   {"FLUSHALL", -1, false},
    {"FLUSHDB", -1, false},  {"INFO", -1, false},    {"KEYS", -1, false},
    {"LASTSAVE", -1, false}, {"LATENCY", -1, false}, {"LMPOP", 2, true},
    {"MEMORY", 2, false},    {"OBJECT", 2, false},   {"PING", -1, false},
    {"PUBLISH", -1, false},  {"ROLE", -1, false},    {"SCAN", -1, false},
    {"SCRIPT", -1, false},   {"SLOWLOG", -1, false}, {"TIME", -1, false},
    {"WAIT", -1, false},     {"XGROUP", 2, false},   {"XINFO", 2, false},
    {"ZMPOP", 2, true},
};

static struct shape shape_of(const struct word *name)
{
    for (size_t i = 0; i < COUNT(shapes); i++)
        if (strlen(shapes[i].name) == name->len &&
            strncasecmp(shapes[i].name, name->p, name->len) == 0)
            return shapes[i];
    return (struct shape){.at = 1};
}

bool slot_of_command(const char *resp, size_t len, size_t *ret_len, int *ret_slot)
{
    const char *p = resp, *end = resp + len;
    struct word words[4];
    struct shape shape = {.at = -1};
    size_t argc;

    if (!read_number(&p, end, '*', &argc) || argc == 0)
        return false;
    for (size_t i = 0; i < argc; i++) {
        struct word w;
        if (!read_word(&p, end, &w))
            return false;
        if (i < COUNT(words))
            words[i] = w;
        if (i == 0)
            shape = shape_of(&w);
    }
    *ret_len = (size_t)(p - resp);
    *ret_slot = SLOT_ANY;
    if (shape.at < 0 || (size_t)shape.at >= argc)
        return true;
    const struct word *count = &words[shape.at - 1], *key = &words[shape.at];
    if (!shape.counted || count->len != 1 || *count->p != '0')
        *ret_slot = slot_of_key(key->p, key->len);
    return true;
}
