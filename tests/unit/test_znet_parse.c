/* test_znet_parse.c - what each answer of a znet panel means: a row per observation, and odd ones. */
#include "tests/unit/unit.h"
#include "worker/providers/znet_parse.h"
#include <stdio.h>
#include <string.h>

#define S(text)  (text), sizeof(text) - 1
#define ANSWERED HTTP_ANSWERED, 200
#define HTML     "<!DOCTYPE html><html><body>Bakım</body></html>"

struct place_case {
    const char *title;
    enum http_outcome outcome;
    long status;
    const char *body;
    size_t len;
    enum answer_kind kind;
    const char *row;
    enum answer_reason reason;
    const char *code, *note, *cost, *balance;
};

static const struct place_case place_cases[] = {
    /* the table of the facts, in its order */
    {"refused connection", HTTP_NOT_SENT, 0, S(""), ANSWER_NOT_SENT, "not_sent"},
    {"the document's sample", ANSWERED, S("OK|10.12|980.88"), ANSWER_ACCEPTED, "ok_cost_balance", 0,
     NULL, NULL, "10.12", "980.88"},
    {"sent before, by code 4", ANSWERED, S("4|Daha Önce Gönderilmiş (166189)"), ANSWER_ALREADY_SENT,
     "code_sent_before", REASON_OTHER, "4", "Daha Önce Gönderilmiş (166189)"},
    {"sent before, by code 8", ANSWERED, S("8|Bu İşlem Daha Önce Gönderildi"), ANSWER_ALREADY_SENT,
     "code_sent_before", REASON_OTHER, "8"},
    {"code 8 is never a refusal", ANSWERED, S("8|Bağlantı hatası veya yetersiz bakiye"),
     ANSWER_ALREADY_SENT, "code_sent_before", REASON_NO_BALANCE, "8"},
    {"code 4 is never a refusal", ANSWERED, S("4|Aktif Kurum Bulunamadı."), ANSWER_ALREADY_SENT,
     "code_sent_before", REASON_OTHER, "4"},
    {"sent before, by text 'tekil'", ANSWERED, S("3|Tekil numara çakışması."), ANSWER_ALREADY_SENT,
     "code_sent_before", REASON_OTHER, "3"},
    {"sent before, by text 'daha önce', upper case", ANSWERED, S("3|DAHA ÖNCE GÖNDERİLDİ"),
     ANSWER_ALREADY_SENT, "code_sent_before", REASON_OTHER, "3"},
    {"sent before, by text 'çakış'", ANSWERED, S("7|ÇAKIŞMA"), ANSWER_ALREADY_SENT,
     "code_sent_before", REASON_OTHER, "7"},
    {"sent before, by text 'kayıtlı'", ANSWERED, S("5|Referans KAYITLI"), ANSWER_ALREADY_SENT,
     "code_sent_before", REASON_OTHER, "5"},
    {"accepted, with words that sound like a refusal behind it", ANSWERED,
     S("OK|10.12|980.88|Yetkili onayı bekleniyor"), ANSWER_UNCLEAR, "odd"},
    {"unknown pair", ANSWERED, S("3|Kupur Bilgisi Bulunamadı"), ANSWER_REFUSED, "code_text",
     REASON_BAD_PRODUCT, "3", "Kupur Bilgisi Bulunamadı"},
    {"unknown pair in ASCII", ANSWERED, S("3|Kupur Bilgisi Bulunamadi"), ANSWER_REFUSED,
     "code_text", REASON_BAD_PRODUCT, "3"},
    {"no balance", ANSWERED, S("3|Bakiye Yetersiz"), ANSWER_REFUSED, "code_text", REASON_NO_BALANCE,
     "3"},
    {"no balance, the other way round", ANSWERED, S("3|YETERSİZ BAKİYE"), ANSWER_REFUSED,
     "code_text", REASON_NO_BALANCE, "3"},
    {"maintenance", ANSWERED, S("3|Sistem BAKIMDA"), ANSWER_REFUSED, "code_text",
     REASON_MAINTENANCE, "3"},
    {"closed", ANSWERED, S("3|Ürün KAPALI"), ANSWER_REFUSED, "code_text", REASON_UNAVAILABLE, "3"},
    {"out of stock", ANSWERED, S("12|Stok yok"), ANSWER_REFUSED, "code_text", REASON_UNAVAILABLE,
     "12"},
    {"a refusal with bars in its words", ANSWERED, S("3|a | b | c | d"), ANSWER_REFUSED,
     "code_text", REASON_OTHER, "3", "a | b | c | d"},
    {"a refusal with a word nobody knows", ANSWERED, S("99|xyz"), ANSWER_REFUSED, "code_text",
     REASON_OTHER, "99", "xyz"},
    {"login failure dressed as OK|3", ANSWERED, S("OK|3|bayikodu yada sifre  geçersiz|0.00"),
     ANSWER_TROUBLE, "ok_access", REASON_ACCESS, NULL, "bayikodu yada sifre  geçersiz|0.00"},
    {"IP failure dressed as OK|3", ANSWERED, S("OK|3|ip geçersiz|0.00"), ANSWER_TROUBLE,
     "ok_access", REASON_ACCESS},
    {"permission failure dressed as OK|3", ANSWERED, S("OK|3|Yetki Yetersiz! Yukleme|0.00"),
     ANSWER_TROUBLE, "ok_access", REASON_ACCESS},
    {"password failure dressed as OK|3", ANSWERED, S("OK|3|Şifre Hatalı|0.00"), ANSWER_TROUBLE,
     "ok_access", REASON_ACCESS},
    {"permission failure as a code", ANSWERED, S("3|Yetkisiz erisim"), ANSWER_TROUBLE,
     "code_access", REASON_ACCESS},
    {"an OK with other words is doubt", ANSWERED, S("OK|Sistemsel hata Tekrar Deneyin|0.00"),
     ANSWER_UNCLEAR, "odd"},
    {"an OK|3 with other words is doubt", ANSWERED, S("OK|3|Tekil numara çakışması.|0.00"),
     ANSWER_UNCLEAR, "odd"},
    {"the sibling's acceptance is doubt here", ANSWERED,
     S("OK|1|Talebiniz İşleme Alınmıştır.|5.50"), ANSWER_UNCLEAR, "odd"},
    {"read timeout", HTTP_UNCLEAR, 0, S(""), ANSWER_UNCLEAR, "no_answer"},
    {"half an answer", HTTP_UNCLEAR, 200, S("OK|10.12|980.88"), ANSWER_UNCLEAR, "no_answer"},
    {"bad gateway", HTTP_ANSWERED, 502, S("<html>502</html>"), ANSWER_UNCLEAR, "http_error", 0,
     "http 502"},
    {"an error status with a good body", HTTP_ANSWERED, 500, S("OK|10.12|980.88"), ANSWER_UNCLEAR,
     "http_error", 0, "http 500"},
    {"an error status with a refusal", HTTP_ANSWERED, 403, S("3|Kupur Bilgisi Bulunamadı"),
     ANSWER_UNCLEAR, "http_error", 0, "http 403"},
    {"a redirect", HTTP_ANSWERED, 302, S(""), ANSWER_UNCLEAR, "http_error", 0, "http 302"},
    {"empty", ANSWERED, S(""), ANSWER_UNCLEAR, "empty"},
    {"white space", ANSWERED, S(" \r\n\t"), ANSWER_UNCLEAR, "empty"},
    {"only a BOM", ANSWERED, S("\xef\xbb\xbf"), ANSWER_UNCLEAR, "empty"},
    {"HTML", ANSWERED, S(HTML), ANSWER_UNCLEAR, "no_text"},
    {"HTML after white space", ANSWERED, S("\n\n" HTML), ANSWER_UNCLEAR, "no_text"},
    {"a PHP warning before the answer", ANSWERED,
     S("<br />\n<b>Warning</b>: x in y\nOK|10.12|980.88"), ANSWER_UNCLEAR, "no_text"},
    {"a PHP warning after the answer", ANSWERED, S("OK|10.12|980.88\n<br /><b>Warning</b>"),
     ANSWER_UNCLEAR, "odd"},
    {"anything else", ANSWERED, S("hello"), ANSWER_UNCLEAR, "odd"},
    {"JSON", ANSWERED, S("{\"success\":true}"), ANSWER_UNCLEAR, "odd"},
    /* forms of the same */
    {"trimmed", ANSWERED, S("\xef\xbb\xbf \r\nOK|10.12|980.88\r\n"), ANSWER_ACCEPTED,
     "ok_cost_balance", 0, NULL, NULL, "10.12", "980.88"},
    {"comma decimals", ANSWERED, S("OK|10,12|980,8800"), ANSWER_ACCEPTED, "ok_cost_balance", 0,
     NULL, NULL, "10.12", "980.8800"},
    {"a negative cost is a booking", ANSWERED, S("OK|-10.12|980.88"), ANSWER_ACCEPTED,
     "ok_cost_balance", 0, NULL, NULL, "10.12", "980.88"},
    {"whole numbers, lower case, spaces", ANSWERED, S("ok | 10 | -5 "), ANSWER_ACCEPTED,
     "ok_cost_balance", 0, NULL, NULL, "10", "-5"},
    {"an empty fourth field", ANSWERED, S("OK|10.12|980.88|"), ANSWER_ACCEPTED, "ok_cost_balance",
     0, NULL, NULL, "10.12", "980.88"},
    {"thousands separators are not guessed", ANSWERED, S("OK|1.234,56|980.88"), ANSWER_UNCLEAR,
     "odd"},
    {"a fourth field of something", ANSWERED, S("OK|0.30|2644.78|110.45"), ANSWER_UNCLEAR, "odd"},
    {"cut after OK", ANSWERED, S("OK"), ANSWER_UNCLEAR, "odd"},
    {"cut after the first bar", ANSWERED, S("OK|"), ANSWER_UNCLEAR, "odd"},
    {"cut after the cost", ANSWERED, S("OK|10.12"), ANSWER_UNCLEAR, "odd"},
    {"cut after the second bar", ANSWERED, S("OK|10.12|"), ANSWER_UNCLEAR, "odd"},
    {"cut in a decimal", ANSWERED, S("OK|10.|980.88"), ANSWER_UNCLEAR, "odd"},
    {"a code without words is no refusal", ANSWERED, S("3|"), ANSWER_UNCLEAR, "odd"},
    {"a code without a bar", ANSWERED, S("3"), ANSWER_UNCLEAR, "odd"},
    {"words instead of a code", ANSWERED, S("ERROR|Invalid something"), ANSWER_UNCLEAR, "odd"},
    {"a code that is too long", ANSWERED, S("1234567890|text"), ANSWER_UNCLEAR, "odd"},
    {"OKAY is not OK", ANSWERED, S("OKAY|10.12|980.88"), ANSWER_UNCLEAR, "odd"},
    {"a NUL byte", ANSWERED,
     S("OK|10.12|98\0"
       "0.88"),
     ANSWER_UNCLEAR, "no_text"},
    {"windows-1254", ANSWERED, S("3|Kupur Bilgisi Bulunamad\xfd"), ANSWER_REFUSED, "code_text",
     REASON_BAD_PRODUCT, "3", "Kupur Bilgisi Bulunamadı"},
    {"windows-1254, sent before", ANSWERED, S("3|Daha \xd6nce G\xf6nderilmi\xfe"),
     ANSWER_ALREADY_SENT, "code_sent_before", REASON_OTHER, "3", "Daha Önce Gönderilmiş"},
    {"percent-encoded words", ANSWERED, S("3|Daha+%C3%96nce+G%C3%B6nderilmi%C5%9F"),
     ANSWER_ALREADY_SENT, "code_sent_before", REASON_OTHER, "3", "Daha Önce Gönderilmiş"},
    {"percent-encoded login failure", ANSWERED, S("OK|3|ip+ge%C3%A7ersiz|0.00"), ANSWER_TROUBLE,
     "ok_access", REASON_ACCESS},
    {"control characters in the words", ANSWERED, S("3|a\001b\nc"), ANSWER_REFUSED, "code_text",
     REASON_OTHER, "3", "a b c"},
};

