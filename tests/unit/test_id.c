/* test_id.c - UUIDv7 that only grow, also across a fork; random bytes that are not shared. */
#include "base/clock.h"
#include "base/id.h"
#include "base/text.h"
#include "unit.h"
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

START_TEST(ids_grow)
{
    char last[ID_LEN + 1] = "", id[ID_LEN + 1], again[ID_LEN + 1];
    int64_t before = clock_ms();

    for (int i = 0; i < 100000; i++) { /* more than 4096 a millisecond: the counter runs over */
        ck_assert_ptr_eq(id_new(id), id);
        ck_assert_int_gt(strcmp(id, last), 0);
        memcpy(last, id, sizeof last);
    }
    ck_assert_uint_eq(strlen(id), ID_LEN);
    ck_assert_int_eq(id[14], '7');
    ck_assert_ptr_nonnull(strchr("89ab", id[19]));
    ck_assert(id_parse(id, again));
    ck_assert_str_eq(again, id);

    char hex[13] = {0};
    unsigned char b[6];
    memcpy(hex, id, 8);
    memcpy(hex + 8, id + 9, 4);
    ck_assert(hex_decode(hex, b, 6));
    int64_t ms = 0;
    for (int i = 0; i < 6; i++)
        ms = ms << 8 | b[i];
    ck_assert_int_ge(ms, before);
    ck_assert_int_le(ms, clock_ms() + 1000); /* ahead by what the counter ran over, at most */
}
END_TEST

static const struct {
    const char *title, *in, *want;
} parsed[] = {
    {"lower case", "0190a1b2-c3d4-7e5f-8a9b-0c1d2e3f4a5b", "0190a1b2-c3d4-7e5f-8a9b-0c1d2e3f4a5b"},
    {"upper case", "0190A1B2-C3D4-7E5F-8A9B-0C1D2E3F4A5B", "0190a1b2-c3d4-7e5f-8a9b-0c1d2e3f4a5b"},
    {"another version", "6ba7b810-9dad-11d1-80b4-00c04fd430c8",
     "6ba7b810-9dad-11d1-80b4-00c04fd430c8"},
    {"NULL", NULL, NULL},
    {"empty", "", NULL},
    {"one short", "0190a1b2-c3d4-7e5f-8a9b-0c1d2e3f4a5", NULL},
    {"one long", "0190a1b2-c3d4-7e5f-8a9b-0c1d2e3f4a5b0", NULL},
    {"a dash at the wrong place", "0190a1b2c-3d4-7e5f-8a9b-0c1d2e3f4a5b", NULL},
    {"no hex digit", "0190a1b2-c3d4-7e5f-8a9b-0c1d2e3f4a5g", NULL},
    {"braces", "{190a1b2-c3d4-7e5f-8a9b-0c1d2e3f4a5}", NULL},
};

START_TEST(ids_are_read)
{
    char out[ID_LEN + 1] = "untouched";

    ck_assert_msg(id_parse(parsed[_i].in, out) == (parsed[_i].want != NULL), "case: %s",
                  parsed[_i].title);
    ck_assert_str_eq(out, parsed[_i].want ? parsed[_i].want : "untouched");

    unsigned char bytes[16];
    char hex[2 * sizeof bytes + 1], *plain = hex;
    ck_assert_msg(id_bytes(parsed[_i].in, bytes) == (parsed[_i].want != NULL), "case: %s",
                  parsed[_i].title);
    if (parsed[_i].want) {
        hex_encode(bytes, sizeof bytes, hex);
        for (const char *p = parsed[_i].want; *p; p++)
            ck_assert(*p == '-' || *p == *plain++);
    }
}
END_TEST

START_TEST(a_child_shares_no_bytes)
{
    unsigned char mine[32], childs[32];
    int fds[2];

    random_bytes(mine, 8); /* the pool is filled */
    ck_assert_int_eq(pipe(fds), 0);
    pid_t pid = fork();
    if (pid == 0) {
        random_bytes(childs, sizeof childs);
        _exit(write(fds[1], childs, sizeof childs) == sizeof childs ? 0 : 1);
    }
    random_bytes(mine, sizeof mine);
    ck_assert_int_eq(read(fds[0], childs, sizeof childs), sizeof childs);
    waitpid(pid, NULL, 0);
    ck_assert_int_ne(memcmp(mine, childs, sizeof mine), 0);
}
END_TEST

START_TEST(random_is_spread)
{
    int seen[7] = {0};
    unsigned char big[5000], zero[64] = {0};

    for (int i = 0; i < 70000; i++)
        seen[random_below(7)]++;
    for (int i = 0; i < 7; i++) /* expected 10000, sigma 93: 6 sigma */
        ck_assert_msg(abs(seen[i] - 10000) < 600, "%d came %d times", i, seen[i]);
    ck_assert_uint_eq(random_below(1), 0);
    random_bytes(big, sizeof big); /* larger than the pool */
    for (size_t i = 0; i + sizeof zero <= sizeof big; i += sizeof zero)
        ck_assert_int_ne(memcmp(big + i, zero, sizeof zero), 0);
}
END_TEST

UNIT(id, {"grow", ids_grow}, {"parse", ids_are_read, COUNT(parsed)},
     {"fork", a_child_shares_no_bytes}, {"random", random_is_spread})
