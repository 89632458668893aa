/* test_celery.c - Celery's messages, read from anybody and written for Python. */
#include "base/clock.h"
#include "base/text.h"
#include "celery/canvas.h"
#include "celery/message.h"
#include "unit.h"
#include <stdio.h>
#include <string.h>

/* ---------------------------------------------------------------- raw */

static const struct {
    const char *title, *text;
    rc want;
} texts[] = {
    {"an object", " {\"a\": [1, -2.5e3, true, null, \"x\\u00e9\"]} ", OK},
    {"what Python writes beyond JSON", "[NaN, Infinity, -Infinity]", OK},
    {"nothing", "", E_BAD_JSON},
    {"cut in the middle", "{\"a\":", E_BAD_JSON},
    {"text behind", "[] []", E_BAD_JSON},
    {"a comma too many", "[1,]", E_BAD_JSON},
    {"a bare word", "[yes]", E_BAD_JSON},
    {"a zero too many", "[01]", E_BAD_JSON},
    {"an escape that is none", "[\"\\x\"]", E_BAD_JSON},
    {"a control character", "[\"a\nb\"]", E_BAD_JSON},
    {"no UTF-8", "[\"\xff\"]", E_BAD_UTF8},
    {"no string as a name", "{1: 2}", E_BAD_JSON},
};

START_TEST(texts_are_checked)
{
    _cleanup_(cx_release) struct cx cx = CX_PLAIN("test");
    struct raw r;

    rc got = raw_read(&cx, texts[_i].text, strlen(texts[_i].text), KiB(1), &r);
    ck_assert_msg(got == texts[_i].want, "case: %s (%s)", texts[_i].title, error_info(got)->code);
}
END_TEST

START_TEST(nesting_is_bounded)
{
    _cleanup_(cx_release) struct cx cx = CX_PLAIN("test");
    char deep[2 * RAW_DEPTH + 3];
    struct raw r;

    for (size_t levels = RAW_DEPTH; levels <= RAW_DEPTH + 1; levels++) {
        memset(deep, '[', levels);
        memset(deep + levels, ']', levels);
        ck_assert_int_eq(raw_read(&cx, deep, 2 * levels, KiB(1), &r),
                         levels == RAW_DEPTH ? OK : E_TOO_DEEP);
    }
}
END_TEST

static bool is(struct raw r, const char *text)
{
    return r.n == strlen(text) && memcmp(r.p, text, r.n) == 0;
}

START_TEST(slices_are_as_written)
{
    _cleanup_(cx_release) struct cx cx = CX_PLAIN("test");
    _cleanup_(buf_release) struct buf b = BUF(KiB(1));
    static const char *const without[] = {"b", NULL};
    struct raw o = RAW("{ \"a\" : 12345678901234567890 , \"b\": [1 , {\"x\":2}], \"a\": 1.10, "
                       "\"t\": \"\\ud83d\\ude00\\n\" }");
    struct raw at = {0};
    int64_t n;

    ck_assert(is(raw_get(o, "a"), "1.10")); /* the last one, as in Python */
    ck_assert(raw_get(o, "none").n == 0);
    ck_assert_str_eq(raw_str(&cx, raw_get(o, "t")), "😀\n");
    ck_assert(raw_str(&cx, RAW("\"\\ud83d\"")) == NULL);
    ck_assert(raw_str(&cx, RAW("\"\\u0000\"")) == NULL);
    ck_assert(raw_next(raw_get(o, "b"), &at) && is(at, "1"));
    ck_assert(raw_next(raw_get(o, "b"), &at) && is(at, "{\"x\":2}"));
    ck_assert(!raw_next(raw_get(o, "b"), &at));
    ck_assert_uint_eq(raw_count(RAW("[[], {}, 3]")), 3);
    ck_assert(raw_int(RAW("3"), 0, 5, &n) && n == 3 && !raw_int(RAW("3.5"), 0, 5, &n) &&
              !raw_int(RAW("9"), 0, 5, &n));
    ck_assert_uint_eq(raw_put_members(&b, o, without), 3);
    ck_assert_str_eq(b.p, "\"a\":12345678901234567890,\"a\":1.10,\"t\":\"\\ud83d\\ude00\\n\"");
    buf_reset(&b);
    raw_put_joined(&b, RAW("[ 1, 2 ]"), RAW("[]"));
    raw_put_joined(&b, RAW("[]"), RAW("[\"x\" ]"));
    ck_assert_str_eq(b.p, "[1,2][\"x\"]");
}
END_TEST

