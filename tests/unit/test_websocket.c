/* test_websocket.c - frames on one end of a socket pair, our WebSocket on the other; then two of ours against each other.
 *
 *   the peer's bytes ──socketpair──> struct websocket ──> messages, answers, the code of its end
 *
 * Each case of the table runs four times: as server and as client, with all bytes at once and byte by byte. */
#include "base/clock.h"
#include "base/text.h"
#include "rt/loop.h"
#include "rt/websocket_internal.h"
#include "unit.h"
#include <errno.h>
#include <event2/buffer.h>
#include <event2/bufferevent.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum { MESSAGE_MAX = 1000, PATIENCE_MS = 30000 };

/* ---------------------------------------------------------------- what happened */

struct seen {
    struct buf messages; /* each followed by '|' */
    int alive, closes, opens, code;
    char reason[200];
    struct websocket *w;
    bool free_in_message, free_in_close, close_in_message, echo;
};

static void on_message(void *arg, const char *text, size_t n)
{
    struct seen *s = arg;

    ck_assert(text[n] == 0);
    buf_append(&s->messages, text, n);
    buf_putc(&s->messages, '|');
    if (s->echo)
        ck_assert(websocket_send(s->w, text, n));
    if (s->close_in_message)
        websocket_close(s->w, 4001, "enough");
    if (s->free_in_message)
        s->w = websocket_free(s->w);
}

static void on_alive(void *arg)
{
    ((struct seen *)arg)->alive++;
}

static void on_open(void *arg)
{
    ((struct seen *)arg)->opens++;
}

static void on_close(void *arg, int code, const char *reason)
{
    struct seen *s = arg;

    s->closes++;
    s->code = code;
    snprintf(s->reason, sizeof(s->reason), "%s", reason);
    if (s->free_in_close)
        s->w = websocket_free(s->w);
}

static struct websocket_opts opts(struct seen *s)
{
    s->messages = BUF(MiB(4));
    return (struct websocket_opts){
        .message_max = MESSAGE_MAX,
        .arg = s,
        .on_message = on_message,
        .on_alive = on_alive,
        .on_open = on_open,
        .on_close = on_close,
        .host = "hub.example",
        .target = "/v1/agent/session?agent_id=a1",
        .bearer = "mwa_x",
    };
}

static void setup(void)
{
    _cleanup_(cx_release) struct cx cx = CX_PLAIN("test");

    ck_assert_int_eq(loop_init(&cx), OK);
}

static void turn(void)
{
    for (int i = 0; i < 4; i++)
        event_base_loop(loop_base(), EVLOOP_NONBLOCK);
}

/* Turns the loop until the connection is over. */
static void until_closed(const struct seen *s)
{
    int64_t until = clock_mono_ms() + PATIENCE_MS;

    while (!s->closes && clock_mono_ms() < until)
        event_base_loop(loop_base(), EVLOOP_ONCE);
    ck_assert_int_eq(s->closes, 1);
}

static struct bufferevent *end_of(int fd)
{
    struct bufferevent *bev = bufferevent_socket_new(loop_base(), fd, BEV_OPT_CLOSE_ON_FREE);

    ck_assert(bev != NULL);
    return bev;
}

static void pair(int fd[2])
{
    ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, fd), 0);
}

static void finish(struct seen *s)
{
    s->w = websocket_free(s->w);
    turn();
    buf_release(&s->messages);
    loop_free();
}

/* ---------------------------------------------------------------- a peer made of bytes */

enum how { PLAIN, WRONG_MASK, LONG16, LONG64, HEAD_ONLY };
struct frame {
    int first; /* FIN, reserved bits, opcode */
    const char *data;
    size_t n; /* 0: strlen(data) */
    enum how how;
};

