/* websocket.c - messages in and out of frames.
 *
 *   socket ──> bufferevent's input ──one frame at a time──> wslay ──chunks──> message ──on_message
 *   websocket_send ──> wslay ──> bufferevent's output ──> socket
 *
 * wslay gets the bytes of one frame and no more (frame_ready looks at the header first). So between two frames it holds nothing, and its
 * context, 8 KiB, can go: ten thousand silent connections keep none. It also mends what wslay 1.1.1 does not do well:
 *   - it checks a close reason's UTF-8 wrongly when the frame comes in pieces: control frames are handed over whole
 *   - it takes a close frame of one byte for one without a code, and answers frames that are wrong in themselves with a close frame
 *     without one: a fresh context says 1002, and why
 *   - it allocates what a header claims: its buffering is off, `message` grows with what really comes */
#include "rt/websocket.h"
#include "base/text.h"
#include "rt/websocket_internal.h"
#include <assert.h>
#include <event2/buffer.h>
#include <event2/bufferevent.h>
#include <event2/bufferevent_ssl.h>
#include <event2/bufferevent_struct.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <wslay/wslay.h>

#include "base/id.h"

#define REASON_MAX 123

/* ---- wslay's side ---- */

static ssize_t give_bytes(wslay_event_context_ptr ctx, uint8_t *p, size_t n, int flags, void *arg)
{
    struct websocket *w = arg;
    int got = 0;

    (void)flags;
    if (w->frame_left)
        got = evbuffer_remove(bufferevent_get_input(w->bev), p, MIN((uint64_t)n, w->frame_left));
    if (got <= 0) {
        wslay_event_set_error(ctx, WSLAY_ERR_WOULDBLOCK);
        return -1;
    }
    w->frame_left -= (uint64_t)got;
    return got;
}

static ssize_t take_bytes(wslay_event_context_ptr ctx, const uint8_t *p, size_t n, int flags,
                          void *arg)
{
    struct websocket *w = arg;

    (void)ctx, (void)flags;
    if (!w->mute)
        buf_append(&w->out, p, n); /* its ceiling was asked before */
    return (ssize_t)n;
}

/* Past libevent, which under TLS asks epoll for leave before each write and takes that back behind it: two calls of the kernel and a
 * turn of the loop for a heartbeat's answer. One record at most, and only while OpenSSL has nothing half written. What the socket does
 * not take, it wants to be given again, from the same first byte on: that is what the bufferevent does with its empty output. */
static int write_record(SSL *ssl, const void *p, size_t n)
{
    int written;

    if (n > SSL3_RT_MAX_PLAIN_LENGTH || SSL_in_init(ssl) || SSL_want_write(ssl))
        return 0;
    ERR_clear_error();
    written = SSL_write(ssl, p, (int)n);
    ERR_clear_error(); /* a broken connection is noticed by the bufferevent too */
    return written;
}

/* What wslay wrote, to the socket at once: a bufferevent would ask the kernel first whether it may, which costs more than the
 * write. It gets what the socket does not take. */
static void flush(struct websocket *w)
{
    ssize_t n = 0;
    size_t sent;

    if (!w->out.len)
        return;
    if (!websocket_unsent(w))
        n = w->ssl ? write_record(w->ssl, w->out.p, w->out.len)
                   : send(bufferevent_getfd(w->bev), w->out.p, w->out.len,
                          MSG_DONTWAIT | MSG_NOSIGNAL);
    sent = n > 0 ? (size_t)n : 0;
    if (sent < w->out.len && bufferevent_write(w->bev, w->out.p + sent, w->out.len - sent))
        abort(); /* out of memory */
    buf_release(&w->out);
}

static int make_mask(wslay_event_context_ptr ctx, uint8_t *p, size_t n, void *arg)
{
    (void)ctx, (void)arg;
    random_bytes(p, n);
    return 0;
}

static void on_frame(wslay_event_context_ptr ctx,
                     const struct wslay_event_on_frame_recv_start_arg *f, void *arg)
{
    struct websocket *w = arg;

    (void)ctx;
    if (!wslay_is_ctrl_frame(f->opcode))
        w->in_message = !f->fin;
}

