/* test_generic.c - the configured adapter: its settings, and what answers mean under the zdk preset and a pipe one. */
#include "tests/unit/unit.h"
#include "worker/providers/generic_config.h"
#include "worker/providers/generic_parse.h"
#include <stdio.h>
#include <string.h>

static cJSON *json(struct cx *cx, const char *text)
{
    cJSON *v;

    ck_assert_msg(json_parse(cx, text, strlen(text), MiB(4), &v) == OK, "%s: %s", text,
                  cx->err.text);
    return v;
}

/* ---------------------------------------------------------------- settings */

#define ZDK(more) "{\"preset\":\"zdk\"" more "}"

static const struct {
    const char *title, *text, *credentials;
    const char *pointer, *words; /* NULL: good */
} configs[] = {
    {"the preset alone", ZDK(""), "{\"token\":\"t\"}", NULL, NULL},
    {"with what others read",
     ZDK(",\"may_resend\":true,\"currency\":\"USD\",\"place_ms\":100,\"requests_per_s\":3"),
     "{\"token\":\"t\"}", NULL, NULL},
    {"another parameter name",
     ZDK(",\"place\":{\"params\":{\"playerId\":null,\"playerID\":\"{player}\"}}"),
     "{\"token\":\"t\"}", NULL, NULL},
    {"a further credential",
     ZDK(",\"auth\":{\"kind\":\"query\",\"params\":{\"u\":\"{user}\",\"p\":\"{token}\"}}"),
     "{\"token\":\"t\",\"user\":\"u\"}", NULL, NULL},
    {"nothing at all", "{}", "{}", "/reference", "required"},
    {"no such preset", "{\"preset\":\"abc\"}", "{}", "/preset", "zdk"},
    {"the preset's credential is missing", ZDK(""), "{}", "/auth/value", "token"},
    {"an empty credential", ZDK(""), "{\"token\":\"\"}", "", "token"},
    {"a credential that is no text", ZDK(""), "{\"token\":5}", "", "token"},
    {"a misspelt section", ZDK(",\"plaace\":{}"), "{\"token\":\"t\"}", "/plaace",
     "no setting of this name"},
    {"a misspelt field", ZDK(",\"place\":{\"pathh\":\"/x\"}"), "{\"token\":\"t\"}", "/place/pathh",
     "no setting of this name"},
    {"a section that is none", ZDK(",\"place\":5"), "{\"token\":\"t\"}", "/place", "object"},
    {"a path without a slash", ZDK(",\"place\":{\"path\":\"x\"}"), "{\"token\":\"t\"}",
     "/place/path", "slash"},
    {"a query in the path", ZDK(",\"place\":{\"path\":\"/x?a=1\"}"), "{\"token\":\"t\"}",
     "/place/path", "slash"},
    {"an unknown variable", ZDK(",\"place\":{\"params\":{\"a\":\"{sifre}\"}}"), "{\"token\":\"t\"}",
     "/place/params", "sifre"},
    {"an open brace", ZDK(",\"place\":{\"params\":{\"a\":\"{player\"}}"), "{\"token\":\"t\"}",
     "/place/params", "}"},
    {"a wrong method", ZDK(",\"check\":{\"method\":\"PUT\"}"), "{\"token\":\"t\"}", "/check/method",
     "GET POST"},
    {"a state that is none", ZDK(",\"words\":{\"ok\":\"fine\"}"), "{\"token\":\"t\"}", "/words",
     "done pending failed"},
    {"two words are not one of them", ZDK(",\"words\":{\"ok\":\"done pending\"}"),
     "{\"token\":\"t\"}", "/words", "done pending failed"},
    {"a part of a word is not it", ZDK(",\"words\":{\"ok\":\"don\"}"), "{\"token\":\"t\"}",
     "/words", "done pending failed"},
    {"a meaning that is none", ZDK(",\"errors\":{\"codes\":{\"1\":\"refund\"}}"),
     "{\"token\":\"t\"}", "/errors/codes", "no_balance"},
    {"a number for a text", ZDK(",\"place\":{\"at\":1}"), "{\"token\":\"t\"}", "/place/at",
     "string"},
    {"a line feed", ZDK(",\"auth\":{\"name\":\"a\\nb\"}"), "{\"token\":\"t\"}", "/auth/name",
     "control"},
    {"a required field taken away", ZDK(",\"check\":{\"path\":null}"), "{\"token\":\"t\"}",
     "/check/path", "required"},
    {"a header without a name", ZDK(",\"auth\":{\"name\":null}"), "{\"token\":\"t\"}", "/auth/name",
     "required"},
};