static void frame_bytes(struct buf *out, const struct frame *f, bool masked)
{
    static const unsigned char key[4] = {0x37, 0xfa, 0x21, 0x3d};
    size_t n = f->n ? f->n : strlen(f->data);
    int bit;

    masked ^= f->how == WRONG_MASK;
    bit = masked ? 0x80 : 0;
    buf_putc(out, (char)f->first);
    if (f->how == LONG64 || f->how == HEAD_ONLY || n > 65535) {
        buf_putc(out, (char)(bit | 127));
        for (int i = 7; i >= 0; i--)
            buf_putc(out, (char)((uint64_t)n >> 8 * i));
    } else if (f->how == LONG16 || n > 125) {
        buf_putc(out, (char)(bit | 126));
        buf_putc(out, (char)(n >> 8));
        buf_putc(out, (char)n);
    } else {
        buf_putc(out, (char)(bit | (int)n));
    }
    if (masked)
        buf_append(out, key, 4);
    for (size_t i = 0; i < n && f->how != HEAD_ONLY; i++)
        buf_putc(out, (char)(f->data[i] ^ (masked ? key[i % 4] : 0)));
}

/* The frames in raw as text: "8a:abc 88:1002 ", a close frame with its code. */
static void transcript(struct buf *out, const struct buf *raw, bool masked)
{
    const unsigned char *p = (const unsigned char *)buf_str(raw), *end = p + raw->len;

    while (end - p >= 2) {
        size_t n = p[1] & 0x7f;
        const unsigned char *key;
        char data[128];

        ck_assert_msg(!!(p[1] & 0x80) == masked, "the answer's mask bit");
        ck_assert_uint_lt(n, 126); /* no longer ones are asked for here */
        buf_printf(out, "%02x:", p[0]);
        key = p + 2;
        p = key + (masked ? 4 : 0);
        ck_assert(end - p >= (ptrdiff_t)n);
        for (size_t i = 0; i < n; i++)
            data[i] = (char)(p[i] ^ (masked ? key[i % 4] : 0));
        if (*(key - 2) == 0x88 && n >= 2)
            buf_printf(out, "%d", (unsigned char)data[0] << 8 | (unsigned char)data[1]);
        else
            buf_append(out, data, n);
        buf_putc(out, ' ');
        p += n;
    }
    ck_assert(p == end);
}

/* True at the end of what the other side had to say. */
static bool hear(int fd, struct buf *raw)
{
    char p[4096];
    ssize_t n;

    while ((n = recv(fd, p, sizeof(p), 0)) > 0)
        buf_append(raw, p, (size_t)n);
    return n == 0;
}

#define TEXT  0x81
#define FIRST 0x01
#define MORE  0x00
#define LAST  0x80
#define PING  0x89
#define PONG  0x8a
#define CLOSE 0x88

static char big[MESSAGE_MAX + 2];

