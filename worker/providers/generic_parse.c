/* generic_parse.c - an answer read through the paths of its configuration.
 *
 *   body --json | pipe--> tree --"at"--> the order's object --fields.status--> word --words--> done | pending | failed
 *                           `--errors.code--> code --errors.codes--> meaning
 */
#include "worker/providers/generic_parse.h"
#include "base/text.h"
#include "worker/providers/ptext.h"
#include <ctype.h>
#include <string.h>

#define BODY_MAX KiB(256)

struct reply {
    struct cx *cx;
    const struct http_response *http;
    const cJSON *config, *call; /* call: config.place, .check or .balance */
    cJSON *root;                /* NULL: no tree could be read */
    const cJSON *order; /* at "at": an object (or the list of a pipe answer); NULL: not there */
    bool no_row;        /* "at" is there and holds nothing: an empty list or null */
    bool many;          /* more than the one that was asked about */
    bool complete;      /* "require" and "numeric" are met */
    const char *word, *state;   /* the order's own status, and done|pending|failed of it; NULL */
    const char *code, *meaning; /* the error's; meaning NULL: not named */
    const char *message;
};

/* ---------------------------------------------------------------- reading */

static const cJSON *setting(const cJSON *o, const char *name)
{
    return cJSON_GetObjectItemCaseSensitive(o, name);
}

/* The first of the paths (one or a list) under `from` that is there and not null; *ret_i its number. */
static const cJSON *first_of(const cJSON *from, const cJSON *paths, int *ret_i)
{
    const cJSON *p = cJSON_IsArray(paths) ? paths->child : paths;

    for (int i = 0; from && p; p = cJSON_IsArray(paths) ? p->next : NULL, i++) {
        const cJSON *v = json_path(from, p->valuestring);
        if (v && !cJSON_IsNull(v)) {
            if (ret_i)
                *ret_i = i;
            return v;
        }
    }
    return NULL;
}

static const char *text_at(struct cx *cx, const cJSON *from, const cJSON *paths)
{
    const cJSON *v = first_of(from, paths, NULL);
    const char *s = v ? json_text(cx, v) : NULL;

    return str_empty(s) ? NULL : s;
}

/* In a map of the settings, without regard to case. */
static const char *look_up(struct cx *cx, const cJSON *map, const char *key)
{
    const char *folded = ptext_fold(&cx->arena, key);

    for (const cJSON *c = map ? map->child : NULL; c; c = c->next) {
        if (strcmp(ptext_fold(&cx->arena, c->string), folded) == 0)
            return c->valuestring;
    }
    return NULL;
}

/* "OK|10.12|980.88" as a list of trimmed texts; NULL for HTML, several lines, or one field. */
static cJSON *read_pipe(struct cx *cx, const char *s)
{
    char *line = str_trim(arena_strdup(&cx->arena, s)), *field;
    _cleanup_(buf_release) struct buf b = BUF(BODY_MAX * 2);
    cJSON *ret = NULL;

    if (!*line || *line == '<' || !strchr(line, '|') || strpbrk(line, "\r\n"))
        return NULL;
    while ((field = strsep(&line, "|"))) {
        buf_puts(&b, b.len ? "," : "[");
        buf_json_str(&b, str_trim(field));
    }
    buf_puts(&b, "]");
    return json_parse(cx, buf_str(&b), b.len, BODY_MAX * 2, &ret) == OK ? ret : NULL;
}

static cJSON *read_tree(struct cx *cx, const cJSON *call, const struct http_response *h, size_t max)
{
    const char *format = cJSON_GetStringValue(setting(call, "format")), *body = buf_str(&h->body);
    size_t len = h->body.len;
    cJSON *ret = NULL;

    if (len >= 3 && memcmp(body, "\xef\xbb\xbf", 3) == 0)
        body += 3, len -= 3;
    if (len > max || memchr(body, 0, len))
        return NULL;
    if (!utf8_valid(body, len)) {
        body = ptext_utf8(&cx->arena, body, len);
        len = strlen(body);
    }
    if (format && strcmp(format, "pipe") == 0)
        return read_pipe(cx, body);
    return json_parse(cx, body, len, max, &ret) == OK && (cJSON_IsObject(ret) || cJSON_IsArray(ret))
               ? ret
               : NULL;
}

