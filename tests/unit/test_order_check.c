/* test_order_check.c - what is said about an order without any database: its fields, its status out
 * of its units, where its extra field goes. */
#include "domain/orders/extra_field.h"
#include "domain/orders/order_create.h"
#include "domain/orders/placements.h"
#include "tests/unit/unit.h"
#include <string.h>

#define A10   "aaaaaaaaaa"
#define A50   A10 A10 A10 A10 A10
#define A250  A50 A50 A50 A50 A50
#define SIN10 "سسسسسسسسسس" /* two bytes a letter */
#define SIN50 SIN10 SIN10 SIN10 SIN10 SIN10
#define UUID  "01900000-0000-7000-8000-000000000021"

/* ---------------------------------------------------------------- fields */

#define BASE .package_id = UUID, .user_identifier = "123456", .quantity = 1

static const struct {
    const char *title;
    struct order_new o;
    rc want;
    const char *pointer;
} fields[] = {
    {"a plain order", {BASE}, OK, ""},
    {"everything given",
     {.product_id = UUID,
      .package_id = UUID,
      .user_identifier = "1",
      .extra_field = "654321",
      .quantity = 100,
      .callback_url = "https://shop.example:8443/cb?x=1",
      .reference = "A-1",
      .idempotency_key = "k"},
     OK,
     ""},
    {"no package", {.user_identifier = "1", .quantity = 1}, E_INVALID_FIELD, "/package_id"},
    {"a package that is no id",
     {.package_id = "42", .user_identifier = "1", .quantity = 1},
     E_INVALID_FIELD,
     "/package_id"},
    {"a product that is no id", {BASE, .product_id = "PUBG"}, E_INVALID_FIELD, "/product_id"},
    {"no player", {.package_id = UUID, .quantity = 1}, E_INVALID_FIELD, "/user_identifier"},
    {"an empty player",
     {.package_id = UUID, .user_identifier = "", .quantity = 1},
     E_INVALID_FIELD,
     "/user_identifier"},
    {"a blank player",
     {.package_id = UUID, .user_identifier = " \u00a0\u2003", .quantity = 1},
     E_INVALID_FIELD,
     "/user_identifier"},
    {"an Arabic name",
     {.package_id = UUID, .user_identifier = "لاعب محترف ٢٠", .quantity = 1},
     OK,
     ""},
    {"Turkish and emoji",
     {.package_id = UUID, .user_identifier = "Şükrü😀ığ", .quantity = 1},
     OK,
     ""},
    {"255 letters", {.package_id = UUID, .user_identifier = A250 "aaaaa", .quantity = 1}, OK, ""},
    {"256 letters",
     {.package_id = UUID, .user_identifier = A250 "aaaaaa", .quantity = 1},
     E_INVALID_FIELD,
     "/user_identifier"},
    {"255 Arabic letters are 510 bytes",
     {.package_id = UUID, .user_identifier = SIN50 SIN50 SIN50 SIN50 SIN50 "سسسسس", .quantity = 1},
     OK,
     ""},
    {"256 Arabic letters",
     {.package_id = UUID, .user_identifier = SIN50 SIN50 SIN50 SIN50 SIN50 "سسسسسس", .quantity = 1},
     E_INVALID_FIELD,
     "/user_identifier"},
    {"cut UTF-8",
     {.package_id = UUID, .user_identifier = "12\xd8", .quantity = 1},
     E_BAD_UTF8,
     "/user_identifier"},
    {"overlong UTF-8",
     {.package_id = UUID, .user_identifier = "\xc0\xaf", .quantity = 1},
     E_BAD_UTF8,
     "/user_identifier"},
    {"a line break",
     {.package_id = UUID, .user_identifier = "12\n3", .quantity = 1},
     E_INVALID_FIELD,
     "/user_identifier"},
    {"DEL",
     {.package_id = UUID, .user_identifier = "12\x7f", .quantity = 1},
     E_INVALID_FIELD,
     "/user_identifier"},
    {"a C1 control",
     {.package_id = UUID, .user_identifier = "12\xc2\x85", .quantity = 1},
     E_INVALID_FIELD,
     "/user_identifier"},
    {"a line separator",
     {.package_id = UUID, .user_identifier = "12\u2028", .quantity = 1},
     E_INVALID_FIELD,
     "/user_identifier"},
    {"a right-to-left override",
     {.package_id = UUID, .user_identifier = "12\u202e34", .quantity = 1},
     E_INVALID_FIELD,
     "/user_identifier"},
    {"a left-to-right mark in front",
     {.package_id = UUID, .user_identifier = "\u200e1234", .quantity = 1},
     E_INVALID_FIELD,
     "/user_identifier"},
    {"an isolate around digits",
     {.package_id = UUID, .user_identifier = "\u20661234\u2069", .quantity = 1},
     E_INVALID_FIELD,
     "/user_identifier"},
    {"an Arabic letter mark",
     {.package_id = UUID, .user_identifier = "1\u061c2", .quantity = 1},
     E_INVALID_FIELD,
     "/user_identifier"},
    {"a byte order mark",
     {.package_id = UUID, .user_identifier = "\ufeff12", .quantity = 1},
     E_INVALID_FIELD,
     "/user_identifier"},
    {"a zero-width space",
     {.package_id = UUID, .user_identifier = "1\u200b2", .quantity = 1},
     E_INVALID_FIELD,
     "/user_identifier"},
    {"an empty extra field", {BASE, .extra_field = ""}, OK, ""},
    {"an extra field of 256",
     {BASE, .extra_field = A250 "aaaaaa"},
     E_INVALID_FIELD,
     "/extra_field"},
    {"a tab in the extra field", {BASE, .extra_field = "a\tb"}, E_INVALID_FIELD, "/extra_field"},
    {"quantity 0",
     {.package_id = UUID, .user_identifier = "1", .quantity = 0},
     E_INVALID_FIELD,
     "/quantity"},
    {"quantity -1",
     {.package_id = UUID, .user_identifier = "1", .quantity = -1},
     E_INVALID_FIELD,
     "/quantity"},
    {"quantity 101",
     {.package_id = UUID, .user_identifier = "1", .quantity = 101},
     E_INVALID_FIELD,
     "/quantity"},
    {"a callback by ftp", {BASE, .callback_url = "ftp://x/"}, E_INVALID_FIELD, "/callback_url"},
    {"a callback without a host",
     {BASE, .callback_url = "https:///cb"},
     E_INVALID_FIELD,
     "/callback_url"},
    {"a callback with only a port",
     {BASE, .callback_url = "https://:80/cb"},
     E_INVALID_FIELD,
     "/callback_url"},
    {"a callback with a user",
     {BASE, .callback_url = "https://u:p@shop.example/"},
     E_INVALID_FIELD,
     "/callback_url"},
    {"a callback with an @ in its path",
     {BASE, .callback_url = "https://shop.example/@me"},
     OK,
     ""},
    {"a callback with a space",
     {BASE, .callback_url = "https://shop.example/a b"},
     E_INVALID_FIELD,
     "/callback_url"},
    {"a callback in Arabic letters",
     {BASE, .callback_url = "https://متجر.example/"},
     E_INVALID_FIELD,
     "/callback_url"},
    {"an empty callback", {BASE, .callback_url = ""}, E_INVALID_FIELD, "/callback_url"},
    {"a relative callback", {BASE, .callback_url = "/cb"}, E_INVALID_FIELD, "/callback_url"},
    {"an empty reference", {BASE, .reference = ""}, E_INVALID_FIELD, "/reference"},
    {"a reference of 129",
     {BASE, .reference = A50 A50 A10 A10 "aaaaaaaaa"},
     E_INVALID_FIELD,
     "/reference"},
    {"a key of 256", {BASE, .idempotency_key = A250 "aaaaaa"}, E_INVALID_FIELD, "/idempotency_key"},
};