static const struct {
    const char *title;
    struct frame frames[6];
    const char *messages, *answers;
    int code; /* 0: still open */
} cases[] = {
    {"a message", {{TEXT, "hello"}}, "hello|", "", 0},
    {"an empty message", {{TEXT, ""}}, "|", "", 0},
    {"two", {{TEXT, "a"}, {TEXT, "b"}}, "a|b|", "", 0},
    {"fragments", {{FIRST, "he"}, {MORE, "ll"}, {LAST, "o"}}, "hello|", "", 0},
    {"empty fragments", {{FIRST, ""}, {MORE, ""}, {LAST, ""}, {TEXT, "x"}}, "|x|", "", 0},
    {"a ping", {{PING, "abc"}, {TEXT, "x"}}, "x|", "8a:abc ", 0},
    {"a ping between fragments",
     {{FIRST, "he"}, {PING, "1"}, {MORE, "l"}, {PING, ""}, {LAST, "lo"}},
     "hello|",
     "8a:1 8a: ",
     0},
    {"a pong nobody asked for", {{PONG, "x"}}, "", "", 0},
    {"a character split across fragments",
     {{FIRST, "\xc3"}, {PING, ""}, {LAST, "\xa9t\xc3\xa9"}},
     "\xc3\xa9t\xc3\xa9|",
     "8a: ",
     0},
    {"exactly the ceiling", {{TEXT, big, MESSAGE_MAX}, {TEXT, "x"}}, NULL, "", 0},
    {"a length in 16 bits that needs them", {{TEXT, big, 126}}, NULL, "", 0},

    {"one byte over the ceiling", {{TEXT, big, MESSAGE_MAX + 1}}, "", "88:1009 ", 1009},
    {"over the ceiling by fragments",
     {{FIRST, big, 900}, {MORE, big, 100}, {LAST, "x"}},
     "",
     "88:1009 ",
     1009},
    {"a claim of 2^40 bytes", {{TEXT, "", (size_t)1 << 40, HEAD_ONLY}}, "", "88:1009 ", 1009},
    {"not UTF-8", {{TEXT, "ab\xff"}}, "", "88:1007 ", 1007},
    {"an overlong character", {{TEXT, "\xc0\xaf"}}, "", "88:1007 ", 1007},
    {"a surrogate", {{TEXT, "\xed\xa0\x80"}}, "", "88:1007 ", 1007},
    {"a character cut off by the end", {{TEXT, "ab\xc3"}}, "", "88:1007 ", 1007},
    {"a character broken between fragments", {{FIRST, "\xc3"}, {LAST, "x"}}, "", "88:1007 ", 1007},
    {"the mask is wrong", {{TEXT, "hello", 0, WRONG_MASK}}, "", "88:1002 ", 1002},
    {"a ping whose mask is wrong", {{PING, "x", 0, WRONG_MASK}}, "", "88:1002 ", 1002},
    {"a reserved bit", {{TEXT | 0x40, "x"}}, "", "88:1002 ", 1002},
    {"another reserved bit, binary", {{0x82 | 0x10, "x"}}, "", "88:1002 ", 1002},
    {"an unknown opcode", {{0x83, "x"}}, "", "88:1002 ", 1002},
    {"an unknown control opcode", {{0x8b, "x"}}, "", "88:1002 ", 1002},
    {"binary", {{0x82, "x"}}, "", "88:1003 ", 1003},
    {"a binary fragment", {{0x02, "x"}}, "", "88:1003 ", 1003},
    {"a fragment that continues nothing", {{LAST, "x"}}, "", "88:1002 ", 1002},
    {"a new message among fragments", {{FIRST, "a"}, {TEXT, "b"}}, "", "88:1002 ", 1002},
    {"a binary message among fragments", {{FIRST, "a"}, {0x82, "b"}}, "", "88:1002 ", 1002},
    {"a fragmented ping", {{0x09, "a"}}, "", "88:1002 ", 1002},
    {"a long ping", {{PING, big, 126}}, "", "88:1002 ", 1002},
    {"a length in 16 bits that needs 7", {{TEXT, "abc", 0, LONG16}}, "", "88:1002 ", 1002},
    {"a length in 64 bits that needs 16", {{TEXT, big, 300, LONG64}}, "", "88:1002 ", 1002},
    {"a length with its top bit set",
     {{TEXT, "", (size_t)1 << 63, HEAD_ONLY}},
     "",
     "88:1009 ",
     1009},

    {"close 1000", {{CLOSE, "\x03\xe8"}}, "", "88:1000 ", 1000},
    {"close 4001 and a reason", {{CLOSE, "\x0f\xa1 bye \xc3\xa9"}}, "", "88:4001 ", 4001},
    {"close without a code", {{CLOSE, ""}}, "", "88: ", 1005},
    {"a message after close", {{CLOSE, "\x03\xe8"}, {TEXT, "late"}}, "", "88:1000 ", 1000},
    {"a message, then close", {{TEXT, "x"}, {CLOSE, "\x03\xe9"}}, "x|", "88:1001 ", 1001},
    {"close of one byte", {{CLOSE, "\x03"}}, "", "88:1002 ", 1002},
    {"close 1005", {{CLOSE, "\x03\xed"}}, "", "88:1002 ", 1002},
    {"close 1006", {{CLOSE, "\x03\xee"}}, "", "88:1002 ", 1002},
    {"close 999", {{CLOSE, "\x03\xe7"}}, "", "88:1002 ", 1002},
    {"close 2999", {{CLOSE, "\x0b\xb7"}}, "", "88:1002 ", 1002},
    {"a close reason that is not UTF-8", {{CLOSE, "\x03\xe8\xff"}}, "", "88:1007 ", 1007},
    {"close among fragments", {{FIRST, "a"}, {CLOSE, "\x03\xe8"}}, "", "88:1000 ", 1000},
};