static bool meets_rules(struct cx *cx, const cJSON *call, const cJSON *root)
{
    const cJSON *numeric = setting(call, "numeric"), *require = setting(call, "require");

    for (const cJSON *c = require ? require->child : NULL; c; c = c->next) {
        const char *s = json_text(cx, json_path(root, c->string));
        if (!s || strcasecmp(s, c->valuestring) != 0)
            return false;
    }
    for (const cJSON *c = cJSON_IsArray(numeric) ? numeric->child : numeric; c;
         c = cJSON_IsArray(numeric) ? c->next : NULL) {
        const char *s = json_text(cx, json_path(root, c->valuestring));
        if (!s || !ptext_decimal(&cx->arena, s, strlen(s)))
            return false;
    }
    return true;
}

/* "at" may lead to the order, or to a list of the one that was asked about. */
static void find_order(struct reply *r)
{
    const char *at = cJSON_GetStringValue(setting(r->call, "at"));
    const char *format = cJSON_GetStringValue(setting(r->call, "format"));
    const cJSON *v = json_path(r->root, at ? at : "");

    if (format && strcmp(format, "pipe") == 0) {
        r->order = v;
        return;
    }
    if (cJSON_IsArray(v)) {
        r->many = cJSON_GetArraySize(v) > 1;
        r->no_row = !v->child;
        v = v->child;
    } else if (v && cJSON_IsNull(v)) {
        r->no_row = true;
    }
    r->order = cJSON_IsObject(v) ? v : NULL;
}

static struct reply read_reply(struct cx *cx, const cJSON *config, const char *call,
                               const struct http_response *h)
{
    struct reply r = {.cx = cx, .http = h, .config = config, .call = setting(config, call)};
    const cJSON *errors = setting(config, "errors"), *words = setting(config, "words");
    const cJSON *own = setting(r.call, "status"),
                *status = own ? own : setting(setting(config, "fields"), "status");

    if (h->outcome != HTTP_ANSWERED || h->status >= 500)
        return r;
    r.root = read_tree(cx, r.call, h, BODY_MAX);
    if (!r.root)
        return r;
    find_order(&r);
    r.complete = meets_rules(cx, r.call, r.root);
    if (r.complete)
        r.word = text_at(cx, r.order, status);
    if (r.word)
        r.state = look_up(cx, words, r.word);
    r.code = text_at(cx, r.root, setting(errors, "code"));
    if (r.code) {
        r.meaning = look_up(cx, setting(errors, "codes"), r.code);
        if (!r.meaning)
            r.meaning = look_up(cx, setting(errors, "codes"), "*");
    }
    r.message = text_at(cx, r.root, setting(errors, "message"));
    return r;
}

/* ---------------------------------------------------------------- the rows */

static bool not_sent(const struct reply *r)
{
    return r->http->outcome == HTTP_NOT_SENT;
}

static bool no_answer(const struct reply *r)
{
    return r->http->outcome != HTTP_ANSWERED;
}

static bool server_error(const struct reply *r)
{
    return r->http->status >= 500 || r->http->status < 200 ||
           (r->http->status >= 300 && r->http->status < 400);
}

static bool unreadable(const struct reply *r)
{
    return !r->root;
}

static bool many_rows(const struct reply *r)
{
    return r->many;
}

static bool good_status(const struct reply *r)
{
    return r->http->status < 300;
}

static bool state_is(const struct reply *r, const char *state)
{
    return good_status(r) && r->state && strcmp(r->state, state) == 0;
}

static bool state_done(const struct reply *r)
{
    return state_is(r, "done");
}

static bool state_pending(const struct reply *r)
{
    return state_is(r, "pending");
}

static bool state_failed(const struct reply *r)
{
    return state_is(r, "failed");
}

