/* test_sim.c - the simulators do what their switches say: a rule, a call, the exact answer, and
 * what left the house. */
#include "base/text.h"
#include "tests/support/proc.h"
#include "tests/support/web.h"
#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static char url[2][64]; /* znet, zdk */

#define WHO "kod=555&sifre=s"
#define ORDER(k)                                                                                   \
    "servis/pin_ekle.php?" WHO "&oyun=1&kupur=" k "&referans=17&musteri_tel=1&oyuncu_bilgi=987"
#define ASK     "servis/pin_kontrol.php?" WHO "&tahsilat_api_islem_id=17"
#define BALANCE "servis/bakiye_kontrol.php?" WHO
#define LIST    "servis/pin_listesi.php?" WHO
#define NEW(p)  "client/api/newOrder/" p "/params?order_uuid=u-1&qty=1&playerId=987"
#define CHECK   "client/api/check?orders=[u-1]&uuid=1"
#define BUSY    "İşlem bekleniyor"
#define GONE    "İşlem iptal edildi"
#define DONE    "Yüklendi - ONAYLANDI"

static const struct row {
    const char *title;
    int sim;           /* 0 znet, 1 zdk */
    const char *rules; /* for /_sim/switch; NULL: none */
    const char *first; /* a call before; "settle": all orders end after it */
    const char *path;
    int status;       /* 0: no answer */
    const char *body; /* exact; "*text": contains; NULL: anything */
    int delivered;    /* in the ledger after everything has ended */
} rows[] = {
    {"balance", 0, NULL, NULL, BALANCE, 200, "OK|1000000.00", 0},
    {"Q1 no name", 0, NULL, NULL, "servis/bakiye_kontrol.php?kod=555", 200, "", 0},
    {"Q1 empty", 0, "auth=refuse", NULL, ORDER("60"), 200, "", 0},
    {"Q1 login text reads as an accepted order", 0, "auth=refuse&denied=login", NULL, ORDER("60"),
     200, "OK|3|bayikodu yada sifre  geçersiz|0.00", 0},
    {"Q1 ip text reads as a cancelled order", 0, "auth=refuse&denied=ip", ORDER("60"), ASK, 200,
     "OK|3|ip geçersiz|0.00", 1},
    {"Q1 permission", 0, "auth=refuse&denied=permission", NULL, BALANCE, 200,
     "OK|3|Yetki Yetersiz! Yukleme|0.00", 0},
    {"Q1 error word", 0, "auth=refuse&denied=error", NULL, BALANCE, 200,
     "ERROR|Invalid credentials", 0},
    {"Q2 HTML", 0, "balance.fault=html", NULL, BALANCE, 200, "*<!DOCTYPE html>", 0},
    {"Q3 space", 0, "wrap=space", NULL, BALANCE, 200, "  \tOK|1000000.00 \r\n", 0},
    {"Q3 newline", 0, "wrap=newline", NULL, BALANCE, 200, "\r\n\nOK|1000000.00 \r\n", 0},
    {"Q3 BOM", 0, "wrap=bom", NULL, BALANCE, 200, "\xef\xbb\xbfOK|1000000.00", 0},
    {"an order is accepted", 0, NULL, NULL, ORDER("60"), 200, "OK|10.12|999989.88", 1},
    {"an order waits", 0, NULL, ORDER("60"), ASK, 200, "OK|1| |" BUSY, 1},
    {"Q4 no PIN, empty", 0, "no_pin=empty", ORDER("60"), ASK, 200, "OK|1||" BUSY, 1},
    {"Q4 no PIN, dash", 0, "no_pin=dash", ORDER("60"), ASK, 200, "OK|1|-|" BUSY, 1},
    {"Q4 no PIN, spaced dash", 0, "no_pin=spaced", ORDER("60"), ASK, 200, "OK|1| - |" BUSY, 1},
    {"Q4 a direct product ends without a PIN", 0, "settle_ms=0",
     "servis/pin_ekle.php?" WHO "&oyun=2&kupur=100&referans=17&oyuncu_bilgi=987", ASK, 200,
     "OK|2| |" DONE, 1},
    {"Q4 a finished order hides its PIN", 0, "settle_ms=0&pin=none", ORDER("60"), ASK, 200,
     "OK|2| |" DONE, 1},
    {"Q4 the reason in the PIN field", 0, "settle_ms=0&outcome=cancel&reason_in_pin=yes",
     ORDER("60"), ASK, 200, "OK|3|Oyuncu bulunamadı|", 0},
    {"Q5 pipes in the text", 0, "text=pipe", ORDER("60"), ASK, 200, "OK|1| |" BUSY " | not: a | b",
     1},
    {"Q6 percent-encoded", 0, "encoding=percent&settle_ms=0&pin=none", ORDER("60"), ASK, 200,
     "OK|2| |Y%C3%BCklendi+-+ONAYLANDI", 1},
    {"Q7 comma and four places", 0, "decimal=comma&places=4", NULL, BALANCE, 200, "OK|1000000,0000",
     0},
    {"Q7 debt", 0, "debt=10.5", NULL, BALANCE, 200, "OK|1000000.00|10.50", 0},
    {"Q7 a negative cost", 0, "cost=minus", NULL, ORDER("60"), 200, "OK|-10.12|999989.88", 1},
    {"Q8 kupur is wrong", 0, NULL, NULL, ORDER("61"), 200, "3|Kupur Bilgisi Bulunamadı", 0},
    {"Q8 kupur is missing", 0, NULL, NULL,
     "servis/pin_ekle.php?" WHO "&oyun=1&referans=17&oyuncu_bilgi=9", 200,
     "3|Kupur Bilgisi Bulunamadı", 0},
    {"Q8 oyun is not kupur's", 0, NULL, NULL,
     "servis/pin_ekle.php?" WHO "&oyun=2&kupur=60&referans=17&oyuncu_bilgi=9", 200,
     "3|Kupur Bilgisi Bulunamadı", 0},
    {"Q8 a tail that is none", 0, NULL, NULL, ORDER("60~fault=nonsense"), 200,
     "3|Kupur Bilgisi Bulunamadı", 0},
    {"Q9 code 4", 0, NULL, ORDER("60"), ORDER("60"), 200, "*4|Daha Önce Gönderilmiş (", 1},
    {"Q9 code 8", 0, "duplicate=code8", ORDER("60"), ORDER("60"), 200,
     "8|Bu İşlem Daha Önce Gönderildi", 1},
    {"Q9 code 3", 0, "duplicate=code3", ORDER("60"), ORDER("60"), 200, "3|Tekil numara çakışması.",
     1},
    {"Q9 taken again: the ledger sees it", 0, "duplicate=accept", ORDER("60"), ORDER("60"), 200,
     "OK|10.12|999979.76", 2},
    {"Q10 unknown, empty", 0, NULL, NULL, ASK, 200, "", 0},
    {"Q10 unknown, code 3", 0, "unknown=code3", NULL, ASK, 200, "3|Kayıt Bulunamadı", 0},
    {"Q10 the question is refused", 0, "query=refuse", ORDER("60"), ASK, 200, "3|Hatalı işlem", 1},
    {"Q10 a status that is none", 0, "query=code9", ORDER("60"), ASK, 200, "OK|9| |" BUSY, 1},
    {"Q11 reset after the order", 0, "place.fault=reset", NULL, ORDER("60"), 0, "", 1},
    {"Q11 reset before the order", 0, "place.fault=reset&accepts=no", NULL, ORDER("60"), 0, "", 0},
    {"Q11 hang after the order", 0, "place.fault=hang", NULL, ORDER("60"), 0, "", 1},
    {"Q11 closed without a word", 0, "place.fault=close", NULL, ORDER("60"), 0, "", 1},
    {"Q11 cut in the middle", 0, "place.fault=cut", NULL, ORDER("60"), 0, NULL, 1},
    {"Q11 502 after the order", 0, "place.fault=502", NULL, ORDER("60"), 502, NULL, 1},
    {"Q11 empty after the order", 0, "place.fault=empty", NULL, ORDER("60"), 200, "", 1},
    {"Q11 nonsense after the order", 0, "place.fault=garbage", NULL, ORDER("60"), 200, NULL, 1},
    {"Q11 once, then as usual", 0, "status.fault=503*1", ASK, ASK, 200, "", 0},
    {"Q11 in the product's id, each order once", 0, NULL,
     ORDER("60~status.fault=503*1;settle_ms=0"), ASK, 503, NULL, 1},
    {"Q12 the second question finds the end", 0, "settle_polls=1&outcome=cancel", ORDER("60"), ASK,
     200, "OK|3| |" GONE, 0},
    {"Q12 a note that changes", 0, "text=changing", ORDER("60"), ASK, 200, "OK|1| |" BUSY " (1)",
     1},
    {"Q12 a cancelled order's money comes back", 0, "settle_ms=0&outcome=cancel", ORDER("60"),
     BALANCE, 200, "OK|1000000.00", 0},
    {"Q13 no money", 0, "refuse=balance", NULL, ORDER("60"), 200, "3|Bakiye Yetersiz", 0},
    {"Q13 really no money", 0, NULL, "_sim/dealer?kod=555&balance=10.11", ORDER("60"), 200,
     "3|Bakiye Yetersiz", 0},
    {"Q13 no money under code 8", 0, "refuse=balance8", NULL, ORDER("60"), 200,
     "8|Bağlantı hatası veya yetersiz bakiye", 0},
    {"refused: maintenance", 0, "refuse=maintenance", NULL, ORDER("60"), 200, "3|Sistem bakımda",
     0},
    {"refused for one player only", 0, "refuse=stock&player=1", NULL, ORDER("60"), 200,
     "OK|10.12|999989.88", 1},
    {"refused for one product only", 0, "refuse=stock&kupur=60", NULL, ORDER("60"), 200,
     "3|Stok yok", 0},
    {"Q14 strings", 0, NULL, NULL, LIST, 200,
     "*\"fiyat\":\"10.12\",\"kupur\":\"60\",\"oyun_bilgi_id\":\"1\"}", 0},
    {"Q14 numbers", 0, "catalogue=numbers", NULL, LIST, 200, "*\"fiyat\":10.12", 0},
    {"Q14 HTML in names", 0, "catalogue=html", NULL, LIST, 200, "*<b>PUBG Mobile 60 UC<", 0},
    {"Q14 two products, one pair", 0, "catalogue=colliding", NULL, LIST, 200, "*\"id\":\"7\"", 0},
    {"Q14 failed", 0, "catalogue=failed", NULL, LIST, 200,
     "{\"success\":false,\"result\":null,\"error\":\"Yetkisiz erişim\"}", 0},
    {"Q14 huge", 0, "catalogue=huge", NULL, LIST, 200, "*\"id\":\"20999\"", 0},
    {"Q15 a late answer", 0, "latency=150", NULL, BALANCE, 200, "OK|1000000.00", 0},
    {"Q16 lower case", 0, "case=lower", NULL, BALANCE, 200, "ok|1000000.00", 0},
    {"Q17 windows-1254", 0, "encoding=cp1254", ORDER("60"), ASK, 200,
     "OK|1| |\xdd\xfelem bekleniyor", 1},
    {"no such page", 0, NULL, NULL, "servis/none.php", 404, NULL, 0},

    {"zdk: balance", 1, NULL, NULL, "client/api/profile", 200,
     "{\"balance\":\"1000000.00\",\"email\":\"dealer@example.invalid\"}", 0},
    {"zdk: accepted", 1, NULL, NULL, NEW("101"), 200,
     "*{\"status\":\"OK\",\"data\":{\"order_id\":\"ID_", 1},
    {"zdk: waits", 1, NULL, NEW("101"), CHECK, 200, "*\"status\":\"wait\",\"price\":\"0.95\"", 1},
    {"zdk: done", 1, "settle_ms=0&words=done&pin=voucher", NEW("101"), CHECK, 200,
     "*\"voucher\":\"", 1},
    {"zdk: rejected", 1, "settle_ms=0&outcome=cancel", NEW("101"), CHECK, 200,
     "*\"status\":\"reject\"", 0},
    {"zdk: the same uuid is the same order", 1, NULL, NEW("101"), NEW("101"), 200,
     "*\"duplicate\":true", 1},
    {"zdk: the same uuid, taken again", 1, "duplicate=accept", NEW("101"), NEW("101"), 200,
     "*\"status\":\"wait\"", 2},
    {"zdk: unknown has no row", 1, NULL, NULL, CHECK, 200, "{\"status\":\"OK\",\"data\":[]}", 0},
    {"zdk: error 100", 1, "refuse=100", NULL, NEW("101"), 200,
     "{\"status\":\"ERROR\",\"code\":100,\"message\":\"Insufficient balance\"}", 0},
    {"zdk: other names", 1, "refuse=110&error_keys=err_code", NULL, NEW("101"), 200,
     "{\"status\":\"error\",\"err_code\":110,\"msg\":\"Product not available now\"}", 0},
    {"zdk: sold out", 1, NULL, NULL, NEW("105"), 200, "*\"code\":110", 0},
    {"zdk: quantity", 1, NULL, NULL,
     "client/api/newOrder/103/params?order_uuid=u-1&qty=9&playerId=1", 200, "*\"code\":112", 0},
    {"zdk: no stranger", 1, "auth=refuse", NULL, CHECK, 200, "*\"code\":121", 0},
    {"zdk: reset after the order", 1, "place.fault=reset", NULL, NEW("101"), 0, "", 1},
    {"zdk: listed by id", 1, NULL, NULL, "client/api/products?products_id=102", 200,
     "*[{\"id\":102,", 0},
};

