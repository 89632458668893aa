/* test_permissions.c - words of permissions and patterns of commands: what they give, and what not. */
#include "base/text.h"
#include "domain/access/roles.h"
#include "tests/unit/unit.h"
#include <string.h>

static const struct {
    const char *title, *pattern, *text;
    bool matches;
} globs[] = {
    {"itself", "reboot", "reboot", true},
    {"another", "reboot", "reboo", false},
    {"more behind", "reboot", "reboot2", false},
    {"everything", "*", "reboot", true},
    {"everything, also nothing", "*", "", true},
    {"a beginning", "get_*", "get_status", true},
    {"a beginning alone", "get_*", "get_", true},
    {"not the beginning", "get_*", "forget_me", false},
    {"an end", "*_status", "get_status", true},
    {"a middle", "a*c", "abbc", true},
    {"a middle that ends wrongly", "a*c", "abcd", false},
    {"the last of several", "a*c", "acbc", true},
    {"two stars", "*get*", "forget_me", true},
    {"stars together", "a***b", "ab", true},
    {"a star is no character", "a*", "a*", true},
    {"nothing matches nothing", "", "", true},
    {"nothing matches nothing else", "", "a", false},
    {"no other signs", "get?", "gets", false},
    {"no classes", "[a-z]", "a", false},
    {"case counts", "Get", "get", false},
    {"many stars that do not fit", "*a*a*a*a*a*a*a*a*a*a*b",
     "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
     false},
};

START_TEST(glob)
{
    ck_assert_msg(glob_match(globs[_i].pattern, globs[_i].text) == globs[_i].matches, "case: %s",
                  globs[_i].title);
}
END_TEST

#define B(name) PERM_BIT(PERM_##name)
static const struct {
    const char *word;
    uint64_t bits;
} words[] = {
    {"*", PERM_ALL},
    {"orders:*", B(ORDERS_READ) | B(ORDERS_WRITE)},
    {"requests:*", B(REQUESTS_READ) | B(REQUESTS_WRITE)},
    {"agents:*", B(AGENTS_READ) | B(AGENTS_WRITE) | B(AGENTS_CONNECT)},
    {"*:read", B(ORDERS_READ) | B(JOBS_READ) | B(QUEUES_READ) | B(DLQ_READ) | B(SCHEDULES_READ) |
                   B(METRICS_READ) | B(REQUESTS_READ) | B(AGENTS_READ) | B(HISTORY_READ) |
                   B(ACCESS_READ) | B(SECURITY_READ) | B(WORKFLOWS_READ)},
    {"orders:read", B(ORDERS_READ)},
    {"orders", 0},
    {"orders:", 0},
    {"teapots:*", 0},
    {"", 0},
};

START_TEST(word)
{
    ck_assert_msg(permission_bits(words[_i].word) == words[_i].bits, "%s", words[_i].word);
}
END_TEST

static const struct {
    const char *title, *roles; /* permissions TAB commands, a line each */
    const char *command;
    bool may;
} grants[] = {
    {"no role", "", "reboot", false},
    {"all commands", "requests:write\t*", "reboot", true},
    {"its pattern", "requests:*\tget_* show_*", "show_all", true},
    {"not its pattern", "requests:*\tget_* show_*", "reboot", false},
    {"no requests:write", "requests:read\t*", "reboot", false},
    {"no command at all", "requests:write\t", "reboot", false},
    {"the other role's pattern", "requests:write\tget_*\n*\tset_*", "set_clock", true},
    {"patterns of a role for something else", "requests:write\tget_*\nagents:connect\t*", "reboot",
     false},
    {"no tab", "requests:write", "reboot", false},
    {"a command is no pattern", "requests:write\treboot", "*", false},
};

START_TEST(grant)
{
    struct identity who = {0};

    identity_grant_roles(&who, grants[_i].roles);
    ck_assert_msg(identity_may_command(&who, grants[_i].command) == grants[_i].may, "case: %s",
                  grants[_i].title);
}
END_TEST

#define P31 "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
#define P64 P31 "b" P31 "c"

/* What does not fit is not given; nothing is cut in the middle. */
START_TEST(too_many_patterns)
{
    struct identity who = {0};
    char pattern[80];

    for (int i = 0; i < 40; i++) {
        snprintf(pattern, sizeof pattern, P64 "%02d*", i);
        identity_grant(&who, "requests:write", pattern);
        identity_grant(&who, "requests:write", pattern); /* twice is once */
    }
    int given = 0;
    for (int i = 0; i < 40; i++) {
        snprintf(pattern, sizeof pattern, P64 "%02dx", i);
        bool may = identity_may_command(&who, pattern);
        ck_assert(!may || i == given); /* the first ones */
        given += may;
    }
    ck_assert_int_eq(given, IDENTITY_COMMANDS_MAX / (64 + 3 + 1));
    ck_assert(!identity_may_command(&who, P64));
}
END_TEST

/* Two roles of the largest size fit. */
START_TEST(two_large_roles)
{
    struct identity who = {0};
    char lists[2][ROLE_COMMANDS_MAX + 1];

    for (int r = 0; r < 2; r++) {
        for (size_t i = 0; i < ROLE_COMMANDS_MAX; i++)
            lists[r][i] = i % 4 == 3 ? ' ' : (char)('a' + (i / 4 * 7 + i % 4 + (size_t)r * 3) % 26);
        memcpy(lists[r] + ROLE_COMMANDS_MAX - 4, r ? " end" : " End", 4);
        lists[r][ROLE_COMMANDS_MAX] = '\0';
        identity_grant(&who, "requests:write", lists[r]);
    }
    ck_assert(identity_may_command(&who, "End") && identity_may_command(&who, "end"));
}
END_TEST

UNIT(permissions, {"globs", glob, COUNT(globs)}, {"words", word, COUNT(words)},
     {"grants", grant, COUNT(grants)}, {"too many patterns", too_many_patterns},
     {"two large roles", two_large_roles})
