/* znet_parse.c - the decision tables of pin_ekle, pin_kontrol and bakiye_kontrol.
 *
 *   body --trim, BOM--> bytes --split at '|'--> fields[0..3]   the last one keeps further '|' (operators type them)
 *
 * Money hangs on two errors: to take a login failure for an accepted or a cancelled order (panels print "OK|3|ip geçersiz|0.00"
 * from every page), and to take silence for "not bought". So each row asks for its exact shape, and what has none of the
 * shapes decides nothing. */
#include "worker/providers/znet_parse.h"
#include "base/text.h"
#include "worker/providers/ptext.h"
#include <ctype.h>
#include <stdio.h>
#include <string.h>

#define FIELDS   4
#define BODY_MAX KiB(64) /* a panel's sentence; more is some other page */

struct field {
    const char *s;
    size_t n;
};
struct reply {
    struct arena *arena;
    const struct http_response *http;
    const char *body; /* trimmed, without BOM */
    size_t len;
    struct field field[FIELDS];
    size_t nfields;
    const char *folded; /* field[1] onwards, folded, for the word lists */
};

static const char *const words_access[] = {
    "bayikodu", "bayi kodu",  "ip gecersiz",         "gecersiz ip",  "ip adres",       "yetki",
    "api izni", "api kapali", "invalid credentials", "unauthorized", "not authorized", NULL};
/* Said of the dealer where a panel refuses to talk; in a "code|text" they may be about the player's account. */
static const char *const words_password[] = {"sifre gecersiz", "gecersiz sifre", "sifre hatali",
                                             "hatali sifre",   "sifre yanlis",   NULL};
static const char *const words_sent_before[] = {"daha once", "tekil",   "cakis",
                                                "kayitli",   "already", NULL};
static const char *const words_no_balance[] = {"bakiye yetersiz",      "yetersiz bakiye",
                                               "bakiye yok",           "bakiyeniz yetersiz",
                                               "insufficient balance", NULL};
static const char *const words_unavailable[] = {
    "kapali", "stok yok", "stokta yok", "unavailable", "pasif", "aktif degil", NULL};
static const char *const words_maintenance[] = {"bakim", "maintenance", NULL};
static const char *const words_product[] = {"kupur", "urun",    "oyun bilgi",
                                            "paket", "product", NULL};
static const char *const words_player[] = {"oyuncu", "player", NULL};
static const char *const words_unknown[] = {"bulunamadi", "kayit yok", "not found", NULL};

static void trim(struct field *f)
{
    while (f->n && isspace((unsigned char)*f->s))
        f->s++, f->n--;
    while (f->n && isspace((unsigned char)f->s[f->n - 1]))
        f->n--;
}

static struct reply read_reply(struct arena *a, const struct http_response *h)
{
    struct reply r = {.arena = a, .http = h};
    struct field whole = {buf_str(&h->body), h->body.len};

    if (h->outcome != HTTP_ANSWERED)
        whole.n = 0;
    trim(&whole);
    if (whole.n >= 3 && memcmp(whole.s, "\xef\xbb\xbf", 3) == 0)
        whole = (struct field){whole.s + 3, whole.n - 3};
    trim(&whole);
    r.body = whole.s;
    r.len = whole.n;
    if (r.len > BODY_MAX)
        return r;
    const char *p = whole.s, *end = whole.s + whole.n;
    while (r.nfields < FIELDS) {
        const char *bar = r.nfields + 1 < FIELDS ? memchr(p, '|', (size_t)(end - p)) : NULL;
        struct field f = {p, (size_t)((bar ? bar : end) - p)};
        trim(&f);
        r.field[r.nfields++] = f;
        if (!bar)
            break;
        p = bar + 1;
    }
    const char *rest = r.nfields > 1 ? r.field[1].s : end;
    r.folded = ptext_fold(a, ptext_clean(a, rest, (size_t)(end - rest), ANSWER_NOTE_MAX));
    return r;
}

/* ---------------------------------------------------------------- shapes */

static bool is_word(const struct field *f, const char *word)
{
    return f->n == strlen(word) && strncasecmp(f->s, word, f->n) == 0;
}

static bool is_digits(const struct field *f)
{
    if (f->n == 0 || f->n > 9)
        return false;
    for (size_t i = 0; i < f->n; i++) {
        if (!isdigit((unsigned char)f->s[i]))
            return false;
    }
    return true;
}

static const char *decimal(const struct reply *r, size_t i)
{
    return i < r->nfields ? ptext_decimal(r->arena, r->field[i].s, r->field[i].n) : NULL;
}

