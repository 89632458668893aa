/* ops_watch.c - what an operator sees of the whole: workers, and what they do. */
#include "base/buf.h"
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

    /* what it does is followed: one job to its end, then all that ended of late */
    AUTO(added) = CLI(&h, "job", "add", "mihwar.echo", "--queue", "watched", "--args",
                      "{\"fail\":\"invalid_field\"}", "--json");
    _cleanup_(freep) char *job = xstrdup(cli_text(&added, "id"));
    ck_wait(pg_one_int(DB, "SELECT count(*) FROM jobs WHERE id = '%s' AND state = 'dead'", job) ==
                1,
            30000);
    AUTO(one) = CLI(&h, "job", "tail", job);
    ck_assert_msg(strstr(one.out, "dead: ") != NULL, "%s", one.out);
    AUTO(slow) = CLI(&h, "job", "add", "mihwar.sleep", "--queue", "watched", "--args",
                     "{\"ms\":400,\"steps\":2}", "--json");
    AUTO(told) = CLI(&h, "job", "tail", cli_text(&slow, "id"));
    ck_assert_msg(strstr(told.out, "step 2 of 2") && strstr(told.out, "\ncompleted\n"), "%s",
                  told.out);
    AUTO(brief) = CLI(&h, "job", "add", "mihwar.sleep", "--queue", "watched", "--broker", "--args",
                      "{\"ms\":1000,\"steps\":2}", "--json");
    AUTO(gone) = CLI(&h, "job", "tail", cli_text(&brief, "id"));
    ck_assert_msg(strstr(gone.out, "step 2 of 2") && strstr(gone.out, "\nended\n"), "%s", gone.out);
    AUTO(recent) = CLI(&h, "job", "tail", "--queue", "watched", "--times", "1");
    ck_assert_msg(strstr(recent.out, job) && strstr(recent.out, "invalid_field"), "%s", recent.out);
    AUTO(lines) = CLI(&h, "job", "tail", "--task", "mihwar.echo", "--times", "2", "--json");
    cli_fields(lines.json, "job:s task:s queue:s attempt:n took_ms:n outcome:s error_code:s? "
                           "error:s? worker:s finished_at:s");
    AUTO(other) = CLI(&h, "job", "tail", "--task", "nobody.knows", "--times", "1");
    ck_assert_str_eq(other.out, "");
    refused(CLI(&h, "job", "tail", "nothing"), 1, "there is no such job");
    refused(CLI(&h, "job", "tail", job, "--queue", "watched"), 2, "not both");
    ck_assert(house_down(&h, WORKER));
    ck_assert_int_eq(workers_up(), 0);
}
END_TEST

static bool has_finding(const cJSON *all, const char *check, const char *level)
{
    const cJSON *f;

    cJSON_ArrayForEach(f, all)
    {
        if (strcmp(cJSON_GetObjectItem(f, "check")->valuestring, check) == 0 &&
            strcmp(cJSON_GetObjectItem(f, "level")->valuestring, level) == 0)
            return true;
    }
    return false;
}

/* A house without workers is ill; and it is known what else is not as it should be. */
/* A beat is there, and said so. */
static bool duties_are_well(void)
{
    AUTO(seen) = CLI(&h, "doctor", "--json");

    return has_finding(seen.json, "duties", "ok");
}

START_TEST(doctor)
{
    static const struct {
        const char *check, *level;
    } wanted[] = {
        {"pg-schema", "ok"},          {"pg-dead-rows", "ok"},      {"pg-transactions", "ok"},
        {"pg-connections", "ok"},     {"pg-durability", "warn"},   {"pg-autovacuum", "ok"},
        {"clock-postgresql", "ok"},   {"clock-redis", "ok"},       {"redis-eviction", "warn"},
        {"redis-memory", "warn"},     {"redis-persistence", "ok"}, {"redis-keys", "warn"},
        {"history-partitions", "ok"}, {"workers", "bad"},
    };

    redis_one(h.stores.redis_url, "CONFIG SET maxmemory-policy allkeys-lru");
    redis_one(h.stores.redis_url, "SET somebody:elses 1");
    refused(CLI_WITH(&h, .answers = true, "doctor"), 1, " bad, ");
    AUTO(ill) = CLI_WITH(&h, .answers = true, "doctor", "--json");
    ck_assert_int_eq(ill.status, 1);
    cJSON *all = cJSON_Parse(ill.out);
    ck_assert_msg(all != NULL, "%s", ill.out);
    for (size_t i = 0; i < COUNT(wanted); i++)
        ck_assert_msg(has_finding(all, wanted[i].check, wanted[i].level), "%s is not %s: %s",
                      wanted[i].check, wanted[i].level, ill.out);
    cJSON_Delete(all);

    /* mended: somebody works on each queue, somebody leads, Redis keeps what it has */
    redis_one(h.stores.redis_url, "CONFIG SET maxmemory-policy noeviction");
    redis_one(h.stores.redis_url, "DEL somebody:elses");
    AUTO(queues) = CLI(&h, "queue", "ls", "--json");
    _cleanup_(buf_release) struct buf names = BUF(KiB(4));
    const cJSON *q;
    buf_puts(&names, "MIHWAR_WORKER_QUEUES=default");
    cJSON_ArrayForEach(q, queues.json)
    {
        const char *name = cJSON_GetObjectItem(q, "queue")->valuestring;
        if (strcmp(name, "default") != 0)
            buf_printf(&names, ",%s", name);
    }
    house_set(&h, buf_str(&names));
    house_up(&h, WORKER);
    house_up(&h, BEAT);
    ck_wait(house_cli(&h, NULL, "doctor", NULL) == 0, 60000);
    ck_wait(duties_are_well(), 60000);
    done(CLI(&h, "doctor"));
    AUTO(well) = CLI(&h, "doctor", "--json");
    cli_fields(well.json, "level:s check:s found:s meaning:s? todo:s?");
    ck_assert(has_finding(well.json, "redis-eviction", "ok"));
    ck_assert(has_finding(well.json, "redis-keys", "ok"));
    ck_assert(has_finding(well.json, "workers", "ok"));
    ck_assert(house_down(&h, BEAT));
    ck_assert(house_down(&h, WORKER));
}
END_TEST

/* At the end: its worker carries out what the other tests left. */
const TTest *doctor_test(void)
{
    return doctor;
}

size_t watch_tests(struct e2e_row *rows)
{
    const struct e2e_row own[] = {
        {"workers", workers},
    };

    memcpy(rows, own, sizeof own);
    return COUNT(own);
}
