/* order_ways.h - every way in which a provider can take an order, and how the order must end: a row each.
 *
 * The good carries the stand-in's switches (tests/sim/README.md); `delivered` is what its ledger must show. */
#pragma once
#include "domain/orders/order_flow.h"

enum at {
    ZNET,
    MERGING,
    ZDK,
    ATS
}; /* MERGING: a znet whose owner says that it refuses duplicates (may_resend) */

struct way {
    const char *title;
    enum at at;
    const char *good;     /* kupur (znet) or product id (zdk), with its switches */
    const char *fallback; /* a zdk good; NULL: none */
    int quantity;         /* 0: one */
    const char *extra;
    const char *status;
    int delivered;    /* by all stand-ins together */
    bool by_fallback; /* completed there */
    bool pin;         /* one is there */
    const char *note; /* part of the order's note */
    int placements;   /* rows of order_placements; 0: as many as units */
};
#define COMPLETED "completed", 1, false, true
#define FELL_BACK "completed", 1, true, true

static const struct way ways[] = {
    /* znet, all well */
    {"a PIN", ZNET, "60", NULL, 0, NULL, COMPLETED, "Yüklendi"},
    {"a direct top-up has no PIN", ZNET, "100", NULL, 0, NULL, "completed", 1, false, false, NULL},
    {"three units", ZNET, "60", NULL, 3, NULL, "completed", 3, false, true, NULL},
    {"an extra field goes before the player", ZNET, "60", NULL, 0, "654321", COMPLETED, NULL},
    {"a phone in the extra field", ZNET, "60", NULL, 0, "+905551234567", COMPLETED, NULL},
    /* Q1 to Q7, Q15 to Q17: how it says it */
    {"Q1 login text when placing, once", ZNET, "60~place.auth=refuse*1;place.denied=login", NULL, 0,
     NULL, COMPLETED, NULL},
    {"Q1 IP text when placing, once", ZNET, "60~place.auth=refuse*1;place.denied=ip", NULL, 0, NULL,
     COMPLETED, NULL},
    {"Q1 silence when placing", ZNET, "60~place.auth=refuse;place.denied=empty", NULL, 0, NULL,
     "review", 0, false, false, "cannot be decided"},
    {"Q1 IP text when asked is no cancel", ZNET, "60~status.auth=refuse*2;status.denied=ip", NULL,
     0, NULL, COMPLETED, NULL},
    {"Q1 login text when asked is no cancel", ZNET, "60~status.auth=refuse*2;status.denied=login",
     "101", 0, NULL, COMPLETED, NULL},
    {"Q1 silence when asked", ZNET, "60~status.auth=refuse*2;status.denied=empty", "101", 0, NULL,
     COMPLETED, NULL},
    {"Q2 a page when placing", ZNET, "60~place.fault=html", "101", 0, NULL, COMPLETED, NULL},
    {"Q2 a page when asked", ZNET, "60~status.fault=html*2", "101", 0, NULL, COMPLETED, NULL},
    {"Q3 white space", ZNET, "60~wrap=space", NULL, 0, NULL, COMPLETED, NULL},
    {"Q3 line ends", ZNET, "60~wrap=newline", NULL, 0, NULL, COMPLETED, NULL},
    {"Q3 BOM", ZNET, "60~wrap=bom", NULL, 0, NULL, COMPLETED, NULL},
    {"Q4 a space for no PIN", ZNET, "100~no_pin=space", NULL, 0, NULL, "completed", 1, false, false,
     NULL},
    {"Q4 a dash for no PIN", ZNET, "100~no_pin=dash", NULL, 0, NULL, "completed", 1, false, false,
     NULL},
    {"Q4 a dash in spaces for no PIN", ZNET, "100~no_pin=spaced", NULL, 0, NULL, "completed", 1,
     false, false, NULL},
    {"Q4 a cancel with its reason in the PIN field", ZNET, "60~outcome=cancel;reason_in_pin=yes",
     NULL, 0, NULL, "failed", 0, false, false, "Oyuncu bulunamadı"},
    {"Q5 bars in the words", ZNET, "60~text=pipe", NULL, 0, NULL, COMPLETED, "a | b"},
    {"Q5 long words", ZNET, "60~text=long", NULL, 0, NULL, COMPLETED, NULL},
    {"Q6 percent-encoded words", ZNET, "60~encoding=percent", NULL, 0, NULL, COMPLETED,
     "Yüklendi - ONAYLANDI"},
    {"Q7 comma, four places, negative", ZNET, "60~decimal=comma;places=4;cost=minus", NULL, 0, NULL,
     COMPLETED, NULL},
    {"Q15 slow", ZNET, "60~latency=300", NULL, 0, NULL, COMPLETED, NULL},
    {"Q16 lower case", ZNET, "60~case=lower", NULL, 0, NULL, COMPLETED, NULL},
    {"Q17 windows-1254", ZNET, "60~encoding=cp1254", NULL, 0, NULL, COMPLETED,
     "Yüklendi - ONAYLANDI"},
    /* Q8, Q13: refused */
    {"Q8 an unknown kupur", ZNET, "61", NULL, 0, NULL, "failed", 0, false, false,
     "Kupur Bilgisi Bulunamad"},
    {"Q8 an unknown kupur, the fallback", ZNET, "61", "101", 0, NULL, FELL_BACK, NULL, 2},
    {"Q13 no balance", ZNET, "60~refuse=balance", NULL, 0, NULL, "failed", 0, false, false,
     "Bakiye"},
    {"Q13 no balance, the fallback", ZNET, "60~refuse=balance", "101", 0, NULL, FELL_BACK, NULL, 2},
    {"out of stock, refused by the fallback too", ZNET, "60~refuse=stock", "101~refuse=110", 0,
     NULL, "failed", 0, false, false, NULL, 2},
    {"two units refused, both fall back", ZNET, "60~refuse=unavailable", "101", 2, NULL,
     "completed", 2, true, true, NULL, 4},
    {"code 8 with words of balance is no refusal", ZNET, "60~refuse=balance8", "101", 0, NULL,
     "review", 0, false, false, NULL},
    /* Q11: taken or not, and the answer lost */
    {"Q11 reset, taken", ZNET, "60~place.fault=reset", "101", 0, NULL, COMPLETED, NULL},
    {"Q11 reset, not taken", ZNET, "60~place.fault=reset;place.accepts=no", "101", 0, NULL,
     "review", 0, false, false, "cannot be decided"},
    {"Q11 reset, arrives late", ZNET, "60~place.fault=reset;accept_after=800", "101", 0, NULL,
     COMPLETED, NULL},
    {"Q11 closed, taken", ZNET, "60~place.fault=close", "101", 0, NULL, COMPLETED, NULL},
    {"Q11 silence, taken", ZNET, "60~place.fault=hang", "101", 0, NULL, COMPLETED, NULL},
    {"Q11 silence, not taken", ZNET, "60~place.fault=hang;place.accepts=no", "101", 0, NULL,
     "review", 0, false, false, NULL},
    {"Q11 empty, taken", ZNET, "60~place.fault=empty", "101", 0, NULL, COMPLETED, NULL},
    {"Q11 garbage, taken", ZNET, "60~place.fault=garbage", "101", 0, NULL, COMPLETED, NULL},
    {"Q11 cut, taken", ZNET, "60~place.fault=cut", "101", 0, NULL, COMPLETED, NULL},
    {"Q11 404, taken", ZNET, "60~place.fault=404", "101", 0, NULL, COMPLETED, NULL},
    {"Q11 429, taken", ZNET, "60~place.fault=429", "101", 0, NULL, COMPLETED, NULL},
    {"Q11 500, taken", ZNET, "60~place.fault=500", "101", 0, NULL, COMPLETED, NULL},
    {"Q11 502, not taken", ZNET, "60~place.fault=502;place.accepts=no", "101", 0, NULL, "review", 0,
     false, false, NULL},
    {"Q11 503, taken", ZNET, "60~place.fault=503", "101", 0, NULL, COMPLETED, NULL},
    {"an answer later than the time limit", ZNET, "60~place.latency=1500", "101", 0, NULL,
     COMPLETED, NULL},
    {"lost, and never told when asked", ZNET, "60~place.fault=reset;status.fault=empty", "101", 0,
     NULL, "review", 1, false, false, NULL},
    {"lost, and cancelled there: the fallback", ZNET, "60~place.fault=reset;outcome=cancel", "101",
     0, NULL, FELL_BACK, NULL, 2},
    /* Q12: how it ends */
    {"Q12 at the third question", ZNET, "60~settle_ms=-1;settle_polls=3", NULL, 0, NULL, COMPLETED,
     NULL},
    {"Q12 words that change", ZNET, "60~text=changing;settle_ms=600", NULL, 0, NULL, COMPLETED,
     NULL},
    {"Q12 cancelled", ZNET, "60~outcome=cancel", NULL, 0, NULL, "failed", 0, false, false, "iptal"},
    {"Q12 cancelled, the fallback", ZNET, "60~outcome=cancel", "101", 0, NULL, FELL_BACK, NULL, 2},
    {"Q12 two units cancelled, the fallback", ZNET, "60~outcome=cancel", "101", 2, NULL,
     "completed", 2, true, true, NULL, 4},
    {"never ended: the day is over", ZNET, "60~settle_ms=-1", "101", 0, NULL, "failed", 0, false,
     false, ORDER_TIMEOUT_NOTE},
    {"asked in vain for a day", ZNET, "60~query=refuse", "101", 0, NULL, "failed", 1, false, false,
     ORDER_TIMEOUT_NOTE},
    {"a code when asked", ZNET, "60~query=code9*2", "101", 0, NULL, COMPLETED, NULL},
    {"errors when asked", ZNET, "60~status.fault=503*2", "101", 0, NULL, COMPLETED, NULL},
    {"resets when asked", ZNET, "60~status.fault=reset*2", "101", 0, NULL, COMPLETED, NULL},

    /* Q9: a panel that refuses duplicates, by its owner's word: the same reference again */
    {"Q9 sent again after it was lost", MERGING, "60~place.fault=reset*1;place.accepts=no*1", "101",
     0, NULL, COMPLETED, NULL},
    {"Q9 code 4 for what arrived late", MERGING,
     "60~place.fault=reset*1;accept_after=400;duplicate=code4", "101", 0, NULL, COMPLETED, NULL},
    {"Q9 code 8", MERGING, "60~place.fault=reset*1;accept_after=400;duplicate=code8", "101", 0,
     NULL, COMPLETED, NULL},
    {"Q9 code 3 with words", MERGING, "60~place.fault=reset*1;accept_after=400;duplicate=code3",
     "101", 0, NULL, COMPLETED, NULL},
    {"lost and taken: asked, not sent again", MERGING, "60~place.fault=reset", "101", 0, NULL,
     COMPLETED, NULL},

    /* the ZDK family */
    {"zdk", ZDK, "101", NULL, 0, NULL, COMPLETED, NULL},
    {"zdk, three units", ZDK, "101", NULL, 3, NULL, "completed", 3, false, true, NULL},
    {"zdk, done at once", ZDK, "101~settle_ms=0", NULL, 0, NULL, COMPLETED, NULL},
    {"zdk, plain words", ZDK, "101~words=plain;top=word", NULL, 0, NULL, COMPLETED, NULL},
    {"zdk, other words", ZDK, "101~words=done;top=none", NULL, 0, NULL, COMPLETED, NULL},
    {"zdk, upper case", ZDK, "101~words=upper", NULL, 0, NULL, COMPLETED, NULL},
    {"zdk, PIN in code", ZDK, "101~pin=code", NULL, 0, NULL, COMPLETED, NULL},
    {"zdk, PIN in serial", ZDK, "101~pin=serial;price=number", NULL, 0, NULL, COMPLETED, NULL},
    {"zdk, PIN in replay", ZDK, "101~pin=replay", NULL, 0, NULL, COMPLETED, NULL},
    {"zdk, rejected", ZDK, "101~outcome=cancel", NULL, 0, NULL, "failed", 0, false, false, NULL},
    {"zdk, no balance", ZDK, "101~refuse=100", NULL, 0, NULL, "failed", 0, false, false,
     "Insufficient balance"},
    {"zdk, player blocked, other names", ZDK, "101~refuse=107;error_keys=errorCode", NULL, 0, NULL,
     "failed", 0, false, false, NULL},
    {"zdk, unknown product", ZDK, "999", NULL, 0, NULL, "failed", 0, false, false,
     "Product not found"},
    {"zdk, in a minute", ZDK, "101~refuse=111*2", NULL, 0, NULL, COMPLETED, NULL},
    {"zdk, maintenance", ZDK, "101~refuse=130*2", NULL, 0, NULL, COMPLETED, NULL},
    {"zdk, token refused once", ZDK, "101~place.auth=refuse*1", NULL, 0, NULL, COMPLETED, NULL},
    {"zdk, an error that means nothing, once", ZDK, "101~refuse=114*1", NULL, 0, NULL, COMPLETED,
     NULL},
    {"zdk, an error that means nothing", ZDK, "101~refuse=500", NULL, 0, NULL, "review", 0, false,
     false, NULL},
    {"zdk, reset and not taken: sent again", ZDK, "101~place.fault=reset*1;place.accepts=no*1",
     NULL, 0, NULL, COMPLETED, NULL},
    {"zdk, reset and taken", ZDK, "101~place.fault=reset", NULL, 0, NULL, COMPLETED, NULL},
    {"zdk, reset and late: merged", ZDK, "101~place.fault=reset*1;accept_after=400", NULL, 0, NULL,
     COMPLETED, NULL},
    {"zdk, silence", ZDK, "101~place.fault=hang*1", NULL, 0, NULL, COMPLETED, NULL},
    {"zdk, 502 and not taken: sent again", ZDK, "101~place.fault=502*1;place.accepts=no*1", NULL, 0,
     NULL, COMPLETED, NULL},
    {"zdk, asked in vain twice", ZDK, "101~query=refuse*2", NULL, 0, NULL, COMPLETED, NULL},
    {"zdk, a word nobody knows", ZDK, "101~query=word*2", NULL, 0, NULL, COMPLETED, NULL},
};