/* A word that nobody told us of: the order is there, how it stands is not known. */
static bool state_other(const struct reply *r)
{
    return good_status(r) && r->word && !r->state;
}

static bool means(const struct reply *r, const char *meaning)
{
    return r->meaning && strcmp(r->meaning, meaning) == 0;
}

static bool code_sent_before(const struct reply *r)
{
    return means(r, "already_sent");
}

static bool code_not_let_in(const struct reply *r)
{
    return means(r, "access") || means(r, "maintenance") || means(r, "rate");
}

static bool code_refused(const struct reply *r)
{
    return means(r, "no_balance") || means(r, "unavailable") || means(r, "bad_product") ||
           means(r, "bad_player") || means(r, "other");
}

static bool code_unclear(const struct reply *r)
{
    return r->code != NULL;
}

static bool absent(const struct reply *r)
{
    return good_status(r) && r->no_row && r->complete && !r->code;
}

static bool anything(const struct reply *r)
{
    return true;
}

/* ---------------------------------------------------------------- what a row takes */

static const char *clean(const struct reply *r, const char *s)
{
    return s ? ptext_clean(&r->cx->arena, s, strlen(s), ANSWER_NOTE_MAX) : NULL;
}

/* Every text inside v, whatever its nesting (JSON's depth is bounded). */
static void collect_texts(struct cx *cx, const cJSON *v, const char **ret, size_t *n, size_t max)
{
    if (cJSON_IsArray(v) || cJSON_IsObject(v)) {
        for (const cJSON *c = v->child; c; c = c->next)
            collect_texts(cx, c, ret, n, max);
        return;
    }
    const char *s = cJSON_IsString(v) || cJSON_IsNumber(v) ? json_text(cx, v) : NULL;
    if (s && *n < max) {
        s = str_trim(arena_strndup(&cx->arena, s, ANSWER_PIN_MAX));
        if (*s && strcmp(s, "-") != 0)
            ret[(*n)++] = s;
    }
}

static void take_pins(const struct reply *r, struct answer *ret)
{
    const cJSON *paths = setting(setting(r->config, "fields"), "pin");

    for (const cJSON *p = cJSON_IsArray(paths) ? paths->child : paths; p && !ret->npins;
         p = cJSON_IsArray(paths) ? p->next : NULL)
        collect_texts(r->cx, json_path(r->order, p->valuestring), ret->pins, &ret->npins,
                      ANSWER_PINS_MAX);
    for (size_t i = 0; i < ret->npins; i++)
        ((char *)(uintptr_t)ret->pins[i])[utf8_cut(ret->pins[i], ANSWER_PIN_MAX)] = 0;
}

static const char *take_note(const struct reply *r)
{
    const cJSON *paths = setting(setting(r->config, "fields"), "note");
    const char *texts[8];
    size_t n = 0;
    _cleanup_(buf_release) struct buf b = BUF(KiB(64));

    for (const cJSON *p = cJSON_IsArray(paths) ? paths->child : paths; p && !n;
         p = cJSON_IsArray(paths) ? p->next : NULL)
        collect_texts(r->cx, json_path(r->order, p->valuestring), texts, &n, COUNT(texts));
    for (size_t i = 0; i < n; i++)
        buf_printf(&b, "%s%s", i ? "; " : "", texts[i]);
    return b.len ? clean(r, arena_strdup(&r->cx->arena, buf_str(&b))) : NULL;
}

static void take_transport(const struct reply *r, struct answer *ret)
{
    ret->note = arena_strdup(&r->cx->arena, r->http->why);
}

static void take_http_status(const struct reply *r, struct answer *ret)
{
    ret->code = arena_printf(&r->cx->arena, "http %ld", r->http->status);
    ret->note =
        arena_printf(&r->cx->arena, "the provider answered with HTTP status %ld", r->http->status);
}

static void take_odd(const struct reply *r, struct answer *ret)
{
    ret->note = r->message ? clean(r, r->message) : "the provider's answer is not understood";
}