static struct web_reply get(int sim, const char *path)
{
    static const char *const headers[] = {"api-token: t", NULL};
    char where[1024];

    snprintf(where, sizeof(where), "%s/%s", url[sim], path);
    return web(.url = where, .headers = headers, .timeout_ms = 5000);
}

static void control(int sim, const char *path)
{
    _cleanup_(web_reply_release) struct web_reply r = get(sim, path);

    ck_assert_msg(r.status == 200, "%s: %d %s %s", path, r.status, r.body, r.why);
}

START_TEST(answers)
{
    const struct row *row = &rows[_i];
    char rules[256];

    control(row->sim, "_sim/reset?all=1");
    if (row->first) {
        /* what is said about the asking must not meddle with the placing */
        snprintf(rules, sizeof(rules), "_sim/switch?%s", row->rules ? row->rules : "");
        if (row->rules && !starts_with(row->rules, "auth"))
            control(row->sim, rules);
        _cleanup_(web_reply_release) struct web_reply r = get(row->sim, row->first);
        if (row->rules && starts_with(row->rules, "auth"))
            control(row->sim, rules);
    } else if (row->rules) {
        snprintf(rules, sizeof(rules), "_sim/switch?%s", row->rules);
        control(row->sim, rules);
    }
    _cleanup_(web_reply_release) struct web_reply got = get(row->sim, row->path);
    ck_assert_msg(got.status == row->status, "%s: status %d (%s): %s", row->title, got.status,
                  got.why, got.body);
    if (row->body && *row->body == '*')
        ck_assert_msg(strstr(got.body, row->body + 1), "%s: %s", row->title, got.body);
    else if (row->body)
        ck_assert_msg(!strcmp(got.body, row->body), "%s: '%s'", row->title, got.body);

    control(row->sim, "_sim/settle");
    _cleanup_(web_reply_release) struct web_reply ledger = get(row->sim, "_sim/ledger");
    ck_assert_msg(atoi(web_text(&ledger, "count")) == row->delivered, "%s: delivered: %s",
                  row->title, ledger.body);
    ck_assert_msg((row->delivered > 1) == (web_text(&ledger, "doubles.0.count") != NULL), "%s",
                  ledger.body);
}
END_TEST

