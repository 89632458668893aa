/* address.c - ranges that are not public, as prefixes. */
#include "rt/address.h"
#include "base/util.h"
#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>

struct prefix {
    unsigned char bytes[16];
    int bits;
};

static const struct prefix v4[] = {
    {{0}, 8},             /* this network */
    {{10}, 8},            /* private */
    {{100, 64}, 10},      /* shared, carrier-grade NAT */
    {{127}, 8},           /* loopback */
    {{169, 254}, 16},     /* link-local, cloud metadata */
    {{172, 16}, 12},      /* private */
    {{192, 0, 0}, 24},    /* protocol assignments */
    {{192, 0, 2}, 24},    /* documentation */
    {{192, 88, 99}, 24},  /* 6to4 relays */
    {{192, 168}, 16},     /* private */
    {{198, 18}, 15},      /* benchmarks */
    {{198, 51, 100}, 24}, /* documentation */
    {{203, 0, 113}, 24},  /* documentation */
    {{224}, 4},           /* multicast */
    {{240}, 4},           /* reserved, broadcast */
};

/* Of IPv6 only 2000::/3 is given out; inside it these are not. */
static const struct prefix v6_global = {{0x20}, 3};
static const struct prefix v6[] = {
    {{0x20, 0x01, 0, 0}, 23},       /* protocol assignments, Teredo */
    {{0x20, 0x01, 0x0d, 0xb8}, 32}, /* documentation */
    {{0x20, 0x02}, 16},             /* 6to4 */
    {{0x3f, 0xff}, 20},             /* documentation */
};
static const struct prefix v4_mapped = {{[10] = 0xff, [11] = 0xff}, 96};
static const struct prefix nat64 = {{0, 0x64, 0xff, 0x9b}, 96};

static bool within(const unsigned char *ip, const struct prefix *p)
{
    int whole = p->bits / 8, rest = p->bits % 8;

    if (memcmp(ip, p->bytes, (size_t)whole) != 0)
        return false;
    return rest == 0 || ((ip[whole] ^ p->bytes[whole]) & (0xff << (8 - rest)) & 0xff) == 0;
}

static bool v4_public(const unsigned char *ip)
{
    for (size_t i = 0; i < COUNT(v4); i++) {
        if (within(ip, &v4[i]))
            return false;
    }
    return true;
}

static bool v6_public(const unsigned char *ip)
{
    if (within(ip, &v4_mapped) || within(ip, &nat64))
        return v4_public(ip + 12);
    if (!within(ip, &v6_global))
        return false;
    for (size_t i = 0; i < COUNT(v6); i++) {
        if (within(ip, &v6[i]))
            return false;
    }
    return true;
}

bool address_is_public(const struct sockaddr *sa)
{
    if (sa->sa_family == AF_INET) {
        const struct sockaddr_in *in = (const struct sockaddr_in *)(const void *)sa;
        return v4_public((const unsigned char *)&in->sin_addr);
    }
    if (sa->sa_family == AF_INET6) {
        const struct sockaddr_in6 *in = (const struct sockaddr_in6 *)(const void *)sa;
        return v6_public(in->sin6_addr.s6_addr);
    }
    return false;
}

bool address_text_is_public(const char *ip)
{
    unsigned char bytes[16];
    char plain[64];

    snprintf(plain, sizeof plain, "%.*s", (int)strcspn(ip, "%"), ip);
    if (inet_pton(AF_INET, plain, bytes) == 1)
        return v4_public(bytes);
    return inet_pton(AF_INET6, plain, bytes) == 1 && v6_public(bytes);
}