static const char *decimal_at(const struct reply *r, const char *field)
{
    const char *s = text_at(r->cx, r->order, setting(setting(r->config, "fields"), field));

    return s ? ptext_decimal(&r->cx->arena, s, strlen(s)) : NULL;
}

static void take_order(const struct reply *r, struct answer *ret)
{
    const char *id = text_at(r->cx, r->order, setting(setting(r->config, "fields"), "order_id"));
    const char *cost = decimal_at(r, "cost");

    ret->code = ptext_clean(&r->cx->arena, r->word, strlen(r->word), 64);
    ret->provider_order_id = id ? ptext_clean(&r->cx->arena, id, strlen(id), 128) : NULL;
    ret->cost = cost && *cost == '-' ? cost + 1 : cost;
    ret->balance = decimal_at(r, "balance");
    ret->note = take_note(r);
}

static void take_failed(const struct reply *r, struct answer *ret)
{
    take_order(r, ret);
    if (!ret->note)
        ret->note = clean(r, r->message);
    ret->reason = REASON_OTHER;
    ret->cost = NULL;
}

static void take_done(const struct reply *r, struct answer *ret)
{
    take_pins(r, ret);
    take_order(r, ret);
    for (size_t i = 0; i < ret->npins && ret->note; i++) {
        if (strstr(ret->note,
                   ret->pins[i])) /* the same text is read as PIN and as note: it is a PIN */
            ret->note = NULL;
    }
}

static void take_code(const struct reply *r, struct answer *ret)
{
    static const struct {
        const char *meaning;
        enum answer_reason reason;
    } rows[] = {{"no_balance", REASON_NO_BALANCE},
                {"unavailable", REASON_UNAVAILABLE},
                {"bad_product", REASON_BAD_PRODUCT},
                {"bad_player", REASON_BAD_PLAYER},
                {"access", REASON_ACCESS},
                {"maintenance", REASON_MAINTENANCE},
                {"rate", REASON_RATE},
                {"other", REASON_OTHER}};

    ret->code = ptext_clean(&r->cx->arena, r->code, strlen(r->code), 64);
    ret->note = clean(r, r->message);
    for (size_t i = 0; i < COUNT(rows); i++) {
        if (means(r, rows[i].meaning))
            ret->reason = rows[i].reason;
    }
    if (r->http->retry_after_s > 0)
        ret->retry_after_ms = r->http->retry_after_s * 1000;
    else if (ret->reason == REASON_RATE)
        ret->retry_after_ms = 60 * 1000; /* "try again after one minute" */
}

static void take_absent(const struct reply *r, struct answer *ret)
{
    ret->note = "the provider does not know this reference";
}

struct row {
    const char *name;
    bool (*matches)(const struct reply *r);
    enum answer_kind place, status; /* what it means as the answer to each */
    void (*take)(const struct reply *r, struct answer *ret);
    bool healthy;
};

static const struct row rows[] = {
    {"not_sent", not_sent, ANSWER_NOT_SENT, ANSWER_NOT_SENT, take_transport, false},
    {"no_answer", no_answer, ANSWER_UNCLEAR, ANSWER_UNCLEAR, take_transport, false},
    {"http_error", server_error, ANSWER_UNCLEAR, ANSWER_UNCLEAR, take_http_status, false},
    {"unreadable", unreadable, ANSWER_UNCLEAR, ANSWER_UNCLEAR, take_odd, false},
    {"many_rows", many_rows, ANSWER_UNCLEAR, ANSWER_UNCLEAR, take_odd, true},
    {"state_done", state_done, ANSWER_DONE, ANSWER_DONE, take_done, true},
    {"state_pending", state_pending, ANSWER_ACCEPTED, ANSWER_PENDING, take_order, true},
    {"state_failed", state_failed, ANSWER_REFUSED, ANSWER_FAILED, take_failed, true},
    {"state_other", state_other, ANSWER_ACCEPTED, ANSWER_PENDING, take_order, true},
    {"code_sent_before", code_sent_before, ANSWER_ALREADY_SENT, ANSWER_UNCLEAR, take_code, true},
    {"code_not_let_in", code_not_let_in, ANSWER_TROUBLE, ANSWER_TROUBLE, take_code, false},
    {"code_refused", code_refused, ANSWER_REFUSED, ANSWER_UNCLEAR, take_code, true},
    {"code_unclear", code_unclear, ANSWER_UNCLEAR, ANSWER_UNCLEAR, take_code, true},
    {"absent", absent, ANSWER_UNCLEAR, ANSWER_UNKNOWN_REFERENCE, take_absent, true},
    {"odd", anything, ANSWER_UNCLEAR, ANSWER_UNCLEAR, take_odd, false},
};