START_TEST(late_arrival)
{
    control(0, "_sim/reset?all=1");
    control(0, "_sim/switch?place.fault=reset&accept_after=300");
    _cleanup_(web_reply_release) struct web_reply r = get(0, ORDER("60"));
    ck_assert_int_eq(r.status, 0);
    _cleanup_(web_reply_release) struct web_reply early = get(0, ASK);
    ck_assert_str_eq(early.body, "");
    ck_wait(({
                _cleanup_(web_reply_release) struct web_reply later = get(0, ASK);
                !strcmp(later.body, "OK|1| |" BUSY);
            }),
            5000);
}
END_TEST

START_TEST(late_flip)
{
    control(0, "_sim/reset?all=1");
    control(0, "_sim/switch?settle_ms=0&flip_ms=1&outcome=cancel");
    _cleanup_(web_reply_release) struct web_reply r = get(0, ORDER("60"));
    ck_assert_str_eq(r.body, "OK|10.12|1000000.00");
    ck_wait(({
                _cleanup_(web_reply_release) struct web_reply l = get(0, "_sim/ledger");
                !strcmp(web_text(&l, "count"), "1");
            }),
            5000);
    _cleanup_(web_reply_release) struct web_reply b = get(0, BALANCE);
    ck_assert_str_eq(b.body, "OK|999989.88");
}
END_TEST