/* ---------------------------------------------------------------- messages */

#define PROPERTIES                                                                                 \
    "\"properties\": {\"delivery_tag\": \"t1\", \"delivery_info\": {\"exchange\": \"\", "          \
    "\"routing_key\": \"celery\"}"
#define TYPE "\"content-type\": \"application/json\", \"content-encoding\": \"utf-8\", "

static const struct {
    const char *title, *text;
    rc want;
    const char *task, *id;
} messages[] = {
    {"protocol 2, raw body",
     "{" TYPE "\"headers\": {\"task\": \"a.b\", \"id\": \"1\"}, " PROPERTIES
     "}, \"body\": \"[[1], {}, null]\"}",
     OK, "a.b", "1"},
    {"base64",
     "{" TYPE "\"headers\": {\"task\": \"a.b\", \"id\": \"1\"}, " PROPERTIES
     ", \"body_encoding\": \"base64\"}, \"body\": \"W1sxXSwge30sIHt9XQ==\"}",
     OK, "a.b", "1"},
    {"protocol 1",
     "{" TYPE "\"headers\": {}, " PROPERTIES
     "}, \"body\": \"{\\\"task\\\": \\\"old\\\", \\\"id\\\": \\\"9\\\", \\\"args\\\": [2]}\"}",
     OK, "old", "9"},
    {"no list at all", "[]", E_INVALID_FIELD, NULL, NULL},
    {"no tag",
     "{" TYPE "\"headers\": {\"task\": \"a\", \"id\": \"1\"}, \"properties\": {}, \"body\": \"[[], "
     "{}, {}]\"}",
     E_INVALID_FIELD, NULL, NULL},
    {"another type",
     "{\"content-type\": \"application/x-yaml\", \"headers\": {\"task\": \"a\", \"id\": "
     "\"1\"}, " PROPERTIES "}, \"body\": \"[]\"}",
     E_UNSUPPORTED_MEDIA, NULL, NULL},
    {"no type",
     "{\"headers\": {\"task\": \"a\", \"id\": \"1\"}, " PROPERTIES "}, \"body\": \"[[], {}, {}]\"}",
     E_UNSUPPORTED_MEDIA, NULL, NULL},
    {"no body", "{" TYPE "\"headers\": {\"task\": \"a\", \"id\": \"1\"}, " PROPERTIES "}}",
     E_INVALID_FIELD, NULL, NULL},
    {"base64 that is none",
     "{" TYPE "\"headers\": {\"task\": \"a\", \"id\": \"1\"}, " PROPERTIES
     ", \"body_encoding\": \"base64\"}, \"body\": \"W1s\"}",
     E_INVALID_FIELD, NULL, NULL},
    {"a body that is none",
     "{" TYPE "\"headers\": {\"task\": \"a\", \"id\": \"1\"}, " PROPERTIES "}, \"body\": \"[[\"}",
     E_BAD_JSON, NULL, NULL},
    {"args that are no list",
     "{" TYPE "\"headers\": {\"task\": \"a\", \"id\": \"1\"}, " PROPERTIES
     "}, \"body\": \"[{}, {}, {}]\"}",
     E_INVALID_FIELD, NULL, NULL},
    {"an eta that is a number",
     "{" TYPE "\"headers\": {\"task\": \"a\", \"id\": \"1\", \"eta\": 12.5}, " PROPERTIES
     "}, \"body\": \"[[], {}, {}]\"}",
     E_INVALID_FIELD, NULL, NULL},
    {"an id with a line feed",
     "{" TYPE "\"headers\": {\"task\": \"a\", \"id\": \"1\\n2\"}, " PROPERTIES
     "}, \"body\": \"[[], {}, {}]\"}",
     E_INVALID_FIELD, NULL, NULL},
    {"callbacks that are no list",
     "{" TYPE "\"headers\": {\"task\": \"a\", \"id\": \"1\"}, " PROPERTIES
     "}, \"body\": \"[[], {}, {\\\"callbacks\\\": 3}]\"}",
     E_INVALID_FIELD, NULL, NULL},
};