static struct http_response response(enum http_outcome outcome, long status, const char *body,
                                     size_t len)
{
    struct http_response r = {.outcome = outcome, .status = status, .body = BUF(MiB(4))};

    buf_append(&r.body, body, len);
    snprintf(r.why, sizeof r.why, "%s", outcome == HTTP_ANSWERED ? "" : "the connection broke");
    return r;
}

static void check_text(const char *title, const char *what, const char *got, const char *want)
{
    if (want)
        ck_assert_msg(got && strcmp(got, want) == 0, "%s: %s is '%s', not '%s'", title, what,
                      got ? got : "(null)", want);
}

static void check_kind(const char *title, const struct answer *a, enum answer_kind kind,
                       const char *row)
{
    ck_assert_msg(a->kind == kind && strcmp(a->row, row) == 0, "%s: %s by row %s, not %s by %s",
                  title, answer_kind_name(a->kind), a->row, answer_kind_name(kind), row);
}

START_TEST(place)
{
    const struct place_case *c = &place_cases[_i];
    struct arena arena = {0};
    struct http_response r = response(c->outcome, c->status, c->body, c->len);
    struct answer a;

    znet_parse_place(&arena, &r, &a);
    check_kind(c->title, &a, c->kind, c->row);
    ck_assert_msg(a.reason == c->reason, "%s: reason %s", c->title, answer_reason_name(a.reason));
    check_text(c->title, "code", a.code, c->code);
    check_text(c->title, "note", a.note, c->note);
    check_text(c->title, "cost", a.cost, c->cost);
    check_text(c->title, "balance", a.balance, c->balance);
    ck_assert_msg((a.cost != NULL) == (a.kind == ANSWER_ACCEPTED), "%s: cost", c->title);
    ck_assert_msg((a.verbatim != NULL) == (c->outcome == HTTP_ANSWERED), "%s: verbatim", c->title);
    ck_assert_uint_eq(a.npins, 0);
    buf_release(&r.body);
    arena_release(&arena);
}
END_TEST