START_TEST(frames)
{
    bool client = _i & 1, bytewise = _i & 2, gone;
    int fd[2];
    size_t c = (size_t)_i / 4;
    struct seen s = {0};
    struct websocket_opts o = opts(&s);
    struct buf in = BUF(MiB(1)), raw = BUF(MiB(1)), said = BUF(MiB(1));
    struct buf want = BUF(MiB(1));

    setup();
    memset(big, 'b', sizeof(big));
    pair(fd);
    s.w = websocket_make(end_of(fd[0]), &o, client, WS_OPEN);
    for (const struct frame *f = cases[c].frames; f->data; f++)
        frame_bytes(&in, f, !client);
    for (size_t at = 0, n; at < in.len; at += n) {
        n = bytewise ? 1 : in.len;
        if (send(fd[1], in.p + at, n, MSG_NOSIGNAL) != (ssize_t)n)
            break; /* it has hung up */
        turn();
    }
    gone = hear(fd[1], &raw);
    transcript(&said, &raw, client);
    if (cases[c].messages) {
        buf_puts(&want, cases[c].messages);
    } else { /* messages of b's */
        for (const struct frame *f = cases[c].frames; f->data; f++) {
            buf_append(&want, f->data, f->n ? f->n : strlen(f->data));
            buf_putc(&want, '|');
        }
    }
    ck_assert_msg(str_eq(buf_str(&s.messages), buf_str(&want)), "%s: messages '%s'", cases[c].title,
                  buf_str(&s.messages));
    ck_assert_msg(str_eq(buf_str(&said), cases[c].answers), "%s: answers '%s'", cases[c].title,
                  buf_str(&said));
    if (!cases[c].code) {
        ck_assert_msg(!gone && websocket_is_open(s.w), "%s: it ended: %d %s", cases[c].title,
                      s.code, s.reason);
        ck_assert_msg(!s.w->ctx && !s.w->message.p && !s.w->deadline,
                      "%s: it keeps memory while it is silent", cases[c].title);
        ck_assert_int_ge(s.alive, 1);
    }
    close(fd[1]);
    until_closed(&s);
    ck_assert_msg(s.code == (cases[c].code ? cases[c].code : WEBSOCKET_ABNORMAL), "%s: %d %s",
                  cases[c].title, s.code, s.reason);
    finish(&s);
    ck_assert_int_eq(s.closes, 1);
    buf_release(&in);
    buf_release(&raw);
    buf_release(&said);
    buf_release(&want);
}
END_TEST

/* ---------------------------------------------------------------- two of ours */

struct two {
    struct seen server, client;
    int fd[2];
};

static void two_open(struct two *t)
{
    struct websocket_opts server = opts(&t->server), client = opts(&t->client);

    setup();
    pair(t->fd);
    server.message_max = client.message_max = 0;
    server.close_ms = client.close_ms = 200;
    t->server.w = websocket_make(end_of(t->fd[0]), &server, false, WS_OPEN);
    t->client.w = websocket_make(end_of(t->fd[1]), &client, true, WS_OPEN);
}

static void two_end(struct two *t)
{
    t->server.w = websocket_free(t->server.w);
    turn();
    buf_release(&t->server.messages);
    finish(&t->client);
}

static void until(const size_t *value, size_t least)
{
    int64_t until = clock_mono_ms() + PATIENCE_MS;

    while (*value < least && clock_mono_ms() < until)
        event_base_loop(loop_base(), EVLOOP_ONCE);
    ck_assert_uint_ge(*value, least);
}

START_TEST(both_ways)
{
    static const size_t sizes[] = {0, 1, 125, 126, 65535, 65536, 200000};
    struct two t = {0};
    size_t total = 0;

    two_open(&t);
    t.server.echo = true;
    for (size_t i = 0; i < COUNT(sizes); i++) {
        char *text = xmalloc(sizes[i] + 1);

        memset(text, 'a' + (int)i, sizes[i]);
        ck_assert(websocket_send(t.client.w, text, sizes[i]));
        total += sizes[i] + 1;
        until(&t.client.messages.len, total);
        free(text);
    }
    ck_assert(t.client.messages.len == total && t.server.messages.len == total);
    ck_assert(memcmp(t.client.messages.p, t.server.messages.p, total) == 0);
    ck_assert(websocket_ping(t.server.w));
    turn();
    ck_assert_int_eq(t.server.alive, COUNT(sizes) + 1); /* the pong */
    ck_assert(!t.server.w->ctx && !t.client.w->ctx);
    two_end(&t);
}
END_TEST