START_TEST(settings)
{
    _cleanup_(cx_release) struct cx cx = CX_PLAIN("test");
    cJSON *c = NULL;
    rc r = generic_config_read(&cx, json(&cx, configs[_i].text), json(&cx, configs[_i].credentials),
                               &c);

    if (!configs[_i].pointer) {
        ck_assert_msg(r == OK, "%s: %s %s", configs[_i].title, cx.err.pointer, cx.err.text);
        return;
    }
    ck_assert_msg(r == E_INVALID_FIELD, "%s: %s", configs[_i].title, error_info(r)->code);
    ck_assert_msg(strcmp(cx.err.pointer, configs[_i].pointer) == 0, "%s: at %s", configs[_i].title,
                  cx.err.pointer);
    ck_assert_msg(strstr(cx.err.text, configs[_i].words), "%s: %s", configs[_i].title, cx.err.text);
}
END_TEST

static const struct {
    const char *text, *want;
    bool empty;
} templates[] = {
    {"plain", "plain", false},
    {"[{reference}]", "[r 1]", false},
    {"{kupur|1}", "1", false},
    {"{product|1}", "p", false},
    {"{extra}{phone}", "", true},
    {"{extra}{player}", "pl", false},
    {"Bearer {token}", "Bearer secret", false},
};

START_TEST(expand)
{
    _cleanup_(cx_release) struct cx cx = CX_PLAIN("test");
    _cleanup_(buf_release) struct buf b = BUF(100);
    const struct template_vars v = {.product = "p",
                                    .reference = "r 1",
                                    .player = "pl",
                                    .credentials = json(&cx, "{\"token\":\"secret\"}")};
    bool empty;

    ck_assert(template_expand(templates[_i].text, &v, NULL, &b, &empty));
    ck_assert_str_eq(buf_str(&b), templates[_i].want);
    ck_assert_msg(empty == templates[_i].empty, "%s", templates[_i].text);
}
END_TEST

/* ---------------------------------------------------------------- answers */

struct answer_case {
    const char *title;
    bool status; /* else place */
    enum http_outcome outcome;
    long http;
    const char *body;
    enum answer_kind kind;
    const char *row;
    enum answer_reason reason;
    const char *pin, *note, *cost, *code, *id; /* checked when given */
};
#define PLACE  false, HTTP_ANSWERED, 200
#define STATUS true, HTTP_ANSWERED, 200
#define PLACED(word, more)                                                                         \
    "{\"status\":\"OK\",\"data\":{\"order_id\":\"ID_1\",\"status\":\"" word                        \
    "\",\"price\":\"45.50\"" more "}}"
#define ROW(word, more)                                                                            \
    "{\"status\":\"OK\",\"data\":[{\"order_id\":\"ID_1\",\"status\":\"" word                       \
    "\",\"price\":45.5" more "}]}"
#define ERROR(code) "{\"status\":\"ERROR\",\"code\":" code ",\"message\":\"no\"}"