static bool has_text(const struct reply *r, size_t i)
{
    return i < r->nfields && r->field[i].n > 0;
}

static bool not_sent(const struct reply *r)
{
    return r->http->outcome == HTTP_NOT_SENT;
}

static bool no_answer(const struct reply *r)
{
    return r->http->outcome != HTTP_ANSWERED;
}

static bool http_error(const struct reply *r)
{
    return r->http->status < 200 || r->http->status > 299;
}

static bool empty(const struct reply *r)
{
    return r->len == 0;
}

/* A page, binary, or far too long: not a panel's sentence. */
static bool no_text(const struct reply *r)
{
    return r->len > BODY_MAX || r->body[0] == '<' || memchr(r->body, 0, r->len) != NULL;
}

static bool is_ok(const struct reply *r)
{
    return r->nfields > 1 && is_word(&r->field[0], "OK");
}

static bool ok_cost_balance(const struct reply *r)
{
    return is_ok(r) && decimal(r, 1) && decimal(r, 2) && !has_text(r, 3);
}

/* "3|Açıklama": no text is no explanation, so it is cut short or something else. */
static bool code_text(const struct reply *r)
{
    return r->nfields > 1 && is_digits(&r->field[0]) && r->folded[0];
}

static bool code_sent_before(const struct reply *r)
{
    return code_text(r) && (is_word(&r->field[0], "4") || is_word(&r->field[0], "8") ||
                            ptext_has(r->folded, words_sent_before));
}

static bool refuses_to_talk(const char *folded)
{
    return ptext_has(folded, words_access) || ptext_has(folded, words_password);
}

static bool code_access(const struct reply *r)
{
    return code_text(r) && ptext_has(r->folded, words_access);
}

/* With a cost and a balance it was accepted, whatever is written behind them. */
static bool ok_access(const struct reply *r)
{
    return is_ok(r) && !(decimal(r, 1) && decimal(r, 2)) && refuses_to_talk(r->folded);
}

static bool ok_status(const struct reply *r, const char *status)
{
    return is_ok(r) && is_word(&r->field[1], status);
}

static bool ok_waiting(const struct reply *r)
{
    return ok_status(r, "1");
}

static bool ok_done(const struct reply *r)
{
    return ok_status(r, "2");
}

/* The words must be in the PIN field: that is where the panels print their refusal to talk. The same words in the text
 * field are an operator's reason for a cancel. */
static bool ok_cancelled_access(const struct reply *r)
{
    if (!ok_status(r, "3") || !has_text(r, 2))
        return false;
    const char *field = ptext_clean(r->arena, r->field[2].s, r->field[2].n, ANSWER_NOTE_MAX);
    return refuses_to_talk(ptext_fold(r->arena, field));
}

/* "OK|3|words|0.00" is how those panels print every refusal to talk, also in words that nobody has seen yet. */
static bool ok_cancelled_zero(const struct reply *r)
{
    const char *last = decimal(r, 3);

    return ok_status(r, "3") && has_text(r, 2) && last && !strpbrk(last, "123456789");
}

static bool ok_cancelled(const struct reply *r)
{
    return ok_status(r, "3");
}

static bool code_unknown(const struct reply *r)
{
    return code_text(r) && ptext_has(r->folded, words_unknown);
}

static bool anything(const struct reply *r)
{
    return true;
}

/* ---------------------------------------------------------------- what a row takes from the reply */

static const char *text_from(const struct reply *r, size_t i)
{
    if (i >= r->nfields)
        return NULL;
    const char *end = r->body + r->len;
    const char *s =
        ptext_clean(r->arena, r->field[i].s, (size_t)(end - r->field[i].s), ANSWER_NOTE_MAX);
    return *s ? s : NULL;
}

static enum answer_reason reason_of(const char *folded)
{
    static const struct {
        const char *const *words;
        enum answer_reason reason;
    } rows[] = {{words_access, REASON_ACCESS},           {words_no_balance, REASON_NO_BALANCE},
                {words_maintenance, REASON_MAINTENANCE}, {words_unavailable, REASON_UNAVAILABLE},
                {words_product, REASON_BAD_PRODUCT},     {words_player, REASON_BAD_PLAYER}};

    for (size_t i = 0; i < COUNT(rows); i++) {
        if (ptext_has(folded, rows[i].words))
            return rows[i].reason;
    }
    return REASON_OTHER;
}