START_TEST(settled_by_hand)
{
    control(0, "_sim/reset?all=1");
    _cleanup_(web_reply_release) struct web_reply r = get(0, ORDER("60"));
    control(0, "_sim/settle?ref=17&status=2&pin=AB%7C1&text=by+hand");
    _cleanup_(web_reply_release) struct web_reply got = get(0, ASK);
    ck_assert_str_eq(got.body, "OK|2|AB|1|by hand");
    _cleanup_(web_reply_release) struct web_reply none = get(0, "_sim/settle?ref=18&status=2");
    ck_assert_int_eq(none.status, 400);
}
END_TEST

START_TEST(calls_are_counted)
{
    control(0, "_sim/reset?all=1");
    _cleanup_(web_reply_release) struct web_reply a = get(0, ORDER("60"));
    _cleanup_(web_reply_release) struct web_reply b = get(0, ASK);
    _cleanup_(web_reply_release) struct web_reply c = get(0, "_sim/calls");
    ck_assert_str_eq(web_text(&c, "place"), "1");
    ck_assert_str_eq(web_text(&c, "status"), "1");
    ck_assert_str_eq(web_text(&c, "calls.1.endpoint"), "status");
    ck_assert_str_eq(web_text(&c, "calls.1.reference"), "17");
    ck_assert_ptr_null(strstr(c.body, "sifre"));
}
END_TEST