static void on_chunk(wslay_event_context_ptr ctx,
                     const struct wslay_event_on_frame_recv_chunk_arg *c, void *arg)
{
    struct websocket *w = arg;

    (void)ctx;
    if (w->frame_is_data)
        buf_append(&w->message, c->data, c->data_length);
}

static void on_whole(wslay_event_context_ptr ctx, const struct wslay_event_on_msg_recv_arg *m,
                     void *arg)
{
    struct websocket *w = arg;

    (void)ctx;
    if (m->opcode == WSLAY_CONNECTION_CLOSE) {
        if (!w->code) {
            w->code = m->status_code ? m->status_code : WEBSOCKET_NO_CODE;
            w->reason = m->msg_length > 2 ? xstrndup((const char *)m->msg + 2, m->msg_length - 2)
                                          : xstrdup("");
        }
        return;
    }
    w->whole = m->opcode == WSLAY_TEXT_FRAME;
    w->alive = true;
}

static struct wslay_event_context *context(struct websocket *w)
{
    static const struct wslay_event_callbacks callbacks = {
        .recv_callback = give_bytes,
        .send_callback = take_bytes,
        .genmask_callback = make_mask,
        .on_frame_recv_start_callback = on_frame,
        .on_frame_recv_chunk_callback = on_chunk,
        .on_msg_recv_callback = on_whole,
    };
    int r;

    if (w->ctx)
        return w->ctx;
    r = w->client ? wslay_event_context_client_init(&w->ctx, &callbacks, w)
                  : wslay_event_context_server_init(&w->ctx, &callbacks, w);
    if (r)
        abort(); /* out of memory */
    wslay_event_config_set_no_buffering(w->ctx, 1);
    wslay_event_config_set_max_recv_msg_length(w->ctx, MAX(w->o.message_max, (size_t)125));
    if (w->state != WS_OPEN) /* our close frame is out: nothing may follow it */
        wslay_event_shutdown_write(w->ctx);
    return w->ctx;
}

static void drop_context(struct websocket *w)
{
    if (w->ctx)
        wslay_event_context_free(w->ctx);
    w->ctx = NULL;
}

static void drop_idle_context(struct websocket *w)
{
    if (!w->frame_left && !w->in_message)
        drop_context(w);
}

static bool transmit(struct websocket *w, uint8_t opcode, const void *p, size_t n)
{
    const struct wslay_event_msg m = {.opcode = opcode, .msg = p, .msg_length = n};

    bool sent = wslay_event_queue_msg(context(w), &m) == 0 && wslay_event_send(w->ctx) == 0;

    flush(w);
    return sent;
}

static void transmit_close(struct websocket *w, int code, const char *reason)
{
    uint8_t p[2 + REASON_MAX];
    size_t n = reason ? utf8_cut(reason, REASON_MAX) : 0;

    p[0] = (uint8_t)(code >> 8);
    p[1] = (uint8_t)code;
    if (n)
        memcpy(p + 2, reason, n);
    transmit(w, WSLAY_CONNECTION_CLOSE, p, n + 2);
}

/* ---- the end ---- */

static void enter(struct websocket *w)
{
    CHECK_MAGIC(w, WEBSOCKET_MAGIC);
    w->depth++;
}

static void hang_up(struct websocket *w)
{
    SSL *ssl = w->bev && !w->o.let_go ? bufferevent_openssl_get_ssl(w->bev) : NULL;

    if (ssl && w->clean &&
        SSL_is_init_finished(ssl)) { /* close_notify, if the socket takes it now */
        SSL_shutdown(ssl);
        ERR_clear_error();
    }
    if (w->bev && w->o.let_go)
        w->o.let_go(w->o.lender);
    else if (w->bev)
        bufferevent_free(w->bev);
    w->bev = NULL;
    websocket_cancel_end(w);
    drop_context(w);
    buf_release(&w->message);
    buf_release(&w->out);
}

static void leave(struct websocket *w)
{
    if (--w->depth > 0 || !w->freed)
        return;
    hang_up(w);
    free(w->key);
    free(w->reason);
    w->magic = 0;
    free(w);
}

void websocket_over(struct websocket *w, int code, const char *reason)
{
    if (w->state == WS_OVER)
        return;
    w->state = WS_OVER;
    enter(w);
    hang_up(w);
    if (w->code || !reason)
        reason = w->reason ? w->reason : "";
    if (w->code)
        code = w->code;
    if (!w->freed && w->o.on_close)
        w->o.on_close(w->o.arg, code, reason);
    leave(w);
}