struct status_case {
    const char *title;
    enum http_outcome outcome;
    long status;
    const char *body;
    size_t len;
    enum answer_kind kind;
    const char *row;
    const char *pin, *note, *verbatim;
};

static const struct status_case status_cases[] = {
    {"open", ANSWERED, S("OK|1| |Açıklama"), ANSWER_PENDING, "ok_waiting", NULL, "Açıklama"},
    {"open, nothing said", ANSWERED, S("OK|1"), ANSWER_PENDING, "ok_waiting"},
    {"open, a dash for the PIN", ANSWERED, S("OK|1| - |İşlem bekleniyor"), ANSWER_PENDING,
     "ok_waiting", NULL, "İşlem bekleniyor"},
    {"done with a PIN", ANSWERED, S("OK|2|AB12-CD34-EF56-GH78|Açıklama"), ANSWER_DONE, "ok_done",
     "AB12-CD34-EF56-GH78", "Açıklama", "OK|2|***19|Açıklama"},
    {"done without a PIN: a direct top-up", ANSWERED, S("OK|2||Yüklendi"), ANSWER_DONE, "ok_done",
     NULL, "Yüklendi", "OK|2||Yüklendi"},
    {"done, one space", ANSWERED, S("OK|2| |Yüklendi"), ANSWER_DONE, "ok_done", NULL, "Yüklendi"},
    {"done, a dash", ANSWERED, S("OK|2|-|Yüklendi"), ANSWER_DONE, "ok_done", NULL, "Yüklendi"},
    {"done, a dash in spaces", ANSWERED, S("OK|2| - |Yüklendi"), ANSWER_DONE, "ok_done", NULL,
     "Yüklendi"},
    {"done, nothing more", ANSWERED, S("OK|2"), ANSWER_DONE, "ok_done"},
    {"done, no text field", ANSWERED, S("OK|2|ABC123"), ANSWER_DONE, "ok_done", "ABC123", NULL,
     "OK|2|***6"},
    {"done, PIN in spaces", ANSWERED, S("ok| 2 | ABC 123 |x"), ANSWER_DONE, "ok_done", "ABC 123",
     "x"},
    {"cancelled", ANSWERED, S("OK|3| |Açıklama"), ANSWER_FAILED, "ok_cancelled", NULL, "Açıklama"},
    {"cancelled, both fields empty", ANSWERED, S("OK|3||"), ANSWER_FAILED, "ok_cancelled"},
    {"cancelled, nothing more", ANSWERED, S("OK|3"), ANSWER_FAILED, "ok_cancelled"},
    {"cancelled, bars in the words", ANSWERED, S("OK|3| |a | b"), ANSWER_FAILED, "ok_cancelled",
     NULL, "a | b"},
    {"cancelled, the reason typed as a PIN", ANSWERED, S("OK|3|hatalı oyuncu|"), ANSWER_FAILED,
     "ok_cancelled", NULL, "hatalı oyuncu", "OK|3|hatalı oyuncu|"},
    {"cancelled, operator's words about a password", ANSWERED, S("OK|3||sifre gecersiz"),
     ANSWER_FAILED, "ok_cancelled", NULL, "sifre gecersiz"},
    {"login failure dressed as a cancel", ANSWERED, S("OK|3|bayikodu yada sifre  geçersiz|0.00"),
     ANSWER_TROUBLE, "ok_cancelled_access"},
    {"a refusal to talk in unknown words is no cancel", ANSWERED,
     S("OK|3|API erişimi kapatılmıştır|0.00"), ANSWER_UNCLEAR, "ok_cancelled_zero"},
    {"a cancel whose words are a sum", ANSWERED, S("OK|3||0.00"), ANSWER_FAILED, "ok_cancelled"},
    {"IP failure dressed as a cancel", ANSWERED, S("OK|3|ip geçersiz|0.00"), ANSWER_TROUBLE,
     "ok_cancelled_access"},
    {"permission failure dressed as a cancel", ANSWERED, S("OK|3|YETKİ yetersiz|0.00"),
     ANSWER_TROUBLE, "ok_cancelled_access"},
    {"the same in windows-1254", ANSWERED,
     S("OK|3|ip ge\xe7"
       "ersiz|0.00"),
     ANSWER_TROUBLE, "ok_cancelled_access"},
    {"the same, percent-encoded", ANSWERED, S("OK|3|ip+ge%C3%A7ersiz|0.00"), ANSWER_TROUBLE,
     "ok_cancelled_access"},
    {"a failed query", ANSWERED, S("3|Hatalı işlem"), ANSWER_UNCLEAR, "code_text", NULL,
     "Hatalı işlem"},
    {"another failed query", ANSWERED, S("17|x"), ANSWER_UNCLEAR, "code_text", NULL, "x"},
    {"a failed query for access", ANSWERED, S("3|Yetkisiz erisim"), ANSWER_TROUBLE, "code_access",
     NULL, "Yetkisiz erisim"},
    {"not on record", ANSWERED, S("3|Kayıt Bulunamadı"), ANSWER_UNKNOWN_REFERENCE, "code_unknown",
     NULL, "Kayıt Bulunamadı"},
    {"empty", ANSWERED, S(""), ANSWER_UNKNOWN_REFERENCE, "empty"},
    {"white space", ANSWERED, S("\r\n "), ANSWER_UNKNOWN_REFERENCE, "empty"},
    {"HTML", ANSWERED, S(HTML), ANSWER_UNCLEAR, "no_text"},
    {"server error", HTTP_ANSWERED, 503, S("OK|3||"), ANSWER_UNCLEAR, "http_error"},
    {"not found page", HTTP_ANSWERED, 404, S(""), ANSWER_UNCLEAR, "http_error"},
    {"timeout", HTTP_UNCLEAR, 0, S(""), ANSWER_UNCLEAR, "no_answer"},
    {"half an answer that says cancelled", HTTP_UNCLEAR, 200, S("OK|3||"), ANSWER_UNCLEAR,
     "no_answer"},
    {"never reached", HTTP_NOT_SENT, 0, S(""), ANSWER_NOT_SENT, "not_sent"},
    {"a status nobody knows, its PIN field hidden", ANSWERED, S("OK|4|SECRET|x"), ANSWER_UNCLEAR,
     "odd", NULL, NULL, "OK|4|***6|x"},
    {"status 12 is not 1", ANSWERED, S("OK|12||"), ANSWER_UNCLEAR, "odd"},
    {"no status", ANSWERED, S("OK|"), ANSWER_UNCLEAR, "odd"},
    {"cut", ANSWERED, S("O"), ANSWER_UNCLEAR, "odd"},
    {"the sibling's colons", ANSWERED, S("1:olumlu_islem:5.50"), ANSWER_UNCLEAR, "odd"},
    {"a NUL byte", ANSWERED,
     S("OK|2|AB\0"
       "12|x"),
     ANSWER_UNCLEAR, "no_text"},
    {"percent-encoded words", ANSWERED, S("OK|2| |Y%C3%BCklendi+-ONAYLANDI"), ANSWER_DONE,
     "ok_done", NULL, "Yüklendi -ONAYLANDI"},
    {"a per cent in plain words", ANSWERED, S("OK|3| |Tutarın %20 kadarı"), ANSWER_FAILED,
     "ok_cancelled", NULL, "Tutarın %20 kadarı"},
    {"windows-1254", ANSWERED,
     S("OK|3| |\xddptal: \xde\xfc"
       "pheli"),
     ANSWER_FAILED, "ok_cancelled", NULL, "İptal: Şüpheli"},
    {"BOM and line ends", ANSWERED, S("\xef\xbb\xbfOK|2|P-1|x\r\n"), ANSWER_DONE, "ok_done", "P-1",
     "x"},
};