START_TEST(bad_rules)
{
    static const char *const bad[] = {
        "", "fault=none2", "nothing=1", "balance.accepts=yes", "latency=x", "elsewhere.fault=html"};

    for (size_t i = 0; i < COUNT(bad); i++) {
        char path[128];

        snprintf(path, sizeof(path), "_sim/switch?%s", bad[i]);
        _cleanup_(web_reply_release) struct web_reply r = get(0, path);
        ck_assert_msg(r.status == 400 && web_text(&r, "error"), "%s: %d %s", bad[i], r.status,
                      r.body);
    }
}
END_TEST

static struct proc *start(const char *program, int sim, const char *ledger)
{
    _cleanup_(freep) char *port_file = xasprintf("%s/%s.port", support_dir(), program);
    _cleanup_(freep) char *path = xasprintf("tests/sim/sim-%s", program);
    const char *argv[] = {built(path), "--port-file", port_file, "--settle-ms",
                          "-1",        "--hang-ms",   "200",     ledger ? "--ledger" : NULL,
                          ledger,      NULL};

    unlink(port_file);
    struct proc *p = proc_start(&(struct proc_opts){.name = program, .argv = argv});
    snprintf(url[sim], sizeof(url[sim]), "http://127.0.0.1:%d",
             port_from_file(port_file, p, 10000));
    return p;
}

/* Killed in the middle: orders, deliveries and money are what they were. */
static struct proc *znet;
START_TEST(remembers)
{
    _cleanup_(freep) char *ledger = xasprintf("%s/ledger", support_dir());

    control(0, "_sim/reset?all=1");
    _cleanup_(web_reply_release) struct web_reply a = get(0, ORDER("60~settle_ms=0"));
    _cleanup_(web_reply_release) struct web_reply b =
        get(0, "servis/pin_ekle.php?" WHO
               "&oyun=1&kupur=325~settle_ms=300&referans=18&oyuncu_bilgi=988");
    _cleanup_(web_reply_release) struct web_reply done = get(0, ASK);
    ck_assert_int_eq(b.status, 200);
    proc_kill9(znet);
    proc_free(znet);

    FILE *f = fopen(ledger, "a"); /* the kill came in the middle of a line */
    fputs("{\"seq\":99,\"event\":\"acc", f);
    fclose(f);
    znet = start("znet", 0, ledger);
    _cleanup_(web_reply_release) struct web_reply again = get(0, ASK), money = get(0, BALANCE);
    ck_assert_str_eq(again.body, done.body);
    ck_assert_str_eq(money.body, "OK|999954.88");
    ck_wait(({
                _cleanup_(web_reply_release) struct web_reply l = get(0, "_sim/ledger");
                !strcmp(web_text(&l, "count"), "2");
            }),
            5000);
    proc_kill9(znet);
    proc_free(znet);
    znet = start("znet", 0, ledger);
    _cleanup_(web_reply_release) struct web_reply l = get(0, "_sim/ledger");
    ck_assert_str_eq(web_text(&l, "count"), "2");
}
END_TEST

static Suite *suite(bool forked)
{
    Suite *s = suite_create(forked ? "sim" : "sim kills");
    TCase *tc = tcase_create("switches");

    if (forked) {
        tcase_add_loop_test(tc, answers, 0, COUNT(rows));
        tcase_add_test(tc, late_arrival);
        tcase_add_test(tc, late_flip);
        tcase_add_test(tc, settled_by_hand);
        tcase_add_test(tc, calls_are_counted);
        tcase_add_test(tc, bad_rules);
    } else
        tcase_add_test(tc, remembers);
    suite_add_tcase(s, tc);
    return s;
}

int main(void)
{
    _cleanup_(freep) char *ledger = xasprintf("%s/ledger", support_dir());
    struct proc *zdk = start("zdk", 1, NULL);
    int failed;

    znet = start("znet", 0, ledger);
    failed = suite_run(suite(true)) + suite_run_unforked(suite(false));
    failed += proc_stop(znet, 5000) != 0; /* a leak is a failure too */
    failed += proc_stop(zdk, 5000) != 0;
    proc_free(znet);
    proc_free(zdk);
    return support_end(failed);
}
