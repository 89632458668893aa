/* test_address.c - what counts as a public address. */
#include "rt/address.h"
#include "tests/unit/unit.h"

static const struct {
    const char *ip;
    bool public;
} cases[] = {
    {"8.8.8.8", true},
    {"1.1.1.1", true},
    {"172.15.255.255", true},
    {"172.32.0.1", true},
    {"100.63.255.255", true},
    {"100.128.0.1", true},
    {"192.167.1.1", true},
    {"223.255.255.255", true},
    {"0.0.0.0", false},
    {"0.1.2.3", false},
    {"10.0.0.1", false},
    {"100.64.0.1", false},
    {"127.0.0.1", false},
    {"127.255.255.255", false},
    {"169.254.169.254", false},
    {"172.16.0.1", false},
    {"172.31.255.255", false},
    {"192.0.0.8", false},
    {"192.0.2.1", false},
    {"192.168.255.255", false},
    {"198.18.0.1", false},
    {"198.19.255.255", false},
    {"198.51.100.7", false},
    {"203.0.113.9", false},
    {"224.0.0.1", false},
    {"255.255.255.255", false},
    {"2606:4700:4700::1111", true},
    {"2a00:1450::1", true},
    {"::", false},
    {"::1", false},
    {"::7f00:1", false},
    {"::ffff:127.0.0.1", false},
    {"::ffff:10.1.2.3", false},
    {"::ffff:8.8.8.8", true},
    {"64:ff9b::a00:1", false},
    {"64:ff9b::808:808", true},
    {"64:ff9b:1::1", false},
    {"100::1", false},
    {"2001::1", false},
    {"2001:db8::1", false},
    {"2002:7f00:1::", false},
    {"fc00::1", false},
    {"fd12:3456::1", false},
    {"fe80::1", false},
    {"fe80::1%eth0", false},
    {"fec0::1", false},
    {"ff02::1", false},
    {"3fff::1", false},
    {"", false},
    {"localhost", false},
    {"127.1", false},
    {"999.1.1.1", false},
};

START_TEST(address)
{
    ck_assert_msg(address_text_is_public(cases[_i].ip) == cases[_i].public, "%s", cases[_i].ip);
}
END_TEST

UNIT(address, {"public", address, COUNT(cases)})