START_TEST(status)
{
    const struct status_case *c = &status_cases[_i];
    struct arena arena = {0};
    struct http_response r = response(c->outcome, c->status, c->body, c->len);
    struct answer a;

    znet_parse_status(&arena, &r, &a);
    check_kind(c->title, &a, c->kind, c->row);
    ck_assert_msg(a.npins == (c->pin ? 1 : 0), "%s: %zu pins", c->title, a.npins);
    if (c->pin) {
        check_text(c->title, "pin", a.pins[0], c->pin);
        ck_assert_msg(!strstr(a.verbatim, c->pin), "%s: the PIN is on record", c->title);
    }
    check_text(c->title, "note", a.note, c->note);
    check_text(c->title, "verbatim", a.verbatim, c->verbatim);
    buf_release(&r.body);
    arena_release(&arena);
}
END_TEST

static bool place_row_spoke(const char *name)
{
    for (size_t i = 0; i < COUNT(place_cases); i++) {
        if (strcmp(place_cases[i].row, name) == 0)
            return true;
    }
    return false;
}

static bool status_row_spoke(const char *name)
{
    for (size_t i = 0; i < COUNT(status_cases); i++) {
        if (strcmp(status_cases[i].row, name) == 0)
            return true;
    }
    return false;
}

START_TEST(every_row_has_a_case)
{
    for (size_t i = 0; znet_place_row(i); i++)
        ck_assert_msg(place_row_spoke(znet_place_row(i)), "no case for %s", znet_place_row(i));
    for (size_t i = 0; znet_status_row(i); i++)
        ck_assert_msg(status_row_spoke(znet_status_row(i)), "no case for %s", znet_status_row(i));
}
END_TEST