START_TEST(fields_are_judged)
{
    _cleanup_(cx_release) struct cx cx = CX_PLAIN("test");
    rc r = order_new_check(&cx, &fields[_i].o);

    ck_assert_msg(r == fields[_i].want, "%s: %s", fields[_i].title, r ? cx_words(&cx, r) : "taken");
    if (r != OK)
        ck_assert_msg(strcmp(cx.err.pointer, fields[_i].pointer) == 0, "%s: at %s",
                      fields[_i].title, cx.err.pointer);
}
END_TEST

/* ---------------------------------------------------------------- the order out of its units */

#define U(unit_, status_)                                                                          \
    {                                                                                              \
        .unit = (unit_), .status = PLACEMENT_##status_                                             \
    }
#define GAVE_UP(unit_)                                                                             \
    {                                                                                              \
        .unit = (unit_), .status = PLACEMENT_FAILED, .gave_up = true                               \
    }

static const struct {
    const char *title;
    int quantity;
    struct placement p[4];
    size_t n;
    enum order_status want;
} units[] = {
    {"nothing placed", 1, {{0}}, 0, ORDER_PENDING},
    {"under way", 1, {U(1, SENDING)}, 1, ORDER_SENDING},
    {"never left us", 1, {U(1, UNSENT)}, 1, ORDER_PENDING},
    {"accepted", 1, {U(1, SENT)}, 1, ORDER_SENT},
    {"doubt", 1, {U(1, UNCONFIRMED)}, 1, ORDER_UNCONFIRMED},
    {"delivered", 1, {U(1, COMPLETED)}, 1, ORDER_COMPLETED},
    {"refused, another may be tried", 1, {U(1, FAILED)}, 1, ORDER_PENDING},
    {"refused, nobody is left", 1, {GAVE_UP(1)}, 1, ORDER_FAILED},
    {"a person must decide", 1, {U(1, REVIEW)}, 1, ORDER_REVIEW},
    {"the later try counts", 1, {U(1, FAILED), U(1, COMPLETED)}, 2, ORDER_COMPLETED},
    {"the later try is under way", 1, {U(1, FAILED), U(1, SENDING)}, 2, ORDER_SENDING},
    {"one of two placed", 2, {U(1, SENT)}, 1, ORDER_SENT},
    {"one of two delivered, the other waits", 2, {U(1, COMPLETED)}, 1, ORDER_SENT},
    {"one of two in review, the other waits", 2, {U(1, REVIEW)}, 1, ORDER_SENT},
    {"one of two given up, the other waits", 2, {GAVE_UP(1)}, 1, ORDER_PENDING},
    {"a call outweighs a doubt",
     3,
     {U(1, UNCONFIRMED), U(2, SENDING), U(3, SENT)},
     3,
     ORDER_SENDING},
    {"a doubt outweighs what is sent", 2, {U(1, SENT), U(2, UNCONFIRMED)}, 2, ORDER_UNCONFIRMED},
    {"what is open outweighs a review", 2, {U(1, REVIEW), U(2, SENT)}, 2, ORDER_SENT},
    {"delivered and in review", 2, {U(1, COMPLETED), U(2, REVIEW)}, 2, ORDER_REVIEW},
    {"a part delivered, a part not", 2, {U(1, COMPLETED), GAVE_UP(2)}, 2, ORDER_REVIEW},
    {"all delivered",
     3,
     {U(1, COMPLETED), U(2, FAILED), U(2, COMPLETED), U(3, COMPLETED)},
     4,
     ORDER_COMPLETED},
    {"all given up", 2, {GAVE_UP(1), GAVE_UP(2)}, 2, ORDER_FAILED},
};

