/* test_inject.c - failure points fire as often as they were armed, and not at all in a build
 * without them. */
#include "base/inject.h"
#include "unit.h"

START_TEST(armed_by_hand)
{
    ck_assert(!inject_arm("no_such_point", 1));
    ck_assert(inject_arm("ack_lost", 2));
#ifdef MW_INJECT
    ck_assert(inject(ACK_LOST));
    ck_assert(!inject(PUSH_LOST));
    ck_assert(inject(ACK_LOST));
#endif
    ck_assert(!inject(ACK_LOST));
}
END_TEST

START_TEST(armed_by_the_environment)
{
    setenv("MIHWAR_INJECT", "push_lost:2,ack_lost", 1);
    ck_assert(inject_fires(INJECT_PUSH_LOST));
    ck_assert(inject_fires(INJECT_PUSH_LOST));
    ck_assert(!inject_fires(INJECT_PUSH_LOST));
    ck_assert(inject_fires(INJECT_ACK_LOST));
    ck_assert(!inject_fires(INJECT_ACK_LOST));
    ck_assert(!inject_fires(INJECT_REDIS_DROP_REPLY));
}
END_TEST

START_TEST(an_unknown_word_aborts)
{
    setenv("MIHWAR_INJECT", "push_lst", 1);
    inject_fires(INJECT_PUSH_LOST);
}
END_TEST

UNIT(inject, {"hand", armed_by_hand}, {"environment", armed_by_the_environment},
     {"unknown", an_unknown_word_aborts, .signal = 6})
