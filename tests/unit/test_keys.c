/* test_keys.c - names of keys: what a visitor may call a queue, and that no name spells another
 * queue's key. */
#include "queue/keys.h"
#include "tests/unit/unit.h"
#include <string.h>

#define N8  "aaaaaaaa"
#define N64 N8 N8 N8 N8 N8 N8 N8 N8

static const struct {
    const char *title, *name;
    bool queue, task;
} names[] = {
    {"a plain name", "orders", true, true},
    {"dots, dashes, digits", "a.b-c_9", true, true},
    {"64 characters", N64, true, true},
    {"65 characters", N64 "a", false, true},
    {"128 characters", N64 N64, false, true},
    {"129 characters", N64 N64 "a", false, false},
    {"nothing", "", false, false},
    {"no name", NULL, false, false},
    {"upper case is for tasks", "Orders", false, true},
    {"a colon", "a:jobs", false, false},
    {"a closing brace", "a}:jobs", false, false},
    {"an opening brace", "{a", false, false},
    {"a space", "a b", false, false},
    {"a line feed", "a\n", false, false},
    {"UTF-8", "\xd8\xb7\xd9\x84\xd8\xa8", false, false},
    {"a shard, which is a place and no name", "orders#1", false, false},
    {"a shard without a queue", "#1", false, false},
    {"a shard too many", "orders#16", false, false},
    {"a glob", "a*", false, false},
};

START_TEST(name)
{
    _cleanup_(cx_release) struct cx cx = CX_PLAIN("test");
    struct queue_keys k;
    rc r = queue_keys_make(&cx, names[_i].name, &k);

    ck_assert_msg(queue_name_valid(names[_i].name) == names[_i].queue, "case: %s", names[_i].title);
    ck_assert_msg(task_name_valid(names[_i].name) == names[_i].task, "case: %s", names[_i].title);
    bool place = names[_i].queue || (names[_i].name && strcmp(names[_i].name, "orders#1") == 0);
    ck_assert_int_eq(r, place ? OK : E_INVALID_FIELD);
    if (r)
        ck_assert_str_eq(cx.err.pointer, "/queue");
}
END_TEST

START_TEST(keys_differ_and_share_a_slot)
{
    static const char *const queues[] = {"a", "jobs", "a.jobs", "ready1", N64};
    _cleanup_(cx_release) struct cx cx = CX_PLAIN("test");
    static struct queue_keys k[COUNT(queues)];

    for (size_t q = 0; q < COUNT(queues); q++)
        ck_assert_int_eq(queue_keys_make(&cx, queues[q], &k[q]), OK);
    for (size_t a = 0; a < COUNT(queues) * QK_COUNT; a++) {
        const char *one = k[a / QK_COUNT].name[a % QK_COUNT];
        ck_assert_uint_eq(strlen(one), k[a / QK_COUNT].len[a % QK_COUNT]);
        ck_assert_ptr_nonnull(strchr(one, '{'));
        ck_assert_uint_eq((size_t)(strchr(one, '}') - strchr(one, '{') - 1),
                          strlen(queues[a / QK_COUNT]));
        ck_assert_str_ne(one, KEY_QUEUES);
        for (size_t b = 0; b < a; b++)
            ck_assert_str_ne(one, k[b / QK_COUNT].name[b % QK_COUNT]);
    }
    ck_assert_str_eq(k[0].name[QK_READY], "mw:{a}:ready9");
    ck_assert_str_eq(k[0].name[QK_READY + 9], "mw:{a}:ready0");
    ck_assert_str_eq(k[0].name[QK_UNIQUE_OF], "mw:{a}:unique_of");
}
END_TEST

#define ID "0190a1b2-c3d4-7e5f-8a6b-123456789abc"
static const struct {
    const char *title, *text;
    bool good;
    int generation, claim, snoozes;
} tokens[] = {
    {"a first claim", ID ":1.1.0", true, 1, 1, 0},
    {"a broker job", ID ":0.3.2", true, 0, 3, 2},
    {"the largest", ID ":2147483647.2147483647.2147483647", true, 2147483647, 2147483647,
     2147483647},
    {"one too large", ID ":2147483648.1.0", false, 0, 0, 0},
    {"very long", ID ":1.1.00000000000000000000000000000000000000000001", false, 0, 0, 0},
    {"a leading zero would be another member", ID ":01.1.0", false, 0, 0, 0},
    {"a sign", ID ":-1.1.0", false, 0, 0, 0},
    {"two numbers", ID ":1.1", false, 0, 0, 0},
    {"four numbers", ID ":1.1.0.0", false, 0, 0, 0},
    {"an empty number", ID ":1..0", false, 0, 0, 0},
    {"something behind", ID ":1.1.0 ", false, 0, 0, 0},
    {"no id", "x:1.1.0", false, 0, 0, 0},
    {"upper case would be another member", "0190A1B2-C3D4-7E5F-8A6B-123456789ABC:1.1.0", false, 0,
     0, 0},
    {"nothing", "", false, 0, 0, 0},
};

START_TEST(token)
{
    struct lease l = {.claim = 77};
    char text[TOKEN_MAX];
    bool good = token_parse(tokens[_i].text, strlen(tokens[_i].text), &l);

    ck_assert_msg(good == tokens[_i].good, "case: %s", tokens[_i].title);
    if (!good) {
        ck_assert_int_eq(l.claim, 77);
        return;
    }
    ck_assert_str_eq(l.id, ID);
    ck_assert_int_eq(l.generation, tokens[_i].generation);
    ck_assert_int_eq(l.claim, tokens[_i].claim);
    ck_assert_int_eq(l.snoozes, tokens[_i].snoozes);
    ck_assert_str_eq(token_format(&l, text), tokens[_i].text);
}
END_TEST

UNIT(keys, {"name", name, COUNT(names)}, {"slot", keys_differ_and_share_a_slot},
     {"token", token, COUNT(tokens)})