static void take_transport(const struct reply *r, struct answer *ret)
{
    ret->note = arena_strdup(r->arena, r->http->why);
}

static void take_http_status(const struct reply *r, struct answer *ret)
{
    ret->code = arena_printf(r->arena, "http %ld", r->http->status);
    ret->note =
        arena_printf(r->arena, "the provider answered with HTTP status %ld", r->http->status);
    if (r->http->retry_after_s > 0)
        ret->retry_after_ms = r->http->retry_after_s * 1000;
}

static void take_empty(const struct reply *r, struct answer *ret)
{
    ret->note = "the provider answered with nothing";
}

static void take_no_text(const struct reply *r, struct answer *ret)
{
    ret->note = "the provider answered with a page instead of a text";
}

static void take_cost(const struct reply *r, struct answer *ret)
{
    const char *cost = decimal(r, 1);

    ret->cost = *cost == '-' ? cost + 1 : cost; /* seen once: the cost as a booking, negative */
    ret->balance = decimal(r, 2);
}

static void take_code_text(const struct reply *r, struct answer *ret)
{
    ret->code = arena_strndup(r->arena, r->field[0].s, r->field[0].n);
    ret->note = text_from(r, 1);
    ret->reason = reason_of(r->folded);
}

static void take_access(const struct reply *r, struct answer *ret)
{
    ret->note = text_from(r, is_ok(r) ? 2 : 1);
    ret->reason = REASON_ACCESS;
}

static bool is_pin(const struct field *f)
{
    return f->n && !(f->n == 1 && *f->s == '-');
}

static void take_state(const struct reply *r, struct answer *ret)
{
    ret->code = arena_strndup(r->arena, r->field[1].s, r->field[1].n);
    ret->note = text_from(r, 3);
}

static void take_done(const struct reply *r, struct answer *ret)
{
    take_state(r, ret);
    if (r->nfields > 2 && is_pin(&r->field[2])) {
        char *pin = ptext_utf8(r->arena, r->field[2].s, r->field[2].n);
        pin[utf8_cut(pin, ANSWER_PIN_MAX)] = 0;
        ret->pins[ret->npins++] = pin;
    }
}

/* Some operators type the reason into the PIN field. */
static void take_cancelled(const struct reply *r, struct answer *ret)
{
    take_state(r, ret);
    if (!ret->note && r->nfields > 2 && is_pin(&r->field[2]))
        ret->note = ptext_clean(r->arena, r->field[2].s, r->field[2].n, ANSWER_NOTE_MAX);
    ret->reason = REASON_OTHER;
}

static void take_odd(const struct reply *r, struct answer *ret)
{
    ret->note = "the provider's answer is not understood";
}

/* ---------------------------------------------------------------- the tables */

struct row {
    const char *name;
    bool (*matches)(const struct reply *r);
    enum answer_kind kind;
    void (*take)(const struct reply *r, struct answer *ret);
    bool healthy;
};

static const struct row place_rows[] = {
    {"not_sent", not_sent, ANSWER_NOT_SENT, take_transport, false},
    {"no_answer", no_answer, ANSWER_UNCLEAR, take_transport, false},
    {"http_error", http_error, ANSWER_UNCLEAR, take_http_status, false},
    {"empty", empty, ANSWER_UNCLEAR, take_empty, false},
    {"no_text", no_text, ANSWER_UNCLEAR, take_no_text, false},
    {"ok_cost_balance", ok_cost_balance, ANSWER_ACCEPTED, take_cost, true},
    {"code_sent_before", code_sent_before, ANSWER_ALREADY_SENT, take_code_text, true},
    {"code_access", code_access, ANSWER_TROUBLE, take_access, false},
    {"code_text", code_text, ANSWER_REFUSED, take_code_text, true},
    {"ok_access", ok_access, ANSWER_TROUBLE, take_access, false},
    {"odd", anything, ANSWER_UNCLEAR, take_odd, false},
};