START_TEST(close_is_told_to_both)
{
    struct two t = {0};
    bool by_client = _i;
    struct seen *closer, *other;

    two_open(&t);
    closer = by_client ? &t.client : &t.server;
    other = by_client ? &t.server : &t.client;
    closer->free_in_close = other->free_in_close = true;
    websocket_close(closer->w, 4003, "revoked");
    websocket_close(closer->w, 1000, "again");
    ck_assert(!websocket_is_open(closer->w) && !websocket_send(closer->w, "x", 1));
    ck_assert_int_eq(closer->closes, 0);
    until_closed(closer);
    until_closed(other);
    ck_assert_int_eq(closer->code, 4003);
    ck_assert_str_eq(closer->reason, "revoked");
    ck_assert_int_eq(other->code, 4003);
    ck_assert_str_eq(other->reason, "revoked");
    ck_assert(!closer->w && !other->w);
    two_end(&t);
}
END_TEST

START_TEST(a_long_reason_is_cut_between_characters)
{
    struct two t = {0};
    char reason[200];

    for (size_t i = 0; i < 198; i += 2)
        memcpy(reason + i, "\xc3\xa9", 3);
    two_open(&t);
    websocket_close(t.server.w, 4000, reason);
    until_closed(&t.client);
    ck_assert_int_eq(t.client.code, 4000);
    ck_assert_uint_eq(strlen(t.client.reason), 122);
    two_end(&t);
}
END_TEST

START_TEST(owners_let_go_inside_callbacks)
{
    struct two t = {0};

    two_open(&t);
    t.server.free_in_message = true;
    ck_assert(websocket_send(t.client.w, "a", 1) && websocket_send(t.client.w, "b", 1));
    until_closed(&t.client);
    ck_assert_str_eq(t.server.messages.p, "a|"); /* the second one finds nobody */
    ck_assert_int_eq(t.server.closes, 0);
    ck_assert_int_eq(t.client.code, WEBSOCKET_ABNORMAL);
    two_end(&t);
}
END_TEST

START_TEST(what_comes_after_our_close_is_dropped)
{
    struct two t = {0};

    two_open(&t);
    t.server.close_in_message = true;
    ck_assert(websocket_send(t.client.w, "a", 1) && websocket_send(t.client.w, "b", 1));
    until_closed(&t.client);
    until_closed(&t.server);
    ck_assert_str_eq(t.server.messages.p, "a|");
    ck_assert_int_eq(t.client.code, 4001);
    two_end(&t);
}
END_TEST

START_TEST(a_silent_peer_does_not_hold_the_close)
{
    struct seen s = {0};
    struct websocket_opts o = opts(&s);
    int fd[2];

    setup();
    pair(fd);
    o.close_ms = 50;
    s.w = websocket_new(end_of(fd[0]), &o);
    websocket_close(s.w, 1001, "going away");
    until_closed(&s); /* fd[1] says nothing */
    ck_assert_int_eq(s.code, 1001);
    close(fd[1]);
    finish(&s);
}
END_TEST

/* A peer that talks and never reads: what waits for it stays under the ceiling, then it is let go. */
START_TEST(a_reader_too_slow)
{
    bool pings = _i;
    struct seen s = {0};
    struct websocket_opts o = opts(&s);
    struct buf in = BUF(MiB(1));
    struct frame ping = {PING, big, 125};
    char text[1000];
    int fd[2];
    int64_t until = clock_mono_ms() + PATIENCE_MS;

    setup();
    memset(big, 'b', sizeof(big));
    memset(text, 'x', sizeof(text));
    pair(fd);
    o.unsent_max = 20000;
    o.close_ms = 50;
    s.w = websocket_new(end_of(fd[0]), &o);
    frame_bytes(&in, &ping, true);
    while (!s.closes && clock_mono_ms() < until) {
        if (pings)
            while (send(fd[1], in.p, in.len, MSG_NOSIGNAL) == (ssize_t)in.len)
                turn();
        else
            websocket_send(s.w, text, sizeof(text));
        event_base_loop(loop_base(), EVLOOP_NONBLOCK);
        ck_assert_uint_le(websocket_unsent(s.w), o.unsent_max + 1000);
    }
    ck_assert_int_eq(s.closes, 1);
    ck_assert_int_eq(s.code, WEBSOCKET_POLICY);
    close(fd[1]);
    buf_release(&in);
    finish(&s);
}
END_TEST

