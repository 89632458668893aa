/* test_provider_noise.c - answers with bytes changed, lost, doubled and cut: whatever a provider
 * writes, what we keep of it is valid UTF-8 within its bounds, and no parser reads past its end. */
#include "base/text.h"
#include "tests/unit/unit.h"
#include "worker/providers/generic_parse.h"
#include "worker/providers/znet_parse.h"
#include <stdlib.h>
#include <string.h>

#define ROUNDS 1500
#define ROOM   4096

static const char *const seeds[] = {
    "OK|10.12|980.88",
    "OK|2|AB12-CD34|Açıklama",
    "OK|3|ip geçersiz|0.00",
    "3|Kupur Bilgisi Bulunamadı",
    "OK|3| |Y%C3%BCklendi+-X",
    "\xef\xbb\xbfOK|1|-|x\r\n",
    "<html>",
    "{\"success\":true,\"result\":[{\"id\":\"2\",\"adi\":\"<b>PUBG &amp; "
    "325</b>\",\"fiyat\":\"35\","
    "\"kupur\":\"325\",\"oyun_bilgi_id\":\"1\"}],\"error\":null}",
    "{\"status\":\"OK\",\"data\":{\"order_id\":\"ID_1\",\"status\":\"accept\",\"price\":\"45.50\","
    "\"replay_api\":[{\"replay\":[\"PIN-1\"]}],\"pin\":\"abc\"}}",
    "{\"status\":\"OK\",\"data\":[{\"status\":\"wait\",\"price\":1.5}]}",
    "{\"status\":\"ERROR\",\"code\":100,\"message\":\"x\"}",
    "[{\"id\":1,\"name\":\"a\",\"price\":\"1\"}]",
    "{\"balance\":\"1.5\"}",
};

static unsigned below(unsigned *state, unsigned n)
{
    *state = *state * 1103515245 + 12345; /* the same noise in every run */
    return (*state >> 8) % n;
}

static size_t noise(unsigned *state, char *b)
{
    const char *s = seeds[below(state, COUNT(seeds))];
    size_t n = strlen(s);

    memcpy(b, s, n);
    for (unsigned i = below(state, 6); i; i--) {
        size_t at = n ? below(state, (unsigned)n) : 0;
        switch (below(state, 5)) {
        case 0: /* changed */
            b[at] = (char)below(state, 256);
            break;
        case 1: /* lost */
            memmove(b + at, b + at + 1, n > at ? n - at - 1 : 0);
            n -= n > 0;
            break;
        case 2: /* put in */
            if (n + 1 < ROOM) {
                memmove(b + at + 1, b + at, n - at);
                b[at] = "|%\"{}[],:OK0123\xc3\x9d\0\n"[below(state, 20)];
                n++;
            }
            break;
        case 3: /* cut */
            n = at;
            break;
        case 4: /* doubled */
            if (n * 2 < ROOM) {
                memcpy(b + n, b, n);
                n *= 2;
            }
        }
    }
    return n;
}

static void check_text(const char *s, size_t max)
{
    if (s) {
        ck_assert(utf8_valid(s, strlen(s)));
        ck_assert_uint_le(strlen(s), max);
    }
}

static void check(const struct answer *a)
{
    ck_assert_ptr_nonnull(a->row);
    check_text(a->note, ANSWER_NOTE_MAX);
    check_text(a->verbatim, ANSWER_VERBATIM_MAX);
    check_text(a->code, 64);
    check_text(a->cost, 32);
    check_text(a->provider_order_id, 128);
    for (size_t i = 0; i < a->npins; i++) {
        check_text(a->pins[i], ANSWER_PIN_MAX);
        ck_assert(a->pins[i][0]);
    }
}

START_TEST(any_bytes)
{
    _cleanup_(cx_release) struct cx boot = CX_PLAIN("boot");
    cJSON *settings, *credentials, *config;
    unsigned state = (unsigned)_i + 1;
    char bytes[ROOM];

    ck_assert_int_eq(json_parse(&boot, "{\"preset\":\"zdk\"}", 16, ROOM, &settings), OK);
    ck_assert_int_eq(json_parse(&boot, "{\"token\":\"t\"}", 13, ROOM, &credentials), OK);
    ck_assert_int_eq(generic_config_read(&boot, settings, credentials, &config), OK);
    for (int i = 0; i < ROUNDS; i++) {
        _cleanup_(cx_release) struct cx cx = CX_PLAIN("noise");
        struct http_response r = {.outcome = HTTP_ANSWERED, .status = 200, .body = BUF(ROOM)};
        struct balance_answer balance;
        struct catalogue_answer list;
        struct answer a;

        buf_append(&r.body, bytes, noise(&state, bytes));
        znet_parse_place(&cx.arena, &r, &a);
        check(&a);
        znet_parse_status(&cx.arena, &r, &a);
        check(&a);
        znet_parse_balance(&cx.arena, &r, &balance);
        check(&balance.answer);
        znet_parse_catalogue(&cx, &r, &list);
        check(&list.answer);
        generic_parse_place(&cx, config, &r, &a);
        check(&a);
        generic_parse_status(&cx, config, &r, &a);
        check(&a);
        generic_parse_balance(&cx, config, &r, &balance);
        check(&balance.answer);
        generic_parse_catalogue(&cx, config, &r, &list);
        check(&list.answer);
        buf_release(&r.body);
    }
}
END_TEST

UNIT(provider_noise, {"any bytes", any_bytes, 4})