START_TEST(messages_are_read)
{
    _cleanup_(cx_release) struct cx cx = CX_PLAIN("test");
    struct celery_message m;
    rc got = celery_message_read(&cx, messages[_i].text, strlen(messages[_i].text), &m);

    ck_assert_msg(got == messages[_i].want, "case: %s (%s)", messages[_i].title,
                  cx_words(&cx, got));
    if (got != OK)
        return;
    ck_assert_str_eq(m.task, messages[_i].task);
    ck_assert_str_eq(m.id, messages[_i].id);
    ck_assert_str_eq(m.tag, "t1");
}
END_TEST

static struct celery_message read_back(struct cx *cx, struct buf *b)
{
    struct celery_message m;

    ck_assert(buf_ok(b));
    ck_assert_msg(celery_message_read(cx, b->p, b->len, &m) == OK, "%s: %s", cx->err.text, b->p);
    return m;
}

START_TEST(messages_are_written)
{
    _cleanup_(cx_release) struct cx cx = CX_PLAIN("test");
    _cleanup_(buf_release) struct buf b = BUF(MiB(1)), again = BUF(MiB(1)), back = BUF(MiB(1));
    struct celery_new n = {.task = "shop.add",
                           .queue = "celery",
                           .priority = 3,
                           .args = RAW("[1, 12345678901234567890, \"سلام\"]"),
                           .kwargs = RAW("{\"k\": 1.50}"),
                           .chain = RAW("[{\"task\": \"t\"}]"),
                           .group = "g",
                           .group_index = 2,
                           .eta_ms = 1795224279573,
                           .expires_ms = 1795224280000,
                           .hard_ms = 2500,
                           .headers = RAW("{\"tenant\": \"x\", \"task\": \"never\"}")};

    celery_message_write(&b, &n);
    struct celery_message m = read_back(&cx, &b);
    ck_assert(is(m.args, "[1, 12345678901234567890, \"سلام\"]") && is(m.kwargs, "{\"k\": 1.50}"));
    ck_assert_str_eq(m.task, "shop.add");
    ck_assert_str_eq(m.root_id, m.id);
    ck_assert_int_eq(m.eta_ms, n.eta_ms);
    ck_assert_int_eq(m.expires_ms, n.expires_ms);
    ck_assert_int_eq(m.hard_ms, 2500);
    ck_assert(m.group_index == 2 && m.priority == 3 && is(m.chain, "[{\"task\": \"t\"}]"));
    ck_assert(is(raw_get(m.headers, "tenant"), "\"x\""));

    celery_message_again(&again, &m, /* counted= */ true, 0);
    struct celery_message next = read_back(&cx, &again);
    ck_assert_int_eq(next.retries, 1);
    ck_assert_int_eq(next.eta_ms, 0);
    ck_assert_str_eq(next.id, m.id);
    ck_assert_str_eq(next.parent_id, m.id);
    ck_assert_str_ne(next.tag, m.tag);
    ck_assert(is(next.args, "[1, 12345678901234567890, \"سلام\"]") &&
              is(raw_get(next.headers, "tenant"), "\"x\""));

    celery_message_redelivered(&back, &m, /* aboard= */ true);
    struct celery_message came = read_back(&cx, &back);
    ck_assert(came.redelivered && came.deaths == 1 &&
              is(came.args, "[1, 12345678901234567890, \"سلام\"]"));
    ck_assert_str_eq(came.tag, m.tag);
}
END_TEST

/* ---------------------------------------------------------------- names */

static const struct {
    const char *title, *options;
    int priority;
    const char *key; /* NULL: refused */
} names[] = {
    {"the bare queue", "", 0, "q"},
    {"below a step", "", 5,
     "q\x06\x16"
     "3"},
    {"the last step", "", 9,
     "q\x06\x16"
     "9"},
    {"beyond", "", 200,
     "q\x06\x16"
     "9"},
    {"another separator", "{\"sep\": \":\"}", 3, "q:3"},
    {"a prefix", "{\"global_keyprefix\": \"shop.\"}", 0, "shop.q"},
    {"other steps", "{\"priority_steps\": [0, 5], \"sep\": \":\"}", 4, "q"},
    {"what is not ours is passed over", "{\"socket_timeout\": 3}", 0, "q"},
    {"steps that do not begin at 0", "{\"priority_steps\": [1, 5]}", 0, NULL},
    {"no JSON", "{", 0, NULL},
    {"no object", "[]", 0, NULL},
    {"no seconds", "{\"visibility_timeout\": \"long\"}", 0, NULL},
};

