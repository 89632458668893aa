/* book.c - orders, money, and the ledger of physical deliveries. */
#include "base/clock.h"
#include "base/json.h"
#include "base/text.h"
#include "sim.h"
#include <assert.h>
#include <errno.h>
#include <event2/event.h>
#include <fcntl.h>
#include <inttypes.h>
#include <search.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define FIRST_BALANCE ((int64_t)1000000 * 10000)

struct dealer {
    char *name;
    int64_t balance;
};
struct delivery {
    const struct order *order;
    int64_t at_ms;
};
struct book {
    void *refs, *dealers; /* tsearch trees */
    struct order *first, **last;
    struct delivery *ledger;
    size_t deliveries, room;
    int64_t seq;
    int fd;
    bool reading; /* events come from the file: nothing is written */
};

static int ref_cmp(const void *a, const void *b)
{
    const struct ref *x = a, *y = b;
    int d = strcmp(x->ref, y->ref);

    return d ? d : strcmp(x->dealer, y->dealer);
}

static int dealer_cmp(const void *a, const void *b)
{
    return strcmp(((const struct dealer *)a)->name, ((const struct dealer *)b)->name);
}

static void ref_free(void *p)
{
    struct ref *r = p;

    free(r->dealer);
    free(r->ref);
    free(r);
}

static void dealer_free(void *p)
{
    struct dealer *d = p;

    free(d->name);
    free(d);
}

struct book *book_new(void)
{
    struct book *b = xcalloc(1, sizeof(*b));

    b->fd = -1;
    b->last = &b->first;
    return b;
}

static void forget(struct book *b)
{
    struct order *o, *next;

    for (o = b->first; o; o = next) {
        next = o->next;
        if (o->timer)
            event_free(o->timer);
        free(o->dealer);
        free(o->ref);
        free(o->product);
        free(o->player);
        free(o->extra);
        free(o->pin);
        free(o->text);
        free(o);
    }
    b->first = NULL;
    b->last = &b->first;
    tdestroy(b->refs, ref_free);
    tdestroy(b->dealers, dealer_free);
    b->refs = b->dealers = NULL;
    b->deliveries = 0;
}

struct book *book_free(struct book *b)
{
    if (!b)
        return NULL;
    forget(b);
    free(b->ledger);
    closep(&b->fd);
    free(b);
    return NULL;
}

void book_reset(struct book *b)
{
    forget(b);
    if (b->fd >= 0 && ftruncate(b->fd, 0) != 0)
        fprintf(stderr, "sim: cannot empty the ledger: %s\n", strerror(errno));
}

const struct ref *book_find(struct book *b, const char *dealer, const char *ref)
{
    const struct ref key = {.dealer = (char *)(uintptr_t)dealer, .ref = (char *)(uintptr_t)ref};
    void *node = tfind(&key, &b->refs, ref_cmp);

    return node ? *(struct ref **)node : NULL;
}

struct ref *book_ref(struct book *b, const char *dealer, const char *ref)
{
    struct ref *fresh = xcalloc(1, sizeof(*fresh)), *found;
    void *node;

    fresh->dealer = xstrdup(dealer);
    fresh->ref = xstrdup(ref);
    node = tsearch(fresh, &b->refs, ref_cmp);
    assert(node);
    found = *(struct ref **)node;
    if (found != fresh)
        ref_free(fresh);
    return found;
}

static struct dealer *dealer_get(struct book *b, const char *name)
{
    struct dealer *fresh = xcalloc(1, sizeof(*fresh)), *found;
    void *node;

    fresh->name = xstrdup(name);
    fresh->balance = FIRST_BALANCE;
    node = tsearch(fresh, &b->dealers, dealer_cmp);
    assert(node);
    found = *(struct dealer **)node;
    if (found != fresh)
        dealer_free(fresh);
    return found;
}

int64_t book_balance(struct book *b, const char *dealer)
{
    return dealer_get(b, dealer)->balance;
}

void book_set_balance(struct book *b, const char *dealer, int64_t amount)
{
    dealer_get(b, dealer)->balance = amount;
}

void money_print(struct buf *out, int64_t amount, int places, char point)
{
    uint64_t a = (uint64_t)(amount < 0 ? -amount : amount);

    if (places == 4)
        buf_printf(out, "%s%" PRIu64 "%c%04" PRIu64, amount < 0 ? "-" : "", a / 10000, point,
                   a % 10000);
    else
        buf_printf(out, "%s%" PRIu64 "%c%02" PRIu64, amount < 0 ? "-" : "", a / 10000, point,
                   a % 10000 / 100);
}

