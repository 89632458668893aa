/* test_log.c - one line an event, in two forms; secrets never leave. */
#include "base/json.h"
#include "base/log.h"
#include "base/text.h"
#include "unit.h"
#include <string.h>

static char *text;
static size_t size;
static FILE *out;

static void capture(enum log_format format)
{
    out = open_memstream(&text, &size);
    log_setup(out, LOG_INFO, format);
}

static const char *captured(void)
{
    fflush(out);
    return text;
}

static void end_capture(void)
{
    log_setup(NULL, LOG_INFO, LOG_LOGFMT);
    fclose(out);
    free(text);
}

START_TEST(logfmt)
{
    struct cx cx = {.name = "order.check", .trace = "0af7", .subject = "job-1"};

    capture(LOG_LOGFMT);
    log_set_cx(&cx);
    log_set_prog("worker");
    log_ev(LOG_WARN, "lease.lost", kv_str("job", "88 121"), kv_int("age_ms", -5),
           kv_real("ratio", 0.25), kv_bool("ok", true), kv_str("none", NULL), kv_str("empty", ""),
           kv_str("quote", "a\"b=c\n"));
    log_ev(LOG_DEBUG, "hidden");
    log_set_cx(NULL);
    log_ev(LOG_INFO, "bare");
    const char *s = captured();
    ck_assert_msg(strstr(s, " lvl=warn ev=lease.lost prog=worker pid="), "%s", s);
    ck_assert_msg(strstr(s, " fiber=order.check trace=0af7 subject=job-1 job=\"88 121\" age_ms=-5 "
                            "ratio=0.25 ok=true none=- empty=\"\" quote=\"a\\\"b=c\\n\"\nts="),
                  "%s", s);
    ck_assert_ptr_null(strstr(s, "hidden"));
    ck_assert_str_eq(strstr(s, "ev=bare") + strcspn(strstr(s, "ev=bare"), "\n"), "\n");
    log_set_prog(NULL);
    end_capture();
}
END_TEST

static const struct {
    const char *title;
    struct kv fact;
    const char *logfmt, *json;
} facts[] = {
    {"a secret", {KV_SECRET, "f", {"Sup3rPin"}}, "f=***(8)", "\"f\":\"***(8)\""},
    {"no secret", {KV_SECRET, "f", {NULL}}, "f=***(0)", "\"f\":\"***(0)\""},
    {"a phone", {KV_PHONE, "f", {"+905321112233"}}, "f=***33", "\"f\":\"***33\""},
    {"a short phone", {KV_PHONE, "f", {"12"}}, "f=**", "\"f\":\"**\""},
    {"a player id in Arabic", {KV_PHONE, "f", {"لاعب"}}, "f=***ب", "\"f\":\"***ب\""},
    {"one character", {KV_PHONE, "f", {"😀"}}, "f=***", "\"f\":\"***\""},
    {"a URL",
     {KV_URL, "f", {"https://me:pw@h.example/a/b?kod=1&sifre=x;z&flag&t=9"}},
     "f=\"https://***@h.example/a/b?kod=***&sifre=***;z&flag&t=***\"",
     "\"f\":\"https://***@h.example/a/b?kod=***&sifre=***;z&flag&t=***\""},
    {"a password with an @",
     {KV_URL, "f", {"redis://u:p@ss@h:6379/1"}},
     "f=redis://***@h:6379/1",
     "\"f\":\"redis://***@h:6379/1\""},
    {"a URL in a query",
     {KV_URL, "f", {"/cb?next=http://a@b"}},
     "f=\"/cb?next=***\"",
     "\"f\":\"/cb?next=***\""},
    {"connection keywords",
     {KV_URL, "f", {"host=h password='a b' user=u"}},
     "f=\"host=h password=***\"",
     "\"f\":\"host=h password=***\""},
    {"a socket",
     {KV_URL, "f", {"unix:/run/r.sock"}},
     "f=unix:/run/r.sock",
     "\"f\":\"unix:/run/r.sock\""},
    {"no URL", {KV_URL, "f", {NULL}}, "f=-", "\"f\":null"},
    {"not UTF-8", {KV_STR, "f", {"a\xff\xc5z\xf0\x9f\x98"}}, "f=a??z???", "\"f\":\"a??z???\""},
    {"a control character",
     {KV_STR, "f", {"a\x1b[31m"}},
     "f=\"a\\u001b[31m\"",
     "\"f\":\"a\\u001b[31m\""},
};

