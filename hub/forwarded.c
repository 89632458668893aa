/* forwarded.c - a list of addresses read from its right end. */
#include "hub/forwarded.h"
#include "base/text.h"
#include <arpa/inet.h>
#include <stdio.h>
#include <string.h>

#define ADDRESS_MAX 64

/* IPv4 as ::ffff:a.b.c.d, so that both spellings are one. */
static bool read_address(const char *s, unsigned char out[16])
{
    static const unsigned char mapped[12] = {[10] = 0xff, [11] = 0xff};

    memcpy(out, mapped, sizeof mapped);
    return inet_pton(AF_INET, s, out + sizeof mapped) == 1 || inet_pton(AF_INET6, s, out) == 1;
}

/* The next word of a list; false at its end. A word that is too long is no address. */
static bool next_word(const char **list, char out[ADDRESS_MAX])
{
    const char *p = *list + strspn(*list, ", ");
    size_t n = strcspn(p, ", ");

    snprintf(out, ADDRESS_MAX, "%.*s", n < ADDRESS_MAX ? (int)n : 1, n < ADDRESS_MAX ? p : "?");
    *list = p + n;
    return n > 0;
}

rc forwarded_check(struct cx *cx, const char *trusted)
{
    unsigned char raw[16];
    char word[ADDRESS_MAX];

    while (next_word(&trusted, word)) {
        if (!read_address(word, raw))
            return fail(cx, CONFIG, "trusted_proxies: '%s' is no address such as 10.0.0.2", word);
    }
    return OK;
}

static bool is_listed(const char *trusted, const char *address)
{
    unsigned char wanted[16], one[16];
    char word[ADDRESS_MAX];

    if (!read_address(address, wanted))
        return false;
    while (next_word(&trusted, word)) {
        if (read_address(word, one) && memcmp(one, wanted, sizeof one) == 0)
            return true;
    }
    return false;
}

/* The last word of the first n bytes; its place, n when there is none. */
static size_t last_word(const char *list, size_t n, char out[ADDRESS_MAX])
{
    size_t end = n, start;

    while (end > 0 && strchr(", \t", list[end - 1]))
        end--;
    for (start = end; start > 0 && !strchr(", \t", list[start - 1]);)
        start--;
    bool fits = end - start < ADDRESS_MAX;
    snprintf(out, ADDRESS_MAX, "%.*s", fits ? (int)(end - start) : 1, fits ? list + start : "?");
    return end == start ? n : start;
}

void forwarded_source(const char *trusted, const char *peer, const char *header, char *out,
                      size_t size)
{
    size_t left = header ? strlen(header) : 0;
    char word[ADDRESS_MAX];
    unsigned char raw[16];

    snprintf(out, size, "%s", peer);
    while (left > 0 && is_listed(trusted, out)) {
        size_t start = last_word(header, left, word);
        if (start == left || !read_address(word, raw))
            return;
        snprintf(out, size, "%s", word);
        left = start;
    }
}