int64_t money_read(const char *s)
{
    bool minus = *s == '-';
    int64_t n = 0;
    int places = -1;

    for (s += minus; *s && places < 4; s++)
        if (*s == '.')
            places = 0;
        else {
            n = n * 10 + (*s - '0');
            places += places >= 0;
        }
    for (places = MAX(places, 0); places < 4; places++)
        n *= 10;
    return minus ? -n : n;
}

static void order_json(const struct order *o, struct buf *out)
{
    buf_printf(out, "{\"seq\":%" PRId64 ",\"dealer\":", o->seq);
    buf_json_str(out, o->dealer);
    buf_puts(out, ",\"reference\":");
    buf_json_str(out, o->ref);
    buf_puts(out, ",\"product\":");
    buf_json_str(out, o->product);
    buf_puts(out, ",\"player\":");
    buf_json_str(out, o->player);
    buf_puts(out, ",\"extra\":");
    buf_json_str(out, o->extra);
    buf_puts(out, ",\"cost\":\"");
    money_print(out, o->cost, 4, '.');
    buf_printf(out, "\",\"quantity\":%" PRId64 ",\"status\":%d,\"pin\":", o->quantity, o->status);
    buf_json_str(out, o->pin);
    buf_puts(out, ",\"text\":");
    buf_json_str(out, o->text);
    buf_printf(out, ",\"polls\":%" PRId64 ",\"created_ms\":%" PRId64 ",\"ended_ms\":%" PRId64,
               o->polls, o->created_ms, o->ended_ms);
}

/* One event, on disk before anybody hears of it. A ledger that cannot be written makes every later
 * answer a lie: abort. */
static void record(const struct order *o, const char *event)
{
    _cleanup_(buf_release) struct buf line = BUF(KiB(64));

    if (o->book->fd < 0 || o->book->reading)
        return;
    order_json(o, &line);
    buf_printf(&line,
               ",\"event\":\"%s\",\"cancels\":%s,\"settle_ms\":%" PRId64
               ",\"settle_polls\":%" PRId64 ",\"flip_ms\":%" PRId64 ",\"without_pin\":%s}\n",
               event, o->cancels ? "true" : "false", o->settle_ms, o->settle_polls, o->flip_ms,
               o->without_pin ? "true" : "false");
    if (!buf_ok(&line) || write(o->book->fd, line.p, line.len) != (ssize_t)line.len ||
        fdatasync(o->book->fd) != 0) {
        fprintf(stderr, "sim: the ledger cannot be written: %s\n", strerror(errno));
        abort();
    }
}

static void deliver(struct order *o, int64_t at_ms)
{
    struct book *b = o->book;

    if (b->deliveries == b->room) {
        b->room = b->room ? 2 * b->room : 256;
        b->ledger = xrealloc(b->ledger, b->room * sizeof(*b->ledger));
    }
    b->ledger[b->deliveries++] = (struct delivery){o, at_ms};
}

static void settle(struct order *o)
{
    book_end(o, o->cancels ? 3 : 2, NULL, NULL);
}

static void on_timer(evutil_socket_t fd, short what, void *arg)
{
    struct order *o = arg;

    if (o->status == 1)
        settle(o);
    else
        book_end(o, o->status == 2 ? 3 : 2, NULL, NULL);
}

static void arm(struct order *o, int64_t ms)
{
    const struct timeval tv = {.tv_sec = ms / 1000, .tv_usec = ms % 1000 * 1000};

    if (!o->timer)
        o->timer = evtimer_new(sim_base, on_timer, o);
    evtimer_add(o->timer, &tv);
}

static struct order *append(struct book *b, struct order *o)
{
    struct ref *r = book_ref(b, o->dealer, o->ref);

    o->book = b;
    o->older = r->order;
    r->order = o;
    *b->last = o;
    b->last = &o->next;
    return o;
}

struct order *book_accept(struct book *b, const struct order *from)
{
    struct order *o = xcalloc(1, sizeof(*o));