/* An answer that begins with OK and was cut anywhere never reads as a refusal, nor as "sent before". */
START_TEST(cut_anywhere)
{
    const struct place_case *c = &place_cases[_i];

    for (size_t n = 0; n < c->len; n++) {
        struct arena arena = {0};
        struct http_response r = response(HTTP_ANSWERED, 200, c->body, n);
        struct answer a;
        znet_parse_place(&arena, &r, &a);
        if (n < 3)
            ck_assert_msg(a.kind == ANSWER_UNCLEAR, "%s cut to %zu: %s", c->title, n,
                          answer_kind_name(a.kind));
        if (strncasecmp(c->body, "OK", 2) == 0)
            ck_assert_msg(a.kind != ANSWER_REFUSED && a.kind != ANSWER_ALREADY_SENT,
                          "%s cut to %zu: %s", c->title, n, answer_kind_name(a.kind));
        buf_release(&r.body);
        arena_release(&arena);
    }
}
END_TEST

/* 200 KiB of words, of bars, of PIN. */
START_TEST(huge)
{
    static const char *const heads[] = {"3|",  "OK|2|",   "OK|3||",
                                        "OK|", "|||||||", "OK|10.12|980.88|"};
    struct arena arena = {0};
    struct buf b = BUF(MiB(1));
    struct answer a;

    buf_puts(&b, heads[_i]);
    for (int i = 0; i < 20000; i++)
        buf_puts(&b, "|bakiye y ");
    struct http_response r = response(HTTP_ANSWERED, 200, b.p, b.len);
    znet_parse_place(&arena, &r, &a);
    check_kind("huge", &a, ANSWER_UNCLEAR, "no_text");
    ck_assert_uint_le(strlen(a.verbatim), ANSWER_VERBATIM_MAX);
    znet_parse_status(&arena, &r, &a);
    check_kind("huge", &a, ANSWER_UNCLEAR, "no_text");
    ck_assert_uint_le(strlen(a.verbatim), ANSWER_VERBATIM_MAX);
    r.body.len = KiB(60);
    r.body.p[r.body.len] = 0;
    znet_parse_status(&arena, &r, &a);
    if (a.note)
        ck_assert_uint_le(strlen(a.note), ANSWER_NOTE_MAX);
    if (a.npins)
        ck_assert_uint_le(strlen(a.pins[0]), ANSWER_PIN_MAX);
    buf_release(&r.body);
    buf_release(&b);
    arena_release(&arena);
}
END_TEST