static void on_deadline(evutil_socket_t fd, short what, void *arg)
{
    struct websocket *w = arg;

    (void)fd, (void)what;
    enter(w);
    if (w->state == WS_CONNECTING)
        websocket_over(w, 0, "no answer in time");
    else
        websocket_over(w, WEBSOCKET_ABNORMAL, "the close handshake took too long");
    leave(w);
}

void websocket_end_within(struct websocket *w, int64_t ms)
{
    const struct timeval tv = {.tv_sec = ms / 1000, .tv_usec = ms % 1000 * 1000};

    if (!w->deadline)
        w->deadline = evtimer_new(bufferevent_get_base(w->bev), on_deadline, w);
    if (!w->deadline)
        abort(); /* out of memory */
    evtimer_add(w->deadline, &tv);
}

void websocket_cancel_end(struct websocket *w)
{
    if (w->deadline)
        event_free(w->deadline);
    w->deadline = NULL;
}

/* Both have said what there is to say. What is still in the output leaves first; then the server hangs up, and the client waits for that.
 * After a failure the peer may still be writing: closing now would reset the connection, and take the close frame with it. */
static void linger(struct websocket *w)
{
    if (evbuffer_get_length(bufferevent_get_output(w->bev)))
        return;
    if (w->clean && !w->client)
        websocket_over(w, WEBSOCKET_ABNORMAL, "");
    else if (!w->clean)
        shutdown(bufferevent_getfd(w->bev), SHUT_WR);
}

static void begin_lingering(struct websocket *w, bool clean)
{
    w->clean = clean;
    w->state = WS_LINGERING;
    drop_context(w);
    buf_release(&w->message);
    websocket_end_within(w, w->o.close_ms);
    linger(w);
}

/* The peer broke the protocol: say so, and read no more frames. */
static void refuse(struct websocket *w, int code, const char *why)
{
    if (w->state == WS_OPEN) {
        drop_context(w);
        transmit_close(w, code, why);
        w->code = code;
        w->reason = xstrdup(why);
    }
    begin_lingering(w, /* clean= */ false);
}

/* ---- frames in ---- */

static const char *words_of(int code)
{
    switch (code) {
    case WEBSOCKET_BAD_TEXT:
        return "the text is not valid UTF-8";
    case WEBSOCKET_TOO_BIG:
        return "the message is larger than allowed";
    default:
        return "the frame breaks RFC 6455";
    }
}

/* Is there something to give to wslay? Reads the next frame's header, without taking it, when none is under way. */
static bool frame_ready(struct websocket *w)
{
    struct evbuffer *in = bufferevent_get_input(w->bev);
    size_t have = evbuffer_get_length(in), head;
    uint8_t h[14];
    uint64_t len;
    int opcode;

    if (w->frame_left)
        return have > 0;
    if (have < 2)
        return false;
    evbuffer_copyout(in, h, sizeof(h));
    opcode = h[0] & 0x0f;
    len = h[1] & 0x7f;
    head = 2 + (size_t)(len == 126 ? 2 : len == 127 ? 8 : 0) + (size_t)(h[1] & 0x80 ? 4 : 0);
    if (have < head)
        return false;
    if (len >= 126) {
        int n = len == 126 ? 2 : 8;

        len = 0;
        for (int i = 0; i < n; i++)
            len = len << 8 | h[2 + i];
    }
    w->frame_is_data = !wslay_is_ctrl_frame(opcode);
    if (w->frame_is_data && len > w->o.message_max - w->message.len) {
        refuse(w, WEBSOCKET_TOO_BIG, words_of(WEBSOCKET_TOO_BIG));
        return false;
    }
    if (opcode == WSLAY_BINARY_FRAME && !(h[0] & 0x70) && !w->in_message) {
        refuse(w, WEBSOCKET_UNSUPPORTED, "only text messages are understood");
        return false;
    }
    if (opcode == WSLAY_CONNECTION_CLOSE && len == 1) {
        refuse(w, WEBSOCKET_PROTOCOL, words_of(WEBSOCKET_PROTOCOL));
        return false;
    }
    if (!w->frame_is_data && len <= 125 && have < head + len)
        return false;
    w->frame_left = head + len;
    return true;
}