static const struct answer_case zdk_cases[] = {
    {"wait", PLACE, PLACED("wait", ",\"replay_api\":null"), ANSWER_ACCEPTED, "state_pending", 0,
     NULL, NULL, "45.50", "wait", "ID_1"},
    {"upper case", PLACE, PLACED("WAIT", ""), ANSWER_ACCEPTED, "state_pending"},
    {"accepted is not accept", PLACE, PLACED("accepted", ""), ANSWER_ACCEPTED, "state_pending"},
    {"done at once, PIN in replay", PLACE,
     PLACED("accept", ",\"replay_api\":[{\"replay\":[\"PIN-1\"]}]"), ANSWER_DONE, "state_done", 0,
     "PIN-1"},
    {"done at once, no PIN", PLACE, PLACED("accept", ",\"replay_api\":null"), ANSWER_DONE,
     "state_done"},
    {"done, PIN field before replay", PLACE,
     PLACED("done", ",\"pin\":\"P\\u0041X9\",\"replay_api\":[{\"replay\":[\"thanks\"]}]"),
     ANSWER_DONE, "state_done", 0, "PAX9", "thanks"},
    {"rejected at once", PLACE, PLACED("reject", ",\"replay_api\":[{\"replay\":[\"bad id\"]}]"),
     ANSWER_REFUSED, "state_failed", REASON_OTHER, NULL, "bad id"},
    {"a word nobody knows", PLACE, PLACED("resting", ""), ANSWER_ACCEPTED, "state_other", 0, NULL,
     NULL, NULL, "resting"},
    {"the order's state before a code", PLACE, "{\"code\":100,\"data\":{\"status\":\"wait\"}}",
     ANSWER_ACCEPTED, "state_pending"},
    {"no balance", PLACE, ERROR("100"), ANSWER_REFUSED, "code_refused", REASON_NO_BALANCE, NULL,
     "no", NULL, "100"},
    {"other names", PLACE, "{\"status\":\"error\",\"error_code\":\"109\",\"error\":\"gone\"}",
     ANSWER_REFUSED, "code_refused", REASON_BAD_PRODUCT, NULL, "gone"},
    {"an error with HTTP 400", false, HTTP_ANSWERED, 400, ERROR("106"), ANSWER_REFUSED,
     "code_refused", REASON_OTHER},
    {"player blocked", PLACE, ERROR("107"), ANSWER_REFUSED, "code_refused", REASON_BAD_PLAYER},
    {"not now", PLACE, ERROR("110"), ANSWER_REFUSED, "code_refused", REASON_UNAVAILABLE},
    {"token", PLACE, ERROR("121"), ANSWER_TROUBLE, "code_not_let_in", REASON_ACCESS},
    {"IP", PLACE, ERROR("123"), ANSWER_TROUBLE, "code_not_let_in", REASON_ACCESS},
    {"maintenance", PLACE, ERROR("130"), ANSWER_TROUBLE, "code_not_let_in", REASON_MAINTENANCE},
    {"in a minute", PLACE, ERROR("111"), ANSWER_TROUBLE, "code_not_let_in", REASON_RATE},
    {"114 means nothing", PLACE, ERROR("114"), ANSWER_UNCLEAR, "code_unclear"},
    {"500 means nothing", PLACE, ERROR("500"), ANSWER_UNCLEAR, "code_unclear"},
    {"a code nobody knows", PLACE, ERROR("999"), ANSWER_UNCLEAR, "code_unclear"},
    {"OK, and nothing else", PLACE, "{\"status\":\"OK\"}", ANSWER_UNCLEAR, "odd"},
    {"a state word at the top only", PLACE, "{\"status\":\"reject\"}", ANSWER_UNCLEAR, "odd"},
    {"an empty object", PLACE, "{}", ANSWER_UNCLEAR, "odd"},
    {"an empty list is not a refusal", PLACE, "{\"status\":\"OK\",\"data\":[]}", ANSWER_UNCLEAR,
     "absent"},
    {"empty", PLACE, "", ANSWER_UNCLEAR, "unreadable"},
    {"HTML", PLACE, "<html>x</html>", ANSWER_UNCLEAR, "unreadable"},
    {"cut", PLACE, "{\"status\":\"OK\",\"data\":{\"status\":\"rej", ANSWER_UNCLEAR, "unreadable"},
    {"a bare word", PLACE, "\"reject\"", ANSWER_UNCLEAR, "unreadable"},
    {"502 with a refusal in it", false, HTTP_ANSWERED, 502, ERROR("100"), ANSWER_UNCLEAR,
     "http_error", 0, NULL, NULL, NULL, "http 502"},
    {"a redirect", false, HTTP_ANSWERED, 302, "", ANSWER_UNCLEAR, "http_error"},
    {"404 with a page", false, HTTP_ANSWERED, 404, "<html>", ANSWER_UNCLEAR, "unreadable"},
    {"a state under HTTP 400 is doubt", false, HTTP_ANSWERED, 400, PLACED("reject", ""),
     ANSWER_UNCLEAR, "odd"},
    {"timeout", false, HTTP_UNCLEAR, 0, "", ANSWER_UNCLEAR, "no_answer"},
    {"refused connection", false, HTTP_NOT_SENT, 0, "", ANSWER_NOT_SENT, "not_sent"},
    {"too deep", PLACE, "[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[",
     ANSWER_UNCLEAR, "unreadable"},

    {"asked: wait", STATUS, ROW("wait", ""), ANSWER_PENDING, "state_pending", 0, NULL, NULL,
     "45.5"},
    {"asked: done with PIN", STATUS, ROW("accept", ",\"code\":\"C-77\""), ANSWER_DONE, "state_done",
     0, "C-77"},
    {"asked: done with a short PIN", STATUS, ROW("accept", ",\"serial\":\"7\""), ANSWER_DONE,
     "state_done", 0, "7"},
    {"asked: done, replay is a list", STATUS, ROW("success", ",\"replay_api\":[\"R-1\"]"),
     ANSWER_DONE, "state_done", 0, "R-1"},
    {"asked: done without PIN", STATUS, ROW("completed", ",\"replay_api\":[]"), ANSWER_DONE,
     "state_done"},
    {"asked: failed", STATUS, ROW("cancelled", ",\"replay_api\":[\"wrong id\"]"), ANSWER_FAILED,
     "state_failed", REASON_OTHER, NULL, "wrong id"},
    {"asked: a word nobody knows", STATUS, ROW("resting", ""), ANSWER_PENDING, "state_other"},
    {"asked: no row", STATUS, "{\"status\":\"OK\",\"data\":[]}", ANSWER_UNKNOWN_REFERENCE,
     "absent"},
    {"asked: null for rows", STATUS, "{\"status\":\"OK\",\"data\":null}", ANSWER_UNKNOWN_REFERENCE,
     "absent"},
    {"asked: no data", STATUS, "{\"status\":\"OK\"}", ANSWER_UNCLEAR, "odd"},
    {"asked: two rows", STATUS, "{\"data\":[{\"status\":\"reject\"},{\"status\":\"accept\"}]}",
     ANSWER_UNCLEAR, "many_rows"},
    {"asked: an error is not a refusal", STATUS, ERROR("100"), ANSWER_UNCLEAR, "code_refused",
     REASON_NO_BALANCE},
    {"asked: not let in", STATUS, ERROR("120"), ANSWER_TROUBLE, "code_not_let_in", REASON_ACCESS},
    {"asked: unknown error", STATUS, ERROR("500"), ANSWER_UNCLEAR, "code_unclear"},
    {"asked: null rows beside an error", STATUS, "{\"code\":500,\"data\":null}", ANSWER_UNCLEAR,
     "code_unclear"},
    {"asked: HTML", STATUS, "<html>", ANSWER_UNCLEAR, "unreadable"},
};