START_TEST(bytes_that_came_with_the_upgrade)
{
    struct seen s = {0};
    struct websocket_opts o = opts(&s);
    struct buf in = BUF(1000);
    struct frame early = {TEXT, "early"};
    struct bufferevent *bev;
    int fd[2];

    setup();
    pair(fd);
    frame_bytes(&in, &early, true);
    bev = end_of(fd[0]);
    bufferevent_enable(bev, EV_READ); /* as evhttp reads ahead */
    ck_assert_int_eq(send(fd[1], in.p, in.len, 0), (ssize_t)in.len);
    turn();
    ck_assert_uint_eq(evbuffer_get_length(bufferevent_get_input(bev)), in.len);
    s.w = websocket_new(bev, &o);
    ck_assert_uint_eq(s.messages.len, 0);
    until(&s.messages.len, 6);
    close(fd[1]);
    buf_release(&in);
    finish(&s);
}
END_TEST

/* ---------------------------------------------------------------- the handshake */

#define OK_101 "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n"
static const struct {
    const char *title, *answer; /* $ stands for the right proof */
    int code;                   /* -1: opens */
    const char *reason;
    int64_t retry_after;
} answers[] = {
    {"as it should be", OK_101 "Connection: Upgrade\r\nSec-WebSocket-Accept: $\r\n\r\n\x81\x02hi",
     -1, NULL, -1},
    {"other spellings",
     "HTTP/1.1 101 ok\r\nUPGRADE:WebSocket\r\nconnection: keep-alive , upgrade\r\n"
     "sec-websocket-accept:   $ \r\n\r\n\x81\x02hi",
     -1, NULL, -1},
    {"no proof", OK_101 "Connection: Upgrade\r\n\r\n", 1002, "the 101 does not answer our key", -1},
    {"another's proof",
     OK_101 "Connection: Upgrade\r\nSec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n",
     1002, "the 101 does not answer our key", -1},
    {"another protocol",
     "HTTP/1.1 101 x\r\nUpgrade: h2c\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: $\r\n\r\n",
     1002, "the 101 upgrades to something else", -1},
    {"an extension",
     OK_101 "Connection: Upgrade\r\nSec-WebSocket-Accept: $\r\n"
            "Sec-WebSocket-Extensions: permessage-deflate\r\n\r\n",
     1002, "the 101 chooses what was not offered", -1},
    {"401", "HTTP/1.1 401 Unauthorized\r\nContent-Length: 0\r\n\r\n", 401, "401 Unauthorized", -1},
    {"429", "HTTP/1.1 429 Too Many Requests\r\nRetry-After: 7\r\n\r\n", 429,
     "429 Too Many Requests", 7},
    {"an older HTTP", "HTTP/1.0 200 OK\r\n\r\n", 0, "the answer is not HTTP/1.1", -1},
    {"not HTTP", "SSH-2.0-OpenSSH\r\n\r\n", 0, "the answer is not HTTP/1.1", -1},
    {"a status that is none", "HTTP/1.1 1011 x\r\n\r\n", 0, "the answer is not HTTP/1.1", -1},
    {"an end in the middle", "HTTP/1.1 101 x\r\nUpgr", 0, "the connection ended", -1},
    {"no answer", NULL, 0, "no answer in time", -1},
};

