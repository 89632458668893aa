/* fuzz_cron.c - five fields in a zone: refused, or due at moments that go forward and that are due. */
#include "domain/clock/cron.h"
#include "domain/clock/tz.h"
#include "tests/fuzz/fuzz.h"

static const char *const zones[] = {"UTC", "Asia/Damascus", "Europe/Berlin", "America/New_York",
                                    "Australia/Lord_Howe"};

FUZZ(data, n)
{
    _cleanup_(cx_release) struct cx cx = CX_PLAIN("fuzz");
    struct due_rule rule;
    int64_t at;

    if (n < 6)
        return 0;
    /* Zone, hours since 1970 (up to 2149), then the text. */
    const char *zone = zones[data[0] % COUNT(zones)];
    uint32_t hour = ((uint32_t)data[1] << 16 | (uint32_t)data[2] << 8 | data[3]) % 1577880;
    _cleanup_(freep) char *text = fuzz_text(data + 4, n - 4);
    if (due_rule_make(&cx, text, 0, zone, 0, &rule) != OK)
        return 0;
    at = (int64_t)hour * 3600000;
    for (int i = 0; i < 4; i++) {
        int64_t next, twice;
        if (!due_next(&rule, at, &next))
            break;
        FUZZ_MUST(next > at && next % 60000 == 0);
        FUZZ_MUST(next - at <= INT64_C(9) * 366 * 86400000);
        FUZZ_MUST(due_next(&rule, next - 1, &twice) && twice == next);
        FUZZ_MUST(due_last(&rule, next, next + 59999) == next);
        at = next;
    }
    return 0;
}
