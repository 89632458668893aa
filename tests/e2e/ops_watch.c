/* ops_watch.c - what an operator sees of the whole: workers, and what they do. */
#include "tests/e2e/ops_world.h"

static int workers_up(void)
{
    AUTO(c) = CLI(&h, "worker", "ls", "--json");

    return cJSON_GetArraySize(c.json);
}

START_TEST(workers)
{
    house_set(&h, "MIHWAR_WORKER_QUEUES=watched"); /* it leaves the jobs of other tests alone */
    house_up(&h, WORKER);
    ck_wait(workers_up() > 0, 30000);
    done(CLI(&h, "worker", "ls"));
    AUTO(all) = CLI(&h, "worker", "ls", "--json");
    cli_fields(all.json, "name:s state:s draining:b drain_wished:b age_ms:n host:s version:s pid:n "
                         "child:n started_at:s concurrency:n running:n resident_bytes:n queues:a "
                         "tasks:a oldest:a");
    _cleanup_(freep) char *name =
        xstrdup(cJSON_GetObjectItem(cJSON_GetArrayItem(all.json, 0), "name")->valuestring);

    refused(CLI(&h, "worker", "drain"), 2, "--all");
    refused(CLI(&h, "worker", "drain", name, "--all"), 2, "--all");
    refused(CLI(&h, "worker", "drain", "nobody:1"), 1, "there is no worker 'nobody:1'");
    refused(CLI(&h, "worker", "resume", "nobody:1"), 1, "there is no worker 'nobody:1'");
    done(CLI(&h, "worker", "drain", name));
    AUTO(drained) = CLI(&h, "worker", "drain", "--all", "--json");
    cli_fields(drained.json, "workers:n drain:b");
    ck_assert_int_eq(cJSON_GetObjectItem(drained.json, "workers")->valueint,
                     cJSON_GetArraySize(all.json));
    done(CLI(&h, "worker", "resume", name));
    AUTO(on) = CLI(&h, "worker", "resume", "--all", "--json");
    cli_fields(on.json, "workers:n drain:b");
    ck_assert(house_down(&h, WORKER));
    ck_assert_int_eq(workers_up(), 0);
}
END_TEST

size_t watch_tests(struct e2e_row *rows)
{
    const struct e2e_row own[] = {
        {"workers", workers},
    };

    memcpy(rows, own, sizeof own);
    return COUNT(own);
}