/* A panel that speaks like znet, written as settings. */
static const char pipe_settings[] =
    "{\"reference\":\"digits\",\"auth\":{\"kind\":\"query\",\"params\":{\"kod\":\"{kod}\","
    "\"sifre\":\"{sifre}\"}},"
    "\"place\":{\"path\":\"/servis/"
    "pin_ekle.php\",\"format\":\"pipe\",\"status\":\"0\",\"require\":{\"0\":\"OK\"},\"numeric\":["
    "\"1\",\"2\"],"
    "\"params\":{\"oyun\":\"{product}\",\"kupur\":\"{kupur}\",\"referans\":\"{reference}\","
    "\"oyuncu_bilgi\":\"{player}\"}},"
    "\"check\":{\"path\":\"/servis/"
    "pin_kontrol.php\",\"format\":\"pipe\",\"require\":{\"0\":\"OK\"},"
    "\"params\":{\"tahsilat_api_islem_id\":\"{reference}\"}},"
    "\"words\":{\"ok\":\"pending\",\"1\":\"pending\",\"2\":\"done\",\"3\":\"failed\"},"
    "\"fields\":{\"status\":\"1\",\"cost\":\"1\",\"balance\":\"2\",\"pin\":\"2\",\"note\":\"3\"},"
    "\"errors\":{\"code\":\"0\",\"message\":\"1\",\"codes\":{\"OK\":\"unclear\",\"4\":\"already_"
    "sent\",\"8\":\"already_sent\",\"3\":\"other\"}},"
    "\"balance\":{\"path\":\"/servis/"
    "bakiye_kontrol.php\",\"format\":\"pipe\",\"require\":{\"0\":\"OK\"},\"balance\":\"1\","
    "\"debt\":\"2\"},"
    "\"catalogue\":{\"path\":\"/servis/"
    "pin_listesi.php\",\"at\":\"result\",\"id\":\"id\",\"product\":\"oyun_bilgi_id\",\"kupur\":"
    "\"kupur\",\"name\":\"adi\"}}";

