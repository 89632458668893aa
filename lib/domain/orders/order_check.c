/* order_check.c - what can be judged of a new order without the database.
 *
 * A player id is charged as it is written, so characters that nobody sees are refused instead of
 * guessed away: controls, and those that turn the direction of writing or have no width (they come
 * along when text is copied out of a right-to-left page). */
#include "base/text.h"
#include "domain/orders/order_create.h"
#include <string.h>

/* The code point at *s (valid UTF-8), and *s moves behind it. */
static uint32_t next_char(const char **s)
{
    const unsigned char *p = (const unsigned char *)*s;
    int more = p[0] < 0x80 ? 0 : p[0] < 0xe0 ? 1 : p[0] < 0xf0 ? 2 : 3;
    uint32_t c = more == 0 ? p[0] : p[0] & (0x3fu >> more);

    for (int i = 1; i <= more; i++)
        c = c << 6 | (p[i] & 0x3f);
    *s += more + 1;
    return c;
}

static bool is_control(uint32_t c)
{
    return c < 0x20 || (c >= 0x7f && c < 0xa0) || c == 0x2028 || c == 0x2029;
}

static bool is_invisible(uint32_t c)
{
    return c == 0xad || c == 0x61c || (c >= 0x200b && c <= 0x200f) ||
           (c >= 0x202a && c <= 0x202e) || (c >= 0x2060 && c <= 0x2069) || c == 0xfeff;
}

static bool is_blank(uint32_t c)
{
    return c == ' ' || c == 0xa0 || c == 0x3000 || (c >= 0x2000 && c <= 0x200a) || c == 0x202f ||
           c == 0x205f;
}

static rc check_text(struct cx *cx, const char *pointer, const char *s, size_t max, bool required)
{
    bool blank = true;

    if (str_empty(s))
        return required ? fail_at(cx, INVALID_FIELD, pointer, "must not be empty") : OK;
    if (!utf8_valid(s, strlen(s)))
        return fail_at(cx, BAD_UTF8, pointer, "is not valid UTF-8");
    if (utf8_len(s) > max)
        return fail_at(cx, INVALID_FIELD, pointer, "must have at most %zu characters", max);
    while (*s) {
        uint32_t c = next_char(&s);
        if (is_control(c))
            return fail_at(cx, INVALID_FIELD, pointer, "must not contain control characters");
        if (is_invisible(c))
            return fail_at(cx, INVALID_FIELD, pointer, "contains an invisible character (U+%04X)",
                           c);
        blank = blank && is_blank(c);
    }
    if (blank)
        return fail_at(cx, INVALID_FIELD, pointer, "must not be blank");
    return OK;
}

static rc check_id(struct cx *cx, const char *pointer, const char *s)
{
    char id[ID_LEN + 1];

    if (!s || !id_parse(s, id))
        return fail_at(cx, INVALID_FIELD, pointer, "must be a UUID");
    return OK;
}

/* Whether the address may be called is judged where it is resolved; here only its form. */
static rc check_url(struct cx *cx, const char *pointer, const char *s)
{
    if (!s)
        return OK;
    try(check_text(cx, pointer, s, ORDER_URL_MAX, /* required= */ true));
    const char *host = starts_with(s, "https://")  ? s + 8
                       : starts_with(s, "http://") ? s + 7
                                                   : NULL;
    if (!host)
        return fail_at(cx, INVALID_FIELD, pointer, "must begin with https:// or http://");
    size_t n = strcspn(host, "/?#");
    if (n == 0 || memchr(host, '@', n) || host[0] == ':')
        return fail_at(cx, INVALID_FIELD, pointer, "must name a host, and no user");
    for (const char *p = s; *p; p++) {
        if ((unsigned char)*p <= ' ' || (unsigned char)*p >= 0x7f || strchr("\"<>\\^`{|}", *p))
            return fail_at(cx, INVALID_FIELD, pointer,
                           "contains a character that must be percent-encoded");
    }
    return OK;
}

/* Keys and references of programs: printable, no blanks at the ends. */
static rc check_key(struct cx *cx, const char *pointer, const char *s, size_t max)
{
    if (!s)
        return OK;
    return check_text(cx, pointer, s, max, /* required= */ true);
}

rc order_new_check(struct cx *cx, const struct order_new *o)
{
    if (o->product_id)
        try(check_id(cx, "/product_id", o->product_id));
    try(check_id(cx, "/package_id", o->package_id));
    try(check_text(cx, "/user_identifier", o->user_identifier, ORDER_TEXT_MAX,
                   /* required= */ true));
    try(check_text(cx, "/extra_field", o->extra_field, ORDER_TEXT_MAX, /* required= */ false));
    if (o->quantity < 1 || o->quantity > ORDER_QUANTITY_MAX)
        return fail_at(cx, INVALID_FIELD, "/quantity", "must be 1 to %d", ORDER_QUANTITY_MAX);
    try(check_url(cx, "/callback_url", o->callback_url));
    try(check_key(cx, "/reference", o->reference, ORDER_REFERENCE_MAX));
    try(check_key(cx, "/idempotency_key", o->idempotency_key, IDEMPOTENCY_KEY_MAX));
    return OK;
}
