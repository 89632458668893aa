/* test_slots.c - which slot a key and a command belong to; the numbers are Redis's own (CLUSTER
 * KEYSLOT). */
#include "redis/slots.h"
#include "unit.h"
#include <hiredis/hiredis.h>
#include <stdlib.h>
#include <string.h>

static const struct {
    const char *key;
    int slot;
} keys[] = {
    {"123456789", 12739}, /* CRC16 XMODEM: 0x31c3 */
    {"", 0},
    {"foo", 12182},
    {"{foo}bar", 12182},
    {"a{foo}b{bar}", 12182},
    {"mw:{foo}:ready9", 12182},
    {"{}foo", 9500},
};

START_TEST(keys_have_slots)
{
    ck_assert_msg(slot_of_key(keys[_i].key, strlen(keys[_i].key)) == keys[_i].slot, "key: %s: %d",
                  keys[_i].key, slot_of_key(keys[_i].key, strlen(keys[_i].key)));
}
END_TEST

static const struct {
    const char *command; /* hiredis format */
    const char *key;     /* NULL: any node */
} commands[] = {
    {"PING", NULL},
    {"ping hello", NULL},
    {"GET foo", "foo"},
    {"SADD mw:queues a b c", "mw:queues"},
    {"EVALSHA 0123 2 {foo}a {foo}b c", "foo"},
    {"EVAL script 0 foo", NULL},
    {"EVAL script 10 foo", "foo"},
    {"BLMPOP 1.5 1 foo LEFT", "foo"},
    {"LMPOP 1 foo LEFT", "foo"},
    {"BZPOPMIN foo bar 5", "foo"},
    {"OBJECT ENCODING foo", "foo"},
    {"SCRIPT LOAD foo", NULL},
    {"CLUSTER SLOTS", NULL},
    {"GET", NULL},
};

START_TEST(commands_have_slots)
{
    char *text = NULL;
    int len = redisFormatCommand(&text, commands[_i].command);
    const char *key = commands[_i].key;
    size_t used = 0;
    int slot = -2;

    ck_assert(slot_of_command(text, (size_t)len, &used, &slot));
    ck_assert_uint_eq(used, (size_t)len);
    ck_assert_msg(slot == (key ? slot_of_key(key, strlen(key)) : SLOT_ANY), "command: %s: %d",
                  commands[_i].command, slot);
    /* Cut anywhere it is no command. */
    for (int n = 0; n < len; n++) {
        char *part = memcpy(malloc((size_t)n + 1), text, (size_t)n);
        ck_assert(!slot_of_command(part, (size_t)n, &used, &slot));
        free(part);
    }
    free(text);
}
END_TEST

static const char *const broken[] = {
    "",
    "*",
    "*0\r\n",
    "*1\r\n",
    "*1\r\n$3\r\nGE\r\n",
    "GET foo\r\n",
    "*1\r\n:1\r\n",
    "*x\r\n$1\r\na\r\n",
    "*1\r\n$99999999999999999999\r\na\r\n",
    "*1\r\n$-1\r\n",
};

START_TEST(what_is_no_command_has_none)
{
    size_t used;
    int slot;

    ck_assert_msg(!slot_of_command(broken[_i], strlen(broken[_i]), &used, &slot), "case: %s",
                  broken[_i]);
}
END_TEST

UNIT(slots, {"keys", keys_have_slots, COUNT(keys)},
     {"commands", commands_have_slots, COUNT(commands)},
     {"broken", what_is_no_command_has_none, COUNT(broken)})