static const struct answer_case pipe_cases[] = {
    {"placed for a cost of 3", PLACE, "OK|3|5.00", ANSWER_ACCEPTED, "state_pending", 0, NULL, NULL,
     "3"},
    {"placed", PLACE, " OK|10.12|980.88\n", ANSWER_ACCEPTED, "state_pending", 0, NULL, NULL,
     "10.12"},
    {"refused", PLACE, "3|Kupur Bilgisi Bulunamadı", ANSWER_REFUSED, "code_refused", REASON_OTHER,
     NULL, "Kupur Bilgisi Bulunamadı", NULL, "3"},
    {"sent before", PLACE, "4|Daha Önce", ANSWER_ALREADY_SENT, "code_sent_before"},
    {"a code that is not named", PLACE, "5|x", ANSWER_UNCLEAR, "code_unclear"},
    {"an OK with words", PLACE, "OK|3|ip geçersiz|0.00", ANSWER_UNCLEAR, "code_unclear"},
    {"no bar", PLACE, "OK", ANSWER_UNCLEAR, "unreadable"},
    {"several lines", PLACE, "3|a\n3|b", ANSWER_UNCLEAR, "unreadable"},
    {"empty", PLACE, "", ANSWER_UNCLEAR, "unreadable"},
    {"asked: waiting", STATUS, "OK|1| |x", ANSWER_PENDING, "state_pending", 0, NULL, "x"},
    {"asked: done", STATUS, "OK|2|AB-12|x", ANSWER_DONE, "state_done", 0, "AB-12", "x"},
    {"asked: done without PIN", STATUS, "OK|2|-|x", ANSWER_DONE, "state_done", 0, NULL, "x"},
    {"asked: cancelled", STATUS, "OK|3||why", ANSWER_FAILED, "state_failed", REASON_OTHER, NULL,
     "why"},
    {"asked: an error is no state", STATUS, "3|why", ANSWER_UNCLEAR, "code_refused", REASON_OTHER},
};

static void check_text(const char *title, const char *what, const char *got, const char *want)
{
    if (want)
        ck_assert_msg(got && strcmp(got, want) == 0, "%s: %s is '%s', not '%s'", title, what,
                      got ? got : "(null)", want);
}

static void check_answer(const struct answer_case *c, const char *text, const char *credentials)
{
    _cleanup_(cx_release) struct cx cx = CX_PLAIN("test");
    struct http_response r = {.outcome = c->outcome,
                              .status = c->http,
                              .body = BUF(MiB(1)),
                              .retry_after_s = -1,
                              .why = "it broke"};
    struct answer a;
    cJSON *config;

    ck_assert_msg(generic_config_read(&cx, json(&cx, text), json(&cx, credentials), &config) == OK,
                  "%s", cx.err.text);
    buf_puts(&r.body, c->body);
    if (c->status)
        generic_parse_status(&cx, config, &r, &a);
    else
        generic_parse_place(&cx, config, &r, &a);
    ck_assert_msg(a.kind == c->kind && strcmp(a.row, c->row) == 0, "%s: %s by row %s", c->title,
                  answer_kind_name(a.kind), a.row);
    ck_assert_msg(a.reason == c->reason, "%s: reason %s", c->title, answer_reason_name(a.reason));
    ck_assert_msg(a.npins == (c->pin ? 1 : 0), "%s: %zu pins", c->title, a.npins);
    if (c->pin) {
        check_text(c->title, "pin", a.pins[0], c->pin);
        char quoted[64];
        snprintf(quoted, sizeof quoted, "\"%s\"", c->pin);
        ck_assert_msg(!strstr(a.verbatim, strlen(c->pin) < 4 ? quoted : c->pin),
                      "%s: the PIN is on record: %s", c->title, a.verbatim);
    }
    check_text(c->title, "note", a.note, c->note);
    check_text(c->title, "cost", a.cost, c->cost);
    check_text(c->title, "code", a.code, c->code);
    check_text(c->title, "order_id", a.provider_order_id, c->id);
    buf_release(&r.body);
}

START_TEST(zdk)
{
    check_answer(&zdk_cases[_i], ZDK(""), "{\"token\":\"t\"}");
}
END_TEST

START_TEST(pipe_answer)
{
    check_answer(&pipe_cases[_i], pipe_settings, "{\"kod\":\"5\",\"sifre\":\"s\"}");
}
END_TEST

START_TEST(every_row_has_a_case)
{
    for (size_t i = 0; generic_row(i); i++) {
        bool spoke = false;
        for (size_t k = 0; k < COUNT(zdk_cases); k++)
            spoke |= strcmp(zdk_cases[k].row, generic_row(i)) == 0;
        for (size_t k = 0; k < COUNT(pipe_cases); k++)
            spoke |= strcmp(pipe_cases[k].row, generic_row(i)) == 0;
        ck_assert_msg(spoke, "no case for %s", generic_row(i));
    }
}
END_TEST