/* What wslay made of the bytes: nothing yet, a message, a close frame, or a complaint. */
static void judge(struct websocket *w, int r)
{
    int code = WEBSOCKET_PROTOCOL;

    if (r == 0 && wslay_event_get_read_enabled(w->ctx)) {
        wslay_event_send(w->ctx); /* a pong */
        flush(w);
        if (websocket_unsent(w) > w->o.unsent_max)
            websocket_close(w, WEBSOCKET_POLICY, "too much is unread");
    } else if (r == 0 && wslay_event_get_close_received(w->ctx)) {
        wslay_event_send(w->ctx); /* the answer to it */
        flush(w);
        begin_lingering(w, /* clean= */ true);
    } else {
        if (r == 0) { /* its close frame is queued: look which code it chose, ours says more */
            w->mute = true;
            wslay_event_send(w->ctx);
            w->mute = false;
            if (w->state == WS_OPEN)
                code = wslay_event_get_status_code_sent(w->ctx);
        }
        refuse(w, code, words_of(code));
    }
}

static void deliver(struct websocket *w)
{
    bool open = w->state == WS_OPEN;

    if (w->alive) {
        w->alive = false;
        if (open && w->o.on_alive)
            w->o.on_alive(w->o.arg);
    }
    if (w->whole) {
        struct buf m = w->message;

        w->whole = false;
        w->message = BUF(w->o.message_max);
        if (open && w->state == WS_OPEN && !w->freed && w->o.on_message)
            w->o.on_message(w->o.arg, buf_str(&m), m.len);
        buf_release(&m);
    }
}

static bool reads_frames(const struct websocket *w)
{
    return !w->freed && (w->state == WS_OPEN || w->state == WS_CLOSING);
}

static void receive(struct websocket *w)
{
    while (reads_frames(w) && frame_ready(w)) {
        judge(w, wslay_event_recv(context(w)));
        if (reads_frames(w))
            deliver(w);
    }
    if (reads_frames(w))
        drop_idle_context(w);
    else if (w->bev)
        evbuffer_drain(bufferevent_get_input(w->bev), SIZE_MAX);
}

/* ---- libevent's side ---- */

/* Read ahead, OpenSSL may hold records that the kernel does not tell of any more, and libevent reads one at a time. Part of a
 * record makes one turn too many: it brings nothing, and so does not lead here again. */
static void read_on(struct websocket *w)
{
    if (w->bev && w->ssl && SSL_has_pending(w->ssl) && bufferevent_get_enabled(w->bev) & EV_READ)
        event_active(&w->bev->ev_read, EV_READ, 0);
}

static void on_read(struct bufferevent *bev, void *arg)
{
    struct websocket *w = arg;

    (void)bev;
    enter(w);
    if (w->state != WS_CONNECTING || websocket_read_answer(w))
        receive(w);
    read_on(w);
    leave(w);
}

static void on_written(struct bufferevent *bev, void *arg)
{
    struct websocket *w = arg;

    (void)bev;
    enter(w);
    if (w->state == WS_LINGERING)
        linger(w);
    leave(w);
}

static void on_event(struct bufferevent *bev, short what, void *arg)
{
    struct websocket *w = arg;
    unsigned long tls;
    const char *why = NULL;

    if (what & BEV_EVENT_CONNECTED)
        return;
    enter(w);
    if ((tls = bufferevent_get_openssl_error(bev)))
        why = ERR_reason_error_string(tls);
    if (!why && what & BEV_EVENT_ERROR && EVUTIL_SOCKET_ERROR())
        why = evutil_socket_error_to_string(EVUTIL_SOCKET_ERROR());
    if (!why)
        why = "the connection ended";
    websocket_over(w, w->state == WS_CONNECTING ? 0 : WEBSOCKET_ABNORMAL, why);
    leave(w);
}

/* ---- the face ---- */