START_TEST(client_upgrades)
{
    struct seen s = {0};
    struct websocket_opts o = opts(&s);
    struct buf asked = BUF(10000), answer = BUF(10000);
    char accept[WEBSOCKET_ACCEPT_LEN + 1], key[WEBSOCKET_KEY_LEN + 1];
    const char *k, *dollar;
    int fd[2];

    setup();
    pair(fd);
    o.open_ms = answers[_i].answer ? 0 : 30;
    s.w = websocket_connect(end_of(fd[0]), &o);
    ck_assert(!websocket_send(s.w, "too early", 9));
    turn();
    hear(fd[1], &asked);
    ck_assert(starts_with(asked.p, "GET /v1/agent/session?agent_id=a1 HTTP/1.1\r\n"
                                   "Host: hub.example\r\nUpgrade: websocket\r\n"));
    ck_assert(strstr(asked.p, "\r\nAuthorization: Bearer mwa_x\r\n\r\n") &&
              strstr(asked.p, "\r\nSec-WebSocket-Version: 13\r\n"));
    k = strstr(asked.p, "Sec-WebSocket-Key: ") + 19;
    snprintf(key, sizeof(key), "%s", k);
    ck_assert(websocket_key_valid(key));
    if (answers[_i].answer) {
        dollar = strchr(answers[_i].answer, '$');
        buf_printf(&answer, "%.*s%s%s", dollar ? (int)(dollar - answers[_i].answer) : 1000,
                   answers[_i].answer, dollar ? websocket_accept(key, accept) : "",
                   dollar ? dollar + 1 : "");
        ck_assert_int_eq(send(fd[1], answer.p, answer.len, 0), (ssize_t)answer.len);
    }
    if (answers[_i].code < 0) {
        until(&s.messages.len, 3); /* "hi" came in the same breath */
        ck_assert_int_eq(s.opens, 1);
        ck_assert(websocket_is_open(s.w) && !s.w->deadline && !s.w->key);
        close(fd[1]);
        until_closed(&s);
    } else {
        if (answers[_i].answer)
            shutdown(fd[1], SHUT_WR);
        until_closed(&s);
        ck_assert_msg(s.code == answers[_i].code && str_eq(s.reason, answers[_i].reason),
                      "%s: %d %s", answers[_i].title, s.code, s.reason);
        ck_assert_int_eq(s.opens, 0);
        ck_assert_int_eq(websocket_retry_after_s(s.w), answers[_i].retry_after);
        close(fd[1]);
    }
    buf_release(&asked);
    buf_release(&answer);
    finish(&s);
}
END_TEST

START_TEST(keys)
{
    char out[WEBSOCKET_ACCEPT_LEN + 1];

    /* RFC 6455 §1.3 */
    ck_assert_str_eq(websocket_accept("dGhlIHNhbXBsZSBub25jZQ==", out),
                     "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
    ck_assert(websocket_key_valid("dGhlIHNhbXBsZSBub25jZQ=="));
    ck_assert(!websocket_key_valid(NULL));
    ck_assert(!websocket_key_valid(""));
    ck_assert(!websocket_key_valid("dGhlIHNhbXBsZSBub25jZQ="));
    ck_assert(!websocket_key_valid("dGhlIHNhbXBsZSBub25jZR==")); /* stray bits */
    ck_assert(!websocket_key_valid("dGhlIHNhbXBsZSBub25jZQAA"));
    ck_assert(!websocket_key_valid("dGhlIHNhbXBsZSBub25 ZQ=="));
}
END_TEST

START_TEST(header_lists)
{
    ck_assert(websocket_header_names("Upgrade", "upgrade"));
    ck_assert(websocket_header_names("keep-alive,Upgrade", "upgrade"));
    ck_assert(websocket_header_names(" , keep-alive , UPGRADE ", "upgrade"));
    ck_assert(!websocket_header_names("upgrades", "upgrade"));
    ck_assert(!websocket_header_names("no upgrade", "upgrade"));
    ck_assert(!websocket_header_names("", "upgrade"));
    ck_assert(!websocket_header_names(NULL, "upgrade"));
}
END_TEST

UNIT(rt_websocket, {"frames", frames, 4 * COUNT(cases)}, {"both ways", both_ways, 0},
     {"close", close_is_told_to_both, 2}, {"reason", a_long_reason_is_cut_between_characters, 0},
     {"free", owners_let_go_inside_callbacks, 0},
     {"dropped", what_comes_after_our_close_is_dropped, 0},
     {"silent", a_silent_peer_does_not_hold_the_close, 0}, {"slow", a_reader_too_slow, 2},
     {"early bytes", bytes_that_came_with_the_upgrade, 0},
     {"client", client_upgrades, COUNT(answers)}, {"keys", keys, 0}, {"lists", header_lists, 0})