/* ---------------------------------------------------------------- balance and catalogue */

static const struct {
    const char *title, *body, *balance;
    enum answer_kind kind; /* when there is none */
} balances[] = {
    {"text", "{\"balance\":\"43.55\",\"email\":\"x\"}", "43.55", 0},
    {"number", "{\"balance\":43.5}", "43.5", 0},
    {"wrapped", "{\"status\":\"OK\",\"data\":{\"balance\":\"1.0000\"}}", "1.0000", 0},
    {"token", ERROR("121"), NULL, ANSWER_TROUBLE},
    {"no number", "{\"balance\":\"lots\"}", NULL, ANSWER_UNCLEAR},
    {"HTML", "<html>", NULL, ANSWER_UNCLEAR},
    {"empty", "", NULL, ANSWER_UNCLEAR},
};

START_TEST(balance)
{
    _cleanup_(cx_release) struct cx cx = CX_PLAIN("test");
    struct http_response r = {
        .outcome = HTTP_ANSWERED, .status = 200, .body = BUF(MiB(1)), .retry_after_s = -1};
    struct balance_answer b;
    cJSON *config;

    ck_assert_int_eq(
        generic_config_read(&cx, json(&cx, ZDK("")), json(&cx, "{\"token\":\"t\"}"), &config), OK);
    buf_puts(&r.body, balances[_i].body);
    generic_parse_balance(&cx, config, &r, &b);
    ck_assert_msg(b.ok == (balances[_i].balance != NULL), "%s", balances[_i].title);
    check_text(balances[_i].title, "balance", b.balance, balances[_i].balance);
    if (!b.ok)
        ck_assert_msg(b.answer.kind == balances[_i].kind, "%s: %s", balances[_i].title,
                      answer_kind_name(b.answer.kind));
    buf_release(&r.body);
}
END_TEST

#define GOOD                                                                                       \
    "{\"id\":101,\"name\":\"PUBG 60 "                                                              \
    "UC\",\"price\":\"0.95\",\"category_name\":\"PUBG\",\"available\":true}"

static const struct {
    const char *title, *body;
    bool ok;
    size_t n, skipped;
} lists[] = {
    {"a list", "[" GOOD "]", true, 1, 0},
    {"wrapped", "{\"data\":[" GOOD "," GOOD "]}", true, 2, 0},
    {"empty", "[]", true, 0, 0},
    {"rows that are none", "[5,{},{\"id\":1}," GOOD "]", true, 1, 3},
    {"an error", ERROR("130"), false, 0, 0},
    {"cut", "[" GOOD ",{", false, 0, 0},
    {"HTML", "<html>", false, 0, 0},
};

START_TEST(catalogue)
{
    _cleanup_(cx_release) struct cx cx = CX_PLAIN("test");
    struct http_response r = {
        .outcome = HTTP_ANSWERED, .status = 200, .body = BUF(MiB(1)), .retry_after_s = -1};
    struct catalogue_answer c;
    cJSON *config;

    ck_assert_int_eq(
        generic_config_read(&cx, json(&cx, ZDK("")), json(&cx, "{\"token\":\"t\"}"), &config), OK);
    buf_puts(&r.body, lists[_i].body);
    generic_parse_catalogue(&cx, config, &r, &c);
    ck_assert_msg(c.ok == lists[_i].ok && c.n == lists[_i].n && c.skipped == lists[_i].skipped,
                  "%s: %d, %zu rows, %zu skipped", lists[_i].title, c.ok, c.n, c.skipped);
    if (c.n) {
        ck_assert_str_eq(c.rows[0].id, "101");
        ck_assert_str_eq(c.rows[0].product, "101");
        ck_assert_str_eq(c.rows[0].kupur, "");
        ck_assert_str_eq(c.rows[0].name, "PUBG 60 UC");
        ck_assert_str_eq(c.rows[0].game, "PUBG");
        ck_assert_str_eq(c.rows[0].price, "0.95");
        ck_assert(c.rows[0].available);
    }
    buf_release(&r.body);
}
END_TEST

UNIT(generic, {"settings", settings, COUNT(configs)}, {"template", expand, COUNT(templates)},
     {"zdk", zdk, COUNT(zdk_cases)}, {"pipe", pipe_answer, COUNT(pipe_cases)},
     {"rows", every_row_has_a_case, 0}, {"balance", balance, COUNT(balances)},
     {"catalogue", catalogue, COUNT(lists)})