static const struct row status_rows[] = {
    {"not_sent", not_sent, ANSWER_NOT_SENT, take_transport, false},
    {"no_answer", no_answer, ANSWER_UNCLEAR, take_transport, false},
    {"http_error", http_error, ANSWER_UNCLEAR, take_http_status, false},
    {"empty", empty, ANSWER_UNKNOWN_REFERENCE, take_empty, true},
    {"no_text", no_text, ANSWER_UNCLEAR, take_no_text, false},
    {"ok_waiting", ok_waiting, ANSWER_PENDING, take_state, true},
    {"ok_done", ok_done, ANSWER_DONE, take_done, true},
    {"ok_cancelled_access", ok_cancelled_access, ANSWER_TROUBLE, take_access, false},
    {"ok_cancelled_zero", ok_cancelled_zero, ANSWER_UNCLEAR, take_odd, false},
    {"ok_cancelled", ok_cancelled, ANSWER_FAILED, take_cancelled, true},
    {"code_access", code_access, ANSWER_TROUBLE, take_access, false},
    {"code_unknown", code_unknown, ANSWER_UNKNOWN_REFERENCE, take_code_text, true},
    {"code_text", code_text, ANSWER_UNCLEAR, take_code_text, true},
    {"odd", anything, ANSWER_UNCLEAR, take_odd, false},
};

const char *znet_place_row(size_t i)
{
    return i < COUNT(place_rows) ? place_rows[i].name : NULL;
}

const char *znet_status_row(size_t i)
{
    return i < COUNT(status_rows) ? status_rows[i].name : NULL;
}

/* What came, for the record. Of a status answer the PIN field is hidden whenever it may hold a PIN. */
static const char *verbatim(const struct reply *r, bool status)
{
    const struct field *pin = &r->field[2];
    struct buf b = BUF(ANSWER_VERBATIM_MAX * 4);

    if (no_answer(r))
        return NULL;
    size_t n = MIN(r->len, (size_t)ANSWER_VERBATIM_MAX);
    if (status && r->nfields > 2 && is_ok(r) && is_pin(pin) && !ok_cancelled(r)) {
        buf_append(&b, r->body, MIN((size_t)(pin->s - r->body), n));
        buf_printf(&b, "***%zu", pin->n);
        const char *after = pin->s + pin->n;
        buf_append(&b, after, MIN((size_t)(r->body + r->len - after), n));
    } else {
        buf_append(&b, r->body, n);
    }
    char *s = ptext_utf8(r->arena, buf_str(&b), b.len);
    buf_release(&b);
    s[utf8_cut(s, ANSWER_VERBATIM_MAX)] = 0;
    return s;
}

static void decide(const struct reply *r, const struct row *row, bool status, struct answer *ret)
{
    while (!row->matches(r))
        row++;
    *ret = (struct answer){
        .kind = row->kind,
        .row = row->name,
        .healthy = row->healthy,
        .verbatim = verbatim(r, status),
        .took_ms = r->http->took_ms,
    };
    row->take(r, ret);
}

void znet_parse_place(struct arena *a, const struct http_response *h, struct answer *ret)
{
    struct reply r = read_reply(a, h);

    decide(&r, place_rows, false, ret);
}

void znet_parse_status(struct arena *a, const struct http_response *h, struct answer *ret)
{
    struct reply r = read_reply(a, h);

    decide(&r, status_rows, true, ret);
}

void znet_parse_balance(struct arena *a, const struct http_response *h, struct balance_answer *ret)
{
    static const struct row rows[] = {
        {"not_sent", not_sent, ANSWER_NOT_SENT, take_transport, false},
        {"no_answer", no_answer, ANSWER_UNCLEAR, take_transport, false},
        {"http_error", http_error, ANSWER_UNCLEAR, take_http_status, false},
        {"empty", empty, ANSWER_TROUBLE, take_empty,
         false}, /* unknown dealer, no API permission, wrong IP */
        {"no_text", no_text, ANSWER_UNCLEAR, take_no_text, false},
        {"ok_access", ok_access, ANSWER_TROUBLE, take_access, false},
        {"code_access", code_access, ANSWER_TROUBLE, take_access, false},
        {"odd", anything, ANSWER_UNCLEAR, take_odd, false},
    };
    struct reply r = read_reply(a, h);
    const char *balance = NULL, *debt = NULL;

    *ret = (struct balance_answer){0};
    if (!no_answer(&r) && !http_error(&r) && !empty(&r) && !no_text(&r) && is_ok(&r)) {
        balance = decimal(&r, 1);
        debt = decimal(&r, 2);
    }
    if (balance && !has_text(&r, 3) && (debt || !has_text(&r, 2))) {
        *ret = (struct balance_answer){.ok = true, .balance = balance, .debt = debt};
        ret->answer = (struct answer){.row = "ok_balance", .healthy = true, .took_ms = h->took_ms};
        return;
    }
    decide(&r, rows, false, &ret->answer);
    if (ret->answer.kind == ANSWER_TROUBLE)
        ret->answer.reason = REASON_ACCESS;
}