START_TEST(options_name_the_keys)
{
    _cleanup_(cx_release) struct cx cx = CX_PLAIN("test");
    _cleanup_(celery_names_release) struct celery_names n;
    _cleanup_(buf_release) struct buf b = BUF(KiB(1));
    rc got = celery_names_read(&cx, names[_i].options, 3, &n);

    ck_assert_msg((got == OK) == (names[_i].key != NULL), "case: %s", names[_i].title);
    if (got != OK)
        return;
    celery_put_queue_key(&b, &n, "q", names[_i].priority);
    ck_assert_msg(strcmp(b.p, names[_i].key) == 0, "case: %s", names[_i].title);
}
END_TEST

START_TEST(defaults_are_those_of_kombu)
{
    _cleanup_(cx_release) struct cx cx = CX_PLAIN("test");
    _cleanup_(celery_names_release) struct celery_names n;
    const char *url;
    int db;

    ck_assert_int_eq(celery_names_read(&cx, "", 3, &n), OK);
    ck_assert_str_eq(n.unacked, "unacked");
    ck_assert_str_eq(n.fanout, "/3.");
    ck_assert(n.fanout_patterns && n.rotate && n.visibility_ms == 3600 * 1000);
    ck_assert_int_eq(celery_url(&cx, "redis+socket:///run/r.sock?virtual_host=2", &url, &db), OK);
    ck_assert_str_eq(url, "unix:/run/r.sock?db=2");
    ck_assert_int_eq(db, 2);
    ck_assert_int_eq(celery_url(&cx, "redis://h:7000/4", &url, &db), OK);
    ck_assert_int_eq(db, 4);
    ck_assert_int_eq(celery_url(&cx, "amqp://guest@h//", &url, &db), E_CONFIG);
}
END_TEST

/* ---------------------------------------------------------------- signatures */

#define SIG(id) "{\"task\":\"t\",\"options\":{\"task_id\":\"" id "\"},\"subtask_type\":null}"
#define WRAP(type, key)                                                                            \
    "{\"task\":\"celery." type "\",\"kwargs\":{" key "},\"options\":{},\"subtask_type\":\"" type   \
    "\"}"

static const struct {
    const char *title, *sig;
    size_t parts;
    const char *final; /* NULL: none */
} sigs[] = {
    {"plain", SIG("1"), 1, "1"},
    {"a chain is its last", WRAP("chain", "\"tasks\":[" SIG("1") "," SIG("2") "]"), 1, "2"},
    {"a group is all of its", WRAP("group", "\"tasks\":[" SIG("1") "," SIG("2") "]"), 2, NULL},
    {"a chord is its body",
     WRAP("chord", "\"header\":[" SIG("1") "," SIG("2") "],\"body\":" SIG("3")), 1, "3"},
    {"nothing", "null", 0, NULL},
};

START_TEST(signatures_are_weighed)
{
    _cleanup_(cx_release) struct cx cx = CX_PLAIN("test");
    struct raw sig = raw_of(sigs[_i].sig);

    ck_assert_msg(celery_parts(sig) == sigs[_i].parts, "case: %s", sigs[_i].title);
    ck_assert_msg(str_eq(celery_final_id(&cx, sig), sigs[_i].final), "case: %s", sigs[_i].title);
}
END_TEST

UNIT(celery, {"texts", texts_are_checked, COUNT(texts)}, {"nesting", nesting_is_bounded, 0},
     {"slices", slices_are_as_written, 0}, {"messages in", messages_are_read, COUNT(messages)},
     {"messages out", messages_are_written, 0}, {"names", options_name_the_keys, COUNT(names)},
     {"defaults", defaults_are_those_of_kombu, 0},
     {"signatures", signatures_are_weighed, COUNT(sigs)})