static const struct {
    const char *title;
    long status;
    const char *body;
    bool ok;
    const char *balance, *debt;
    enum answer_kind kind;
} balances[] = {
    {"the document's sample", 200, "OK|12755.23", true, "12755.23", NULL, 0},
    {"with debt", 200, "OK|123.45|10.00", true, "123.45", "10.00", 0},
    {"four decimals", 200, "OK|1234.5600|0.00", true, "1234.5600", "0.00", 0},
    {"comma", 200, " ok|43,55\n", true, "43.55", NULL, 0},
    {"negative", 200, "OK|-5.00", true, "-5.00", NULL, 0},
    {"login failure is not a balance of 3", 200, "OK|3|bayikodu yada sifre  geçersiz|0.00", false,
     NULL, NULL, ANSWER_TROUBLE},
    {"IP failure is not a balance of 3", 200, "OK|3|ip geçersiz|0.00", false, NULL, NULL,
     ANSWER_TROUBLE},
    {"empty: unknown dealer, no permission or IP", 200, "", false, NULL, NULL, ANSWER_TROUBLE},
    {"an error word", 200, "ERROR|Invalid credentials", false, NULL, NULL, ANSWER_UNCLEAR},
    {"HTML", 200, HTML, false, NULL, NULL, ANSWER_UNCLEAR},
    {"server error", 500, "OK|1.00", false, NULL, NULL, ANSWER_UNCLEAR},
    {"no number", 200, "OK|abc", false, NULL, NULL, ANSWER_UNCLEAR},
};

