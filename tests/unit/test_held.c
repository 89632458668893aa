/* test_held.c - leases in shared memory: what a dead child held can be read by its parent. */
#include "tests/unit/unit.h"
#include "worker/held.h"
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

static struct lease lease(int claim)
{
    struct lease l = {.generation = 1, .claim = claim};

    memcpy(l.id, "0190a1b2-c3d4-7e5f-8a6b-123456789abc", sizeof l.id);
    return l;
}

START_TEST(a_dead_child_leaves_its_leases)
{
    struct held *h = held_new(2, 4);
    struct held_lease *all = NULL;
    int status;

    ck_assert_str_eq(held_name_of(h, 1), "");
    pid_t pid = fork();
    if (pid == 0) {
        struct lease l[] = {lease(1), lease(2), lease(3)};
        held_name(h, 1, "host:1", 4, "a,b");
        size_t first = held_put(h, 1, 0, /* shard= */ 0, &l[0]);
        held_put(h, 1, 7, /* shard= */ 3, &l[1]);
        held_drop(h, 1, first);
        held_begin(h, 1, held_put(h, 1, 2, /* shard= */ 0, &l[2]));
        held_end(h, 1, 1);
        _exit(0);
    }
    ck_assert_int_eq(waitpid(pid, &status, 0), pid);
    ck_assert_str_eq(held_name_of(h, 1), "host:1");
    ck_assert_str_eq(held_queues_of(h, 1), "a,b");
    ck_assert_uint_eq(held_take(h, 0, &all), 0); /* the neighbour's are its own */
    free(all);
    ck_assert_uint_eq(held_take(h, 1, &all), 2);
    ck_assert_uint_eq(all[0].queue + all[1].queue, 9);
    ck_assert_int_eq(all[0].shard + all[1].shard, 3);
    ck_assert_int_eq(all[0].lease.claim + all[1].lease.claim, 5);
    ck_assert_str_eq(all[0].lease.id, lease(0).id);
    for (int i = 0; i < 2; i++) { /* one has ended, the other one is under way */
        ck_assert(all[i].ended == (all[i].queue == 7));
        ck_assert(all[i].begun == (all[i].queue == 2));
    }
    free(all);
    ck_assert_uint_eq(held_take(h, 1, &all), 0); /* taken once */
    free(all);
    held_free(h);
}
END_TEST

START_TEST(every_slot_can_be_filled_again_and_again)
{
    struct held *h = held_new(1, 20000);
    struct held_lease *all = NULL;
    struct lease l = lease(1);
    size_t slots[3];

    held_name(h, 0, "host:1", 3, "a");
    for (int round = 0; round < 10; round++) {
        for (int i = 0; i < 3; i++)
            slots[i] = held_put(h, 0, 0, /* shard= */ 0, &l);
        ck_assert(slots[0] != slots[1] && slots[1] != slots[2] && slots[0] != slots[2]);
        for (int i = 0; i < 3; i++)
            held_drop(h, 0, slots[(i + round) % 3]);
    }
    ck_assert_uint_eq(held_take(h, 0, &all), 0);
    free(all);
    held_free(h);
}
END_TEST

UNIT(held, {"dead child", a_dead_child_leaves_its_leases},
     {"slots", every_slot_can_be_filled_again_and_again})
