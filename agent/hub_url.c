/* hub_url.c - see hub_url.h. */
#include "agent/hub_url.h"
#include "base/text.h"
#include <ctype.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

static const struct {
    const char *scheme;
    bool tls;
} schemes[] = {{"ws://", false}, {"wss://", true}, {"http://", false}, {"https://", true}};

static const char *take_scheme(const char *text, bool *ret_tls)
{
    for (size_t i = 0; i < COUNT(schemes); i++) {
        if (strncasecmp(text, schemes[i].scheme, strlen(schemes[i].scheme)) == 0) {
            *ret_tls = schemes[i].tls;
            return text + strlen(schemes[i].scheme);
        }
    }
    return NULL;
}

static bool plain_text(const char *s)
{
    for (; *s; s++) {
        if (!isgraph((unsigned char)*s) || strchr("@?#\\\"<>", *s))
            return false;
    }
    return true;
}

/* "[::1]:8443", "hub.example", "10.0.0.1:8080" */
static bool take_authority(struct hub_url *u)
{
    const char *a = u->authority, *end;
    int64_t port = u->tls ? 443 : 80;
    bool brackets = *a == '[';

    a += brackets;
    end = brackets ? strchr(a, ']') : a + strcspn(a, ":");
    if (!end || end == a || (size_t)(end - a) >= sizeof u->host)
        return false;
    memcpy(u->host, a, (size_t)(end - a));
    u->host[end - a] = 0;
    end += brackets;
    if (*end && (*end != ':' || !parse_int(end + 1, 1, 65535, &port)))
        return false;
    u->port = (int)port;
    return true;
}

rc hub_url_parse(struct cx *cx, const char *text, struct hub_url *ret)
{
    struct hub_url u = {0};
    const char *rest = take_scheme(text, &u.tls);
    size_t n = rest ? strcspn(rest, "/") : 0;

    if (!rest || n == 0 || n >= sizeof u.authority || strlen(rest + n) >= sizeof u.prefix ||
        !plain_text(rest))
        return fail(cx, CONFIG, "'%.100s' is not the URL of a hub: wss://host:port", text);
    memcpy(u.authority, rest, n);
    snprintf(u.prefix, sizeof u.prefix, "%s", rest + n);
    for (size_t len = strlen(u.prefix); len > 0 && u.prefix[len - 1] == '/'; len--)
        u.prefix[len - 1] = 0;
    if (!take_authority(&u))
        return fail(cx, CONFIG, "'%.100s' has no host and port that can be reached", text);
    *ret = u;
    return OK;
}