    *o = *from;
    o->seq = ++b->seq;
    o->dealer = xstrdup(from->dealer);
    o->ref = xstrdup(from->ref);
    o->product = xstrdup(from->product);
    o->player = xstrdup(from->player);
    o->extra = xstrdup(from->extra ? from->extra : "");
    o->pin = xstrdup("");
    o->text = xstrdup("İşlem bekleniyor");
    o->status = 1;
    o->created_ms = clock_ms();
    append(b, o);
    dealer_get(b, o->dealer)->balance -= o->cost;
    record(o, "accepted");
    if (o->settle_ms == 0)
        settle(o);
    else if (o->settle_ms > 0)
        arm(o, o->settle_ms);
    return o;
}

/* Looks like the panel's sample, and differs for each order. */
static char *make_pin(const struct order *o)
{
    uint64_t h = 1469598103934665603u;

    for (const char *s = o->ref; *s; s++)
        h = (h ^ (unsigned char)*s) * 1099511628211u;
    h = (h ^ (uint64_t)o->seq) * 1099511628211u;
    return xasprintf("%04X-%04X-%04X-%04X", (unsigned)(h & 0xffff), (unsigned)(h >> 16 & 0xffff),
                     (unsigned)(h >> 32 & 0xffff), (unsigned)(h >> 48));
}

void book_end(struct order *o, int status, const char *pin, const char *text)
{
    struct dealer *d = dealer_get(o->book, o->dealer);
    int before = o->status;

    if (before == status)
        return;
    o->status = status;
    o->ended_ms = clock_ms();
    free(o->pin);
    free(o->text);
    if (status == 2)
        o->pin = pin ? xstrdup(pin) : o->without_pin ? xstrdup("") : make_pin(o);
    else
        o->pin = xstrdup("");
    o->text = xstrdup(text          ? text
                      : status == 2 ? "Yüklendi - ONAYLANDI"
                      : status == 3 ? "İşlem iptal edildi"
                                    : "İşlem bekleniyor");
    if (status == 3)
        d->balance += o->cost;
    else if (before == 3)
        d->balance -= o->cost;
    if (status == 2)
        deliver(o, o->ended_ms);
    record(o, status == 2 ? "delivered" : status == 3 ? "cancelled" : "reopened");
    if (o->flip_ms > 0 && o->ends++ == 0 && !o->book->reading)
        arm(o, o->flip_ms);
}

void book_polled(struct order *o)
{
    o->polls++;
    if (o->status == 1 && o->settle_polls > 0 && o->polls >= o->settle_polls)
        settle(o);
}

struct order *book_orders(struct book *b)
{
    return b->first;
}

int book_settle_all(struct book *b)
{
    int n = 0;

    for (struct order *o = b->first; o; o = o->next)
        if (o->status == 1) {
            settle(o);
            n++;
        }
    return n;
}

/* ---------------------------------------------------------------- the file */

static char *copy(struct cx *cx, const cJSON *o, const char *name)
{
    const char *s = json_text(cx, cJSON_GetObjectItemCaseSensitive(o, name));

    return xstrdup(s ? s : "");
}

static int64_t number(const cJSON *o, const char *name)
{
    const cJSON *v = cJSON_GetObjectItemCaseSensitive(o, name);

    return cJSON_IsNumber(v) ? (int64_t)v->valuedouble : 0;
}

static void replay(struct book *b, struct cx *cx, const cJSON *line)
{
    _cleanup_(freep) char *event = copy(cx, line, "event"), *dealer = copy(cx, line, "dealer"),
                          *ref = copy(cx, line, "reference"), *cost = copy(cx, line, "cost");
    int64_t seq = number(line, "seq");

    if (!strcmp(event, "accepted")) {
        struct order *o = xcalloc(1, sizeof(*o));

        o->seq = seq;
        o->dealer = TAKE_PTR(dealer);
        o->ref = TAKE_PTR(ref);
        o->product = copy(cx, line, "product");
        o->player = copy(cx, line, "player");
        o->extra = copy(cx, line, "extra");
        o->pin = copy(cx, line, "pin");
        o->text = copy(cx, line, "text");
        o->cost = money_read(cost);
        o->quantity = number(line, "quantity");
        o->status = 1;
        o->created_ms = number(line, "created_ms");
        o->cancels = cJSON_IsTrue(cJSON_GetObjectItemCaseSensitive(line, "cancels"));
        o->without_pin = cJSON_IsTrue(cJSON_GetObjectItemCaseSensitive(line, "without_pin"));
        o->settle_ms = number(line, "settle_ms");
        o->settle_polls = number(line, "settle_polls");
        o->flip_ms = number(line, "flip_ms");
        append(b, o);
        dealer_get(b, o->dealer)->balance -= o->cost;
        b->seq = MAX(b->seq, seq);
        return;
    }
    const struct ref *r = book_find(b, dealer, ref);
    for (struct order *o = r ? r->order : NULL; o; o = o->older)
        if (o->seq == seq) {
            _cleanup_(freep) char *pin = copy(cx, line, "pin"), *text = copy(cx, line, "text");

            book_end(o, (int)number(line, "status"), pin, text);
            o->ended_ms = number(line, "ended_ms");
            if (o->status == 2)
                b->ledger[b->deliveries - 1].at_ms = o->ended_ms;
        }
}