START_TEST(balance)
{
    struct arena arena = {0};
    struct http_response r =
        response(HTTP_ANSWERED, balances[_i].status, balances[_i].body, strlen(balances[_i].body));
    struct balance_answer b;

    znet_parse_balance(&arena, &r, &b);
    ck_assert_msg(b.ok == balances[_i].ok, "%s", balances[_i].title);
    check_text(balances[_i].title, "balance", b.balance, balances[_i].balance);
    check_text(balances[_i].title, "debt", b.debt, balances[_i].debt);
    if (!b.ok)
        ck_assert_msg(b.answer.kind == balances[_i].kind, "%s: %s", balances[_i].title,
                      answer_kind_name(b.answer.kind));
    buf_release(&r.body);
    arena_release(&arena);
}
END_TEST

static const struct {
    const char *title, *body;
    bool ok;
    size_t n, skipped;
    const char *first; /* id/product/kupur/name/game/price */
    size_t ambiguous;
    enum answer_kind kind;
} catalogues[] = {
    {"the document's form",
     "{\"success\":true,\"result\":[{\"id\":\"2\",\"adi\":\"PUBG Mobile 325 "
     "UC\",\"aciklama\":\"x\",\"oyun_id\":\"1\","
     "\"oyun_adi\":\"PUBG\",\"fiyat\":\"35.00 "
     "\",\"kupur\":\"325\",\"oyun_bilgi_id\":\"7\"}],\"error\":null}",
     true, 1, 0, "2/7/325/PUBG Mobile 325 UC/PUBG/35.00", 0, 0},
    {"numbers for strings",
     "{\"success\":true,\"result\":[{\"id\":2,\"adi\":\"a\",\"oyun_adi\":\"g\",\"fiyat\":35.5,"
     "\"kupur\":325,"
     "\"oyun_bilgi_id\":7,\"para_birimi\":\"TRY\"}]}",
     true, 1, 0, "2/7/325/a/g/35.5", 0, 0},
    {"HTML in names",
     "{\"success\":true,\"result\":[{\"id\":\"1\",\"adi\":\"..<b>PUBG &amp; Co</b><br/> 60 UC "
     "--\",\"oyun_adi\":\"- <i>PUBG</i>\","
     "\"fiyat\":\"1,5\",\"kupur\":\"60\",\"oyun_bilgi_id\":\"1\"}]}",
     true, 1, 0, "1/1/60/PUBG & Co 60 UC/PUBG/1.5", 0, 0},
    {"two rows under one pair",
     "{\"success\":true,\"result\":[{\"id\":\"1\",\"adi\":\"a\",\"kupur\":\"325\",\"oyun_bilgi_"
     "id\":\"1\"},"
     "{\"id\":\"2\",\"adi\":\"b\",\"kupur\":\"60\",\"oyun_bilgi_id\":\"1\"},"
     "{\"id\":\"3\",\"adi\":\"c\",\"kupur\":\"325\",\"oyun_bilgi_id\":\"1\"}]}",
     true, 3, 0, "1/1/325/a//", 2, 0},
    {"rows that cannot be ordered",
     "{\"success\":true,\"result\":[{},5,null,{\"id\":\"1\",\"adi\":\"a\",\"kupur\":\"\",\"oyun_"
     "bilgi_id\":\"1\"},"
     "{\"id\":\"\",\"adi\":\"a\",\"kupur\":\"1\",\"oyun_bilgi_id\":\"1\"}]}",
     true, 0, 5, NULL, 0, 0},
    {"none", "{\"success\":true,\"result\":[],\"error\":null}", true, 0, 0, NULL, 0, 0},
    {"after a BOM", "\xef\xbb\xbf{\"success\":true,\"result\":[]}", true, 0, 0, NULL, 0, 0},
    {"windows-1254",
     "{\"success\":true,\"result\":[{\"id\":\"1\",\"adi\":\"\xde"
     "ans\",\"kupur\":\"1\",\"oyun_bilgi_id\":\"1\"}]}",
     true, 1, 0, "1/1/1/Şans//", 0, 0},
    {"success false", "{\"success\":false,\"result\":null,\"error\":\"Yetkisiz\"}", false, 0, 0,
     NULL, 0, ANSWER_UNCLEAR},
    {"empty", "", false, 0, 0, NULL, 0, ANSWER_TROUBLE},
    {"HTML", HTML, false, 0, 0, NULL, 0, ANSWER_UNCLEAR},
    {"a text", "3|Yetkisiz erisim", false, 0, 0, NULL, 0, ANSWER_TROUBLE},
    {"cut", "{\"success\":true,\"result\":[{\"id\":", false, 0, 0, NULL, 0, ANSWER_UNCLEAR},
};