struct websocket *websocket_make(struct bufferevent *bev, const struct websocket_opts *o,
                                 bool client, enum websocket_state state)
{
    const struct timeval any = {.tv_sec = 3600};
    struct websocket *w = xcalloc(1, sizeof(*w));

    w->magic = WEBSOCKET_MAGIC;
    w->client = client;
    w->state = state;
    w->bev = bev;
    w->o = *o;
    w->o.host = w->o.target = w->o.bearer = NULL;
    if (!w->o.message_max)
        w->o.message_max = KiB(256);
    if (!w->o.unsent_max)
        w->o.unsent_max = MiB(1);
    if (!w->o.close_ms)
        w->o.close_ms = 5000;
    w->retry_after_s = -1;
    w->message = BUF(w->o.message_max);
    w->out = BUF(w->o.unsent_max + KiB(1)); /* frames' heads */
    w->ssl = bufferevent_openssl_get_ssl(bev);
    if (w->ssl && !client) /* a record's head and body in one read; not before: evhttp does not ask
                              for what OpenSSL holds */
        SSL_set_read_ahead(w->ssl, 1);
    bufferevent_setcb(bev, on_read, on_written, on_event, w);
    bufferevent_setwatermark(bev, EV_READ | EV_WRITE, 0, 0);
    /* A time limit that stood before (evhttp's) is still in the events, though none is armed, and would be armed again with the
     * first byte. It goes when one is armed and taken away. */
    bufferevent_enable(bev, EV_READ | EV_WRITE);
    bufferevent_set_timeouts(bev, &any, &any);
    bufferevent_set_timeouts(bev, NULL, NULL);
    return w;
}

struct websocket *websocket_new(struct bufferevent *bev, const struct websocket_opts *o)
{
    struct websocket *w = websocket_make(bev, o, /* client= */ false, WS_OPEN);

    if (evbuffer_get_length(bufferevent_get_input(bev)))
        bufferevent_trigger(bev, EV_READ, BEV_TRIG_DEFER_CALLBACKS | BEV_TRIG_IGNORE_WATERMARKS);
    return w;
}

bool websocket_send(struct websocket *w, const char *text, size_t n)
{
    bool sent;

    CHECK_MAGIC(w, WEBSOCKET_MAGIC);
    if (!websocket_is_open(w))
        return false;
    if (websocket_unsent(w) + n > w->o.unsent_max) {
        websocket_close(w, WEBSOCKET_POLICY, "too much is unread");
        return false;
    }
    sent = transmit(w, WSLAY_TEXT_FRAME, text, n);
    if (!w->depth)
        drop_idle_context(w);
    return sent;
}

bool websocket_ping(struct websocket *w)
{
    bool sent;

    CHECK_MAGIC(w, WEBSOCKET_MAGIC);
    if (!websocket_is_open(w))
        return false;
    sent = transmit(w, WSLAY_PING, NULL, 0);
    if (!w->depth)
        drop_idle_context(w);
    return sent;
}

void websocket_close(struct websocket *w, int code, const char *reason)
{
    CHECK_MAGIC(w, WEBSOCKET_MAGIC);
    if (w->freed || (w->state != WS_OPEN && w->state != WS_CONNECTING))
        return;
    if (!w->code) {
        w->code = code;
        w->reason = xstrdup(reason ? reason : "");
    }
    if (w->state == WS_CONNECTING) {
        websocket_end_within(w, 0);
        return;
    }
    transmit_close(w, code, reason);
    w->state = WS_CLOSING;
    if (!w->depth)
        drop_idle_context(w);
    websocket_end_within(w, w->o.close_ms);
}

bool websocket_is_open(const struct websocket *w)
{
    return w->state == WS_OPEN && !w->freed;
}

size_t websocket_unsent(const struct websocket *w)
{
    return w->bev ? evbuffer_get_length(bufferevent_get_output(w->bev)) : 0;
}

int64_t websocket_retry_after_s(const struct websocket *w)
{
    return w->retry_after_s;
}

struct websocket *websocket_free(struct websocket *w)
{
    if (!w)
        return NULL;
    CHECK_MAGIC(w, WEBSOCKET_MAGIC);
    assert(!w->freed);
    enter(w);
    w->freed = true;
    w->state = WS_OVER;
    if (w->bev) {
        bufferevent_disable(w->bev, EV_READ | EV_WRITE);
        bufferevent_setcb(w->bev, NULL, NULL, NULL, NULL);
    }
    leave(w);
    return NULL;
}