const char *generic_row(size_t i)
{
    return i < COUNT(rows) ? rows[i].name : NULL;
}

/* As it came, PINs out of it. A done answer is printed from its tree: escapes in the raw text could hide a PIN from the search. */
static const char *verbatim(const struct reply *r, const struct answer *a)
{
    struct arena *arena = &r->cx->arena;
    const char *s;

    if (no_answer(r))
        return NULL;
    if (a->npins && r->root)
        s = json_print(r->cx, r->root);
    else
        s = ptext_utf8(arena, buf_str(&r->http->body),
                       MIN(r->http->body.len, (size_t)ANSWER_VERBATIM_MAX * 2));
    if (a->npins) {
        const char *pins[ANSWER_PINS_MAX + 1] = {NULL};
        for (size_t i = 0; i < a->npins; i++) {
            _cleanup_(buf_release) struct buf b = BUF(KiB(16));
            buf_json_str(&b, a->pins[i]);
            pins[i] = arena_strndup(arena, buf_str(&b),
                                    b.len); /* with its quotes: whole values, short ones too */
        }
        s = ptext_redact(arena, s, pins);
        s = ptext_redact(arena, s, a->pins);
    }
    char *out = arena_strdup(arena, s);
    out[utf8_cut(out, ANSWER_VERBATIM_MAX)] = 0;
    return out;
}

static void decide(const struct reply *r, bool status, struct answer *ret)
{
    const struct row *row = rows;

    while (!row->matches(r))
        row++;
    *ret = (struct answer){
        .kind = status ? row->status : row->place,
        .row = row->name,
        .healthy = row->healthy,
        .took_ms = r->http->took_ms,
    };
    row->take(r, ret);
    ret->verbatim = verbatim(r, ret);
}

void generic_parse_place(struct cx *cx, const cJSON *config, const struct http_response *h,
                         struct answer *ret)
{
    struct reply r = read_reply(cx, config, "place", h);

    decide(&r, false, ret);
}

void generic_parse_status(struct cx *cx, const cJSON *config, const struct http_response *h,
                          struct answer *ret)
{
    struct reply r = read_reply(cx, config, "check", h);

    decide(&r, true, ret);
}

void generic_parse_balance(struct cx *cx, const cJSON *config, const struct http_response *h,
                           struct balance_answer *ret)
{
    struct reply r = read_reply(cx, config, "balance", h);
    const char *balance = NULL, *debt = NULL;

    *ret = (struct balance_answer){0};
    if (r.root && r.complete && h->status < 300) {
        balance = text_at(cx, r.root, setting(r.call, "balance"));
        debt = text_at(cx, r.root, setting(r.call, "debt"));
    }
    if (balance)
        balance = ptext_decimal(&cx->arena, balance, strlen(balance));
    if (balance) {
        *ret = (struct balance_answer){.ok = true, .balance = balance};
        ret->debt = debt ? ptext_decimal(&cx->arena, debt, strlen(debt)) : NULL;
        ret->answer = (struct answer){.row = "ok_balance", .healthy = true, .took_ms = h->took_ms};
        return;
    }
    r.word = r.state = NULL;
    decide(&r, true, &ret->answer);
    if (ret->answer.kind == ANSWER_UNKNOWN_REFERENCE)
        ret->answer.kind = ANSWER_UNCLEAR;
}
