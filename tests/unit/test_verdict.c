/* test_verdict.c - what an answer means for a placement: every kind of answer, doubted or not, at every age. */
#include "tests/unit/unit.h"
#include "worker/tasks/verdict.h"

#define HOUR 3600000LL

static const struct {
    const char *title;
    enum placement_status status;
    int64_t age_ms;
    bool may_resend;
    enum answer_kind answer;
    enum verdict want;
} cases[] = {
    {"sent, pending", PLACEMENT_SENT, 0, false, ANSWER_PENDING, VERDICT_OPEN},
    {"sent, done", PLACEMENT_SENT, 0, false, ANSWER_DONE, VERDICT_DONE},
    {"sent, failed", PLACEMENT_SENT, 0, false, ANSWER_FAILED, VERDICT_REJECTED},
    {"sent, unknown reference proves nothing", PLACEMENT_SENT, 7 * HOUR, true,
     ANSWER_UNKNOWN_REFERENCE, VERDICT_NOTHING},
    {"sent, silence", PLACEMENT_SENT, 23 * HOUR, false, ANSWER_UNCLEAR, VERDICT_NOTHING},
    {"sent, trouble", PLACEMENT_SENT, 0, false, ANSWER_TROUBLE, VERDICT_NOTHING},
    {"sent, never reached", PLACEMENT_SENT, 0, false, ANSWER_NOT_SENT, VERDICT_NOTHING},
    {"sent, a day, silence", PLACEMENT_SENT, 24 * HOUR, false, ANSWER_UNCLEAR, VERDICT_TIMED_OUT},
    {"sent, a day, unknown", PLACEMENT_SENT, 24 * HOUR, true, ANSWER_UNKNOWN_REFERENCE,
     VERDICT_TIMED_OUT},
    {"sent, a day, pending", PLACEMENT_SENT, 24 * HOUR, false, ANSWER_PENDING,
     VERDICT_OPEN_TIMED_OUT},
    {"sent, a day, done after all", PLACEMENT_SENT, 25 * HOUR, false, ANSWER_DONE, VERDICT_DONE},
    {"sent, a day, failed after all", PLACEMENT_SENT, 25 * HOUR, false, ANSWER_FAILED,
     VERDICT_REJECTED},
    {"doubted, pending: it has arrived", PLACEMENT_UNCONFIRMED, 0, false, ANSWER_PENDING,
     VERDICT_OPEN},
    {"doubted, pending, late for review", PLACEMENT_UNCONFIRMED, 7 * HOUR, false, ANSWER_PENDING,
     VERDICT_OPEN},
    {"doubted, done", PLACEMENT_UNCONFIRMED, 7 * HOUR, false, ANSWER_DONE, VERDICT_DONE},
    {"doubted, failed", PLACEMENT_UNCONFIRMED, 0, false, ANSWER_FAILED, VERDICT_REJECTED},
    {"doubted, unknown: not sent again", PLACEMENT_UNCONFIRMED, 0, false, ANSWER_UNKNOWN_REFERENCE,
     VERDICT_NOTHING},
    {"doubted, unknown: sent again where duplicates merge", PLACEMENT_UNCONFIRMED, 0, true,
     ANSWER_UNKNOWN_REFERENCE, VERDICT_RESEND},
    {"doubted, silence: never sent again", PLACEMENT_UNCONFIRMED, 0, true, ANSWER_UNCLEAR,
     VERDICT_NOTHING},
    {"doubted, trouble: never sent again", PLACEMENT_UNCONFIRMED, 0, true, ANSWER_TROUBLE,
     VERDICT_NOTHING},
    {"doubted, not reached: never sent again", PLACEMENT_UNCONFIRMED, 0, true, ANSWER_NOT_SENT,
     VERDICT_NOTHING},
    {"doubted, unknown for long", PLACEMENT_UNCONFIRMED, 6 * HOUR, false, ANSWER_UNKNOWN_REFERENCE,
     VERDICT_REVIEW},
    {"doubted, unknown for long, even where duplicates merge", PLACEMENT_UNCONFIRMED, 6 * HOUR,
     true, ANSWER_UNKNOWN_REFERENCE, VERDICT_REVIEW},
    {"doubted, silence for long", PLACEMENT_UNCONFIRMED, 6 * HOUR, false, ANSWER_UNCLEAR,
     VERDICT_REVIEW},
    {"doubted, not reached for long: when it is back it can tell", PLACEMENT_UNCONFIRMED, 7 * HOUR,
     false, ANSWER_NOT_SENT, VERDICT_NOTHING},
    {"doubted, not reached for a day", PLACEMENT_UNCONFIRMED, 24 * HOUR, false, ANSWER_NOT_SENT,
     VERDICT_TIMED_OUT},
    {"doubted, a day", PLACEMENT_UNCONFIRMED, 24 * HOUR, false, ANSWER_UNCLEAR, VERDICT_TIMED_OUT},
    {"an answer to placing decides nothing here", PLACEMENT_SENT, 0, false, ANSWER_REFUSED,
     VERDICT_NOTHING},
};

static const struct verdict_rules rules = {.review_after_ms = 6 * HOUR,
                                           .order_timeout_ms = 24 * HOUR};
static const int64_t now = 1800000000000;

START_TEST(verdict)
{
    struct verdict_rules r = rules;
    struct placement p = {.status = cases[_i].status,
                          .sent_ms = now - cases[_i].age_ms,
                          .created_ms = now - 100 * HOUR};

    r.may_resend = cases[_i].may_resend;
    ck_assert_msg(verdict_of(&p, cases[_i].answer, &r, now) == cases[_i].want, "%s: %d",
                  cases[_i].title, (int)verdict_of(&p, cases[_i].answer, &r, now));
}
END_TEST

static const struct {
    const char *title;
    enum placement_status status;
    int64_t age_ms;
    int asked;
    int64_t least, most; /* from now */
} again[] = {
    {"first", PLACEMENT_SENT, 0, 1, 15000, 30000},
    {"third", PLACEMENT_SENT, 0, 3, 60000, 120000},
    {"capped", PLACEMENT_SENT, 0, 20, 300000, 600000},
    {"the end of the day decides", PLACEMENT_SENT, 24 * HOUR - 1000, 10, 1000, 1000},
    {"past it", PLACEMENT_SENT, 25 * HOUR, 1, 15000, 30000},
    {"review decides", PLACEMENT_UNCONFIRMED, 6 * HOUR - 2000, 10, 2000, 2000},
    {"not for what is sent", PLACEMENT_SENT, 6 * HOUR - 2000, 10, 300000, 600000},
    {"nobody asked yet", PLACEMENT_SENT, 0, 0, 15000, 30000},
};

START_TEST(ask_again)
{
    struct placement p = {.status = again[_i].status, .sent_ms = now - again[_i].age_ms};
    const uint64_t randoms[] = {0, UINT64_MAX / 2, UINT64_MAX};

    for (size_t i = 0; i < COUNT(randoms); i++) {
        int64_t in =
            ask_again_ms(&p, again[_i].asked, 30000, 600000, &rules, now, randoms[i]) - now;
        ck_assert_msg(in >= again[_i].least && in <= again[_i].most, "%s: in %lld ms",
                      again[_i].title, (long long)in);
    }
}
END_TEST

UNIT(verdict, {"verdict", verdict, COUNT(cases)}, {"again", ask_again, COUNT(again)})
