/* websocket_upgrade.c - from HTTP to WebSocket (RFC 6455 §4): what a server looks at, and the client's whole side.
 *
 *   GET target HTTP/1.1, Upgrade: websocket, Sec-WebSocket-Key: K  ──>
 *                              <──  101, Upgrade: websocket, Sec-WebSocket-Accept: base64(SHA-1(K + fixed text))
 *
 * The proof in Sec-WebSocket-Accept keeps a cache or an ordinary web server from being taken for a WebSocket server. */
#include "base/id.h"
#include "base/text.h"
#include "rt/websocket_internal.h"
#include <event2/buffer.h>
#include <event2/bufferevent.h>
#include <openssl/evp.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#define ANSWER_MAX KiB(16)
#define GUID       "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"

bool websocket_key_valid(const char *key)
{
    unsigned char raw[20];
    char again[WEBSOCKET_KEY_LEN + 4];

    /* 16 bytes end in two '='; the decoder does not look at stray bits, so the one spelling is made again */
    if (!key || strlen(key) != WEBSOCKET_KEY_LEN ||
        EVP_DecodeBlock(raw, (const unsigned char *)key, WEBSOCKET_KEY_LEN) != 18)
        return false;
    EVP_EncodeBlock((unsigned char *)again, raw, 16);
    return str_eq(again, key);
}

char *websocket_accept(const char *key, char *out)
{
    char text[WEBSOCKET_KEY_LEN + sizeof(GUID)];
    unsigned char digest[EVP_MAX_MD_SIZE];
    int n = snprintf(text, sizeof(text), "%.*s%s", WEBSOCKET_KEY_LEN, key, GUID);

    if (!EVP_Digest(text, (size_t)n, digest, NULL, EVP_sha1(), NULL))
        abort(); /* no SHA-1 in this OpenSSL: nothing here can work */
    EVP_EncodeBlock((unsigned char *)out, digest, 20);
    return out;
}

bool websocket_header_names(const char *header, const char *token)
{
    size_t want = strlen(token);

    while (header && *header) {
        size_t n;

        header += strspn(header, " \t,");
        n = strcspn(header, ",");
        while (n && strchr(" \t", header[n - 1]))
            n--;
        if (n == want && strncasecmp(header, token, n) == 0)
            return true;
        header += strcspn(header, ",");
    }
    return false;
}

struct websocket *websocket_connect(struct bufferevent *bev, const struct websocket_opts *o)
{
    struct websocket *w = websocket_make(bev, o, /* client= */ true, WS_CONNECTING);
    struct evbuffer *out = bufferevent_get_output(bev);
    unsigned char raw[16];

    random_bytes(raw, sizeof(raw));
    w->key = xcalloc(1, WEBSOCKET_KEY_LEN + 1);
    EVP_EncodeBlock((unsigned char *)w->key, raw, sizeof(raw));
    evbuffer_add_printf(out,
                        "GET %s HTTP/1.1\r\nHost: %s\r\nUpgrade: websocket\r\n"
                        "Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
                        "Sec-WebSocket-Key: %s\r\n",
                        o->target, o->host, w->key);
    if (o->bearer)
        evbuffer_add_printf(out, "Authorization: Bearer %s\r\n", o->bearer);
    evbuffer_add(out, "\r\n", 2);
    websocket_end_within(w, o->open_ms ? o->open_ms : 15000);
    return w;
}

struct answer {
    int status;
    const char *words; /* "401 Unauthorized" */
    const char *upgrade, *connection, *accept, *extensions, *protocol, *retry_after;
};

/* Cuts the head of an answer into its lines, in place. False if it is not HTTP/1.1. */
static bool read_head(char *s, struct answer *a)
{
    const struct {
        const char *name, **value;
    } known[] = {
        {"upgrade", &a->upgrade},
        {"connection", &a->connection},
        {"sec-websocket-accept", &a->accept},
        {"sec-websocket-extensions", &a->extensions},
        {"sec-websocket-protocol", &a->protocol},
        {"retry-after", &a->retry_after},
    };
    char *line = strsep(&s, "\n");
    char digits[4];
    int64_t status;

    str_trim(line);
    if (!starts_with(line, "HTTP/1.1 ") || strlen(line) < 12)
        return false;
    a->words = line + 9;
    memcpy(digits, a->words, 3);
    digits[3] = 0;
    if (!parse_int(digits, 100, 599, &status) || (line[12] && line[12] != ' '))
        return false;
    a->status = (int)status;
    while (s && (line = strsep(&s, "\n"))) {
        char *colon = strchr(line, ':');

        if (!colon)
            continue;
        *colon = 0;
        for (size_t i = 0; i < COUNT(known); i++)
            if (strcasecmp(line, known[i].name) == 0)
                *known[i].value = str_trim(colon + 1);
    }
    return true;
}

/* NULL if the answer is a good 101. */
static const char *complaint(const struct websocket *w, const struct answer *a)
{
    char want[WEBSOCKET_ACCEPT_LEN + 1];

    if (a->status != 101)
        return a->words;
    if (!websocket_header_names(a->upgrade, "websocket") ||
        !websocket_header_names(a->connection, "upgrade"))
        return "the 101 upgrades to something else";
    if (!str_eq(a->accept, websocket_accept(w->key, want)))
        return "the 101 does not answer our key";
    if (a->extensions || a->protocol)
        return "the 101 chooses what was not offered";
    return NULL;
}

bool websocket_read_answer(struct websocket *w)
{
    struct evbuffer *in = bufferevent_get_input(w->bev);
    struct evbuffer_ptr end = evbuffer_search(in, "\r\n\r\n", 4, NULL);
    _cleanup_(freep) char *head = NULL;
    struct answer a = {0};
    const char *why;
    int64_t s;

    if (end.pos < 0) {
        if (evbuffer_get_length(in) > ANSWER_MAX)
            websocket_over(w, 0, "the answer's head does not end");
        return false;
    }
    head = xcalloc(1, (size_t)end.pos + 1);
    evbuffer_remove(in, head, (size_t)end.pos);
    evbuffer_drain(in, 4);
    if (strlen(head) != (size_t)end.pos || !read_head(head, &a)) {
        websocket_over(w, 0, "the answer is not HTTP/1.1");
        return false;
    }
    if (a.retry_after && parse_int(a.retry_after, 0, 86400, &s))
        w->retry_after_s = s;
    if ((why = complaint(w, &a))) {
        websocket_over(w, a.status == 101 ? WEBSOCKET_PROTOCOL : a.status, why);
        return false;
    }
    websocket_cancel_end(w);
    free(TAKE_PTR(w->key));
    w->state = WS_OPEN;
    if (w->o.on_open)
        w->o.on_open(w->o.arg);
    return w->state == WS_OPEN;
}