START_TEST(units_make_the_order)
{
    enum order_status s = placements_settle(units[_i].p, units[_i].n, units[_i].quantity);

    ck_assert_msg(s == units[_i].want, "%s: %s", units[_i].title, order_status_word(s));
}
END_TEST

/* ---------------------------------------------------------------- the extra field */

static const struct {
    const char *extra, *player, *phone;
} extras[] = {
    {NULL, "P", NULL},
    {"", "P", NULL},
    {"905321112233", "P", "905321112233"},
    {"+905321112233", "P", "+905321112233"},
    {"123456789", "P", "123456789"},
    {"12345678", "12345678 P", NULL},
    {"123456789012345", "P", "123456789012345"},
    {"1234567890123456", "1234567890123456 P", NULL},
    {"+", "+ P", NULL},
    {"0532 111 22 33", "0532 111 22 33 P", NULL},
    {"٠٥٣٢١١١٢٢٣٣", "٠٥٣٢١١١٢٢٣٣ P", NULL},
    {"server 3", "server 3 P", NULL},
};

START_TEST(extra_goes_where_it_belongs)
{
    _cleanup_(cx_release) struct cx cx = CX_PLAIN("test");
    const char *player, *phone;

    extra_apply(&cx, "P", extras[_i].extra, &player, &phone);
    ck_assert_str_eq(player, extras[_i].player);
    ck_assert_pstr_eq(phone, extras[_i].phone);
}
END_TEST

START_TEST(words_round_trip)
{
    for (int i = 0; i < ORDER_STATUS_COUNT; i++) {
        enum order_status s;
        ck_assert(order_status_parse(order_status_word((enum order_status)i), &s));
        ck_assert_int_eq((int)s, i);
    }
    enum order_status s;
    ck_assert(!order_status_parse("Pending", &s) && !order_status_parse("", &s) &&
              !order_status_parse(NULL, &s));
}
END_TEST

UNIT(order_check, {"fields", fields_are_judged, COUNT(fields)},
     {"units", units_make_the_order, COUNT(units)},
     {"extra field", extra_goes_where_it_belongs, COUNT(extras)}, {"words", words_round_trip, 0})