START_TEST(catalogue)
{
    _cleanup_(cx_release) struct cx cx = CX_PLAIN("test");
    struct http_response r =
        response(HTTP_ANSWERED, 200, catalogues[_i].body, strlen(catalogues[_i].body));
    struct catalogue_answer c;
    const char *title = catalogues[_i].title;
    size_t ambiguous = 0;

    znet_parse_catalogue(&cx, &r, &c);
    ck_assert_msg(c.ok == catalogues[_i].ok, "%s", title);
    ck_assert_msg(c.n == catalogues[_i].n && c.skipped == catalogues[_i].skipped,
                  "%s: %zu rows, %zu skipped", title, c.n, c.skipped);
    if (catalogues[_i].first) {
        const struct catalogue_row *w = &c.rows[0];
        check_text(title, "row",
                   arena_printf(&cx.arena, "%s/%s/%s/%s/%s/%s", w->id, w->product, w->kupur,
                                w->name, w->game, w->price ? w->price : ""),
                   catalogues[_i].first);
    }
    for (size_t i = 0; i < c.n; i++)
        ambiguous += c.rows[i].ambiguous;
    ck_assert_msg(ambiguous == catalogues[_i].ambiguous, "%s: %zu ambiguous", title, ambiguous);
    if (!c.ok)
        ck_assert_msg(c.answer.kind == catalogues[_i].kind, "%s: %s", title,
                      answer_kind_name(c.answer.kind));
    buf_release(&r.body);
}
END_TEST

UNIT(znet_parse, {"place", place, COUNT(place_cases)}, {"status", status, COUNT(status_cases)},
     {"rows", every_row_has_a_case, 0}, {"cut", cut_anywhere, COUNT(place_cases)},
     {"huge", huge, 6}, {"balance", balance, COUNT(balances)},
     {"catalogue", catalogue, COUNT(catalogues)})