bool book_open(struct book *b, const char *file)
{
    FILE *f = fopen(file, "re");
    char *line = NULL;
    size_t room = 0;
    ssize_t n;
    off_t whole = 0; /* a line cut by a kill was told to nobody: dropped */

    b->reading = true;
    while (f && (n = getline(&line, &room, f)) > 0 && line[n - 1] == '\n') {
        _cleanup_(cx_release) struct cx cx = CX_PLAIN("ledger");
        cJSON *v;

        if (json_parse(&cx, line, (size_t)n, KiB(64), &v) != OK) {
            fprintf(stderr, "sim: %s: %s\n", file, cx.err.text);
            break;
        }
        replay(b, &cx, v);
        whole += n;
    }
    free(line);
    if (f)
        fclose(f);
    b->reading = false;
    b->fd = open(file, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    if (b->fd < 0 || ftruncate(b->fd, whole) != 0) {
        fprintf(stderr, "sim: %s: %s\n", file, strerror(errno));
        return false;
    }
    /* what was to happen meanwhile happens now, the rest at its time */
    for (struct order *o = b->first; o; o = o->next)
        if (o->status == 1 && o->settle_ms >= 0)
            arm(o, MAX(o->created_ms + o->settle_ms - clock_ms(), 0));
        else if (o->status != 1 && o->flip_ms > 0 && o->ends == 1)
            arm(o, MAX(o->ended_ms + o->flip_ms - clock_ms(), 0));
    return true;
}

/* ---------------------------------------------------------------- to look at */

static int by_player(const void *a, const void *b)
{
    const struct order *x = ((const struct delivery *)a)->order,
                       *y = ((const struct delivery *)b)->order;
    int d = strcmp(x->player, y->player);

    return d ? d : strcmp(x->product, y->product);
}

void book_ledger_json(const struct book *b, struct buf *out)
{
    struct delivery *sorted = xmalloc((b->deliveries + 1) * sizeof(*sorted));
    const char *comma = "";

    buf_printf(out, "{\"count\":%zu,\"deliveries\":[", b->deliveries);
    for (size_t i = 0; i < b->deliveries; i++) {
        buf_puts(out, i ? "," : "");
        order_json(b->ledger[i].order, out);
        buf_printf(out, ",\"at_ms\":%" PRId64 "}", b->ledger[i].at_ms);
        sorted[i] = b->ledger[i];
    }
    /* the same goods to the same player more than once: a double purchase, if the test gives each
     * order its own player */
    buf_puts(out, "],\"doubles\":[");
    qsort(sorted, b->deliveries, sizeof(*sorted), by_player);
    for (size_t i = 0, j; i < b->deliveries; i = j) {
        for (j = i + 1; j < b->deliveries && !by_player(&sorted[i], &sorted[j]); j++)
            ;
        if (j - i < 2)
            continue;
        buf_printf(out, "%s{\"player\":", comma);
        buf_json_str(out, sorted[i].order->player);
        buf_puts(out, ",\"product\":");
        buf_json_str(out, sorted[i].order->product);
        buf_printf(out, ",\"count\":%zu,\"references\":[", j - i);
        for (size_t k = i; k < j; k++) {
            buf_puts(out, k > i ? "," : "");
            buf_json_str(out, sorted[k].order->ref);
        }
        buf_puts(out, "]}");
        comma = ",";
    }
    buf_puts(out, "]}\n");
    free(sorted);
}

void book_orders_json(const struct book *b, struct buf *out)
{
    buf_puts(out, "{\"orders\":[");
    for (const struct order *o = b->first; o; o = o->next) {
        buf_puts(out, o == b->first ? "" : ",");
        order_json(o, out);
        buf_puts(out, "}");
    }
    buf_puts(out, "]}\n");
}