START_TEST(facts_are_written_and_masked)
{
    for (int format = LOG_LOGFMT; format <= LOG_JSON; format++) {
        capture((enum log_format)format);
        log_ev(LOG_INFO, "x", facts[_i].fact);
        const char *want = format == LOG_JSON ? facts[_i].json : facts[_i].logfmt;
        ck_assert_msg(strstr(captured(), want), "case: %s gave %s", facts[_i].title, text);
        end_capture();
    }
}
END_TEST

/* Every line of the JSON form is JSON, whatever was in it. */
START_TEST(json_lines_are_json)
{
    _cleanup_(cx_release) struct cx cx = CX_PLAIN("test");
    _cleanup_(freep) char *huge = xmalloc(100001);
    char *save = NULL;
    int lines = 0;
    cJSON *v;

    memset(huge, 'x', 100000);
    huge[100000] = 0;
    memcpy(huge + 2047, "ş", 2); /* across the cut */
    capture(LOG_JSON);
    log_ev(LOG_INFO, "one", kv_str("a", "\"\\\n\xff"), kv_int("n", 5), kv_real("d", 0.5));
    log_ev(LOG_INFO, "huge", kv_str("a", huge));
    log_ev(LOG_INFO, "many", kv_str("a", huge), kv_str("b", huge), kv_str("c", huge),
           kv_str("d", huge), kv_str("e", huge), kv_str("f", huge), kv_str("g", huge),
           kv_str("h", huge), kv_str("i", huge));
    captured();
    for (char *l = strtok_r(text, "\n", &save); l; l = strtok_r(NULL, "\n", &save), lines++) {
        ck_assert_msg(json_parse(&cx, l, strlen(l), MiB(1), &v) == OK, "%s: %s", cx.err.text, l);
        ck_assert_uint_le(strlen(l), KiB(16));
    }
    ck_assert_int_eq(lines, 3);
    ck_assert(cJSON_IsTrue(json_path(v, "too_long")));
    ck_assert_str_eq(json_text(&cx, json_path(v, "ev")), "many");
    end_capture();
}
END_TEST

START_TEST(failures_are_logged_with_their_place)
{
    _cleanup_(cx_release) struct cx cx = CX_PLAIN("test");
    rc r = fail(&cx, STORE_DOWN, "no answer from %s", "redis");

    capture(LOG_LOGFMT);
    log_fail(LOG_ERROR, "claim.failed", &cx, r, kv_int("retry_in_ms", 30));
    log_fail(LOG_ERROR, "claim.failed", &cx, E_NOT_FOUND);
    const char *s = captured();
    ck_assert_msg(strstr(s, "code=store_down err=\"no answer from redis\" at=test_log.c:"), "%s",
                  s);
    ck_assert_ptr_nonnull(strstr(s, " retry_in_ms=30\n"));
    ck_assert_ptr_nonnull(strstr(s, "code=not_found err=\"no such object\"\n"));
    end_capture();
}
END_TEST

START_TEST(levels)
{
    static const char *const words[] = {"debug", "info", "warn", "error"};
    enum log_level l = LOG_DEBUG;

    for (int i = 0; i < 4; i++) {
        ck_assert(log_level_from(words[i], &l));
        ck_assert_int_eq((int)l, i);
    }
    ck_assert(!log_level_from("loud", &l));
}
END_TEST

UNIT(log, {"logfmt", logfmt}, {"facts", facts_are_written_and_masked, COUNT(facts)},
     {"json", json_lines_are_json}, {"failures", failures_are_logged_with_their_place},
     {"levels", levels})
