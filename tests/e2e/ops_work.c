/* ops_work.c - queues, jobs, dead letters, schedules. */
#include "tests/e2e/ops_world.h"

#define SCHEDULE                                                                                   \
    "name:s when:s timezone:s task:s queue:s? args:o enabled:b misfire:s next_at:s? last_at:s? "   \
    "tenant_id:s? id:s"

static char *add_job(const char *queue)
{
    AUTO(c) = CLI(&h, "job", "add", "mihwar.noop", "--queue", queue, "--json");
    cli_fields(c.json, "id:s existed:b");
    return xstrdup(cli_text(&c, "id"));
}

START_TEST(jobs)
{
    _cleanup_(freep) char *id = add_job("quiet"), *twin = NULL;

    AUTO(people) =
        CLI(&h, "job", "add", "mihwar.noop", "--queue", "quiet", "--unique", "only-one", "--delay",
            "1h", "--priority", "9", "--max-attempts", "3", "--timeout", "5s");
    twin = xstrndup(people.out, 36);
    AUTO(again) = CLI(&h, "job", "add", "mihwar.noop", "--queue", "quiet", "--unique", "only-one");
    ck_assert_msg(strncmp(again.out, twin, 36) == 0 && strstr(again.out, "there already"), "%s",
                  again.out);
    done(CLI(&h, "job", "add", "mihwar.noop", "--broker", "--queue", "quiet"));
    refused(CLI(&h, "job", "add", "mihwar.noop", "--args", "{\"a\":"), 1, "");
    refused(CLI(&h, "job", "add", "no task"), 1, "task");
    refused(CLI(&h, "job", "add", "mihwar.noop", "--broker", "--wait", "1s"), 2, "durable");
    refused(CLI(&h, "job", "add", "mihwar.noop", "--queue", "quiet", "--wait", "200ms"), 1,
            "is still ready");

    done(CLI_WITH(&h, .expect = "job_show", "job", "show", twin));
    AUTO(show) = CLI(&h, "job", "show", id, "--json");
    ck_assert_str_eq(cli_text(&show, "state"), "ready");
    ck_assert_str_eq(cli_text(&show, "queue"), "quiet");
    refused(CLI(&h, "job", "show", "nothing"), 1, "there is no such job");
    AUTO(why) = CLI(&h, "job", "explain", twin, "--json");
    cli_fields(why.json, "id:s state:s task:s queue:s code:s text:s findings:a");
    ck_assert_str_eq(cli_text(&why, "code"), "scheduled");
    cli_fields(cJSON_GetArrayItem(cJSON_GetObjectItem(why.json, "findings"), 0),
               "hinders:b code:s text:s until:s jobs:a");
    AUTO(told) = CLI(&h, "job", "explain", twin);
    ck_assert_msg(strncmp(told.out, "It is due at ", 13) == 0, "%s", told.out);
    static const char *const no_redis[] = {"MIHWAR_REDIS_URL=unix:/nonexistent/redis.sock", NULL};
    AUTO(away) = CLI_WITH(&h, .env = no_redis, "job", "explain", twin);
    ck_assert_msg(strstr(away.out, "Redis does not answer") != NULL, "%s", away.out);
    refused(CLI(&h, "job", "explain", "nothing"), 1, "there is no such job");

    done(CLI(&h, "job", "cancel", twin));
    AUTO(gone) = CLI(&h, "job", "cancel", id, "--json");
    ck_assert_str_eq(cli_text(&gone, "state"), "cancelled");
    done(CLI(&h, "job", "retry", twin));
    AUTO(back) = CLI(&h, "job", "retry", id, "--json");
    ck_assert_str_eq(cli_text(&back, "state"), "ready");
    refused(CLI(&h, "job", "retry", id), 1, "");
}
END_TEST

/* As its worker writes it. */
START_TEST(what_a_job_told)
{
    _cleanup_(freep) char *id = add_job("told");

    AUTO(nothing) = CLI(&h, "job", "log", id, "--json");
    ck_assert_str_eq(nothing.out, "[]\n");
    pg_one(
        DB,
        "INSERT INTO job_events (job_id, generation, attempt, slot, seq, at, kind, level, body) "
        "VALUES ('%s', 1, 1, 1, 1, '2026-01-05T10:11:12Z', 'log', 'warn', 'half of it'), "
        "('%s', 1, 1, 0, 2, '2026-01-05T10:11:13Z', 'progress', NULL, '{\"done\":1}') RETURNING 1",
        id, id);
    AUTO(log) = CLI(&h, "job", "log", id, "--json");
    cli_fields(cJSON_GetArrayItem(log.json, 0),
               "at:s attempt:n seq:n level:s? text:s? progress:o? cursor:s");
    AUTO(rest) = CLI(&h, "job", "log", id, "--after", "1.1.1", "--json");
    ck_assert_int_eq(cJSON_GetArraySize(rest.json), 1);
    done(CLI_WITH(&h, .expect = "job_log", "job", "log", id));
    AUTO(show) = CLI(&h, "job", "show", id, "--json");
    ck_assert_int_eq(cJSON_GetArraySize(cJSON_GetObjectItem(show.json, "events")), 2);
    ck_assert_ptr_nonnull(cJSON_GetObjectItem(cJSON_GetObjectItem(show.json, "progress"), "done"));
    refused(CLI(&h, "job", "log", id, "--after", "x"), 1, "cursor");
    refused(CLI(&h, "job", "wait", id, "--timeout", "100ms"), 1, "is still");
    pg_one(DB,
           "UPDATE jobs SET state = 'completed', finished_at = now() WHERE id = '%s' RETURNING 1",
           id);
    done(CLI(&h, "job", "wait", id));
    AUTO(waited) = CLI(&h, "job", "wait", id, "--json");
    ck_assert_str_eq(cli_text(&waited, "state"), "completed");
}
END_TEST

static int ready_in_quiet(void)
{
    AUTO(c) = CLI(&h, "queue", "ls", "--json");
    const cJSON *q;

    cJSON_ArrayForEach(q, c.json)
    {
        if (strcmp(cJSON_GetObjectItem(q, "queue")->valuestring, "quiet") == 0)
            return cJSON_GetObjectItem(q, "ready")->valueint;
    }
    return 0;
}

/* Nobody works on them here: sent, and not there yet. */
START_TEST(celery)
{
    _cleanup_(freep) char *broker =
        xasprintf("MIHWAR_CELERY_BROKER_URL=%s/9", h.stores.redis_tcp_url);
    const char *const env[] = {broker, NULL};

    AUTO(sent) = CLI_WITH(&h, .env = env, "celery", "send", "shop.add", "--args", "[1]", "--kwargs",
                          "{\"y\":2}", "--json");
    cli_fields(sent.json, "id:s");
    const char *id = cJSON_GetObjectItem(sent.json, "id")->valuestring;
    AUTO(result) = CLI_WITH(&h, .env = env, "celery", "result", id, "--json");
    ck_assert_str_eq(cJSON_GetObjectItem(result.json, "status")->valuestring, "PENDING");
    done(CLI_WITH(&h, .env = env, "celery", "send", "shop.add", "--countdown", "1m"));
    done(CLI_WITH(&h, .env = env, "celery", "result", id));
    refused(CLI_WITH(&h, .env = env, "celery", "send", "shop.add", "--args", "{}"), 2,
            "--args must be");
    refused(CLI(&h, "celery", "send", "shop.add"), 2, "celery_broker_url is not set");
}
END_TEST

static const cJSON *queue_named(const cJSON *list, const char *name)
{
    const cJSON *q;

    cJSON_ArrayForEach(q, list)
    {
        if (strcmp(cJSON_GetObjectItem(q, "queue")->valuestring, name) == 0)
            return q;
    }
    ck_abort_msg("queue ls does not know %s", name);
    return NULL;
}

/* Nobody ever claimed from this queue: beat is the first to see that it has no epoch yet. */
START_TEST(queues)
{
    house_up(&h, BEAT);
    ck_wait(ready_in_quiet() == 4, 20000);
    ck_assert(house_down(&h, BEAT));
    done(CLI(&h, "queue", "ls"));
    AUTO(all) = CLI(&h, "queue", "ls", "--json");
    cli_fields(all.json,
               "queue:s ready:n leased:n scheduled:n held:n dead:n done:n retried:n "
               "expired:n refused:n rate_per_s:n oldest_ms:n paused:b draining:b length:n "
               "max_length:n? bytes:n? max_bytes:n? tenant_max_length:n? shards:n");
    done(CLI_WITH(&h, .expect = "queue_pause", "queue", "pause", "quiet"));
    AUTO(paused) = CLI(&h, "queue", "pause", "quiet", "--json");
    ck_assert(cJSON_IsTrue(cJSON_GetObjectItem(paused.json, "paused")));
    done(CLI_WITH(&h, .expect = "queue_resume", "queue", "resume", "quiet"));
    AUTO(on) = CLI(&h, "queue", "resume", "quiet", "--json");
    ck_assert(cJSON_IsFalse(cJSON_GetObjectItem(on.json, "paused")));
    refused(CLI(&h, "queue", "pause", "quite"), 1, "no job was ever put into a queue 'quite'");
    AUTO(drained) = CLI(&h, "queue", "drain", "quiet", "--json");
    cli_fields(drained.json, "queue:s draining:b left:n");
    refused(CLI(&h, "job", "add", "mihwar.noop", "--queue", "quiet"), 1, "is being drained");
    refused(CLI(&h, "queue", "drain", "quiet", "--wait", "300ms"), 1,
            "4 jobs are still in 'quiet'");
    done(CLI(&h, "queue", "drain", "quiet"));
    done(CLI(&h, "queue", "resume", "quiet"));
    done(CLI(&h, "queue", "policy", "show", "quiet"));
    AUTO(set) = CLI(&h, "queue", "policy", "set", "quiet", "--no-fair", "--strict", "--json");
    cli_fields(set.json, "queue:s paused:b draining:b policy:o");
    done(CLI(&h, "queue", "policy", "set", "quiet", "--weighted", "10:9:8:7:6:5:4:3:2:1", "--fair",
             "--max-length", "4", "--max-bytes", "100000", "--tenant-max-length", "4"));
    refused(CLI(&h, "job", "add", "mihwar.noop", "--queue", "quiet"), 1, "it takes 4 jobs");
    AUTO(bounded) = CLI(&h, "queue", "ls", "--json");
    const cJSON *quiet = queue_named(bounded.json, "quiet");
    ck_assert_int_eq(cJSON_GetObjectItem(quiet, "length")->valueint, 4);
    ck_assert_int_eq(cJSON_GetObjectItem(quiet, "max_length")->valueint, 4);
    ck_assert_int_eq(cJSON_GetObjectItem(quiet, "max_bytes")->valueint, 100000);
    ck_assert_int_eq(cJSON_GetObjectItem(quiet, "tenant_max_length")->valueint, 4);
    ck_assert_int_gt(cJSON_GetObjectItem(quiet, "bytes")->valueint, 0);
    AUTO(policy) = CLI(&h, "queue", "policy", "show", "quiet", "--json");
    cli_fields(policy.json, "queue:s paused:b draining:b policy:o");
    ck_assert_ptr_nonnull(strstr(policy.out, "\"max_length\":4,"));
    refused(CLI(&h, "queue", "policy", "set", "quiet", "--weighted", "3:2:1"), 2,
            "ten whole numbers");
    refused(CLI(&h, "queue", "policy", "set", "quiet", "--weight", "cedar"), 2, "TENANT=N");
    AUTO(plain) = CLI(&h, "queue", "policy", "set", "quiet", "--plain");
    ck_assert_ptr_nonnull(strstr(plain.out, "priorities              strict"));
    AUTO(purged) = CLI(&h, "queue", "purge", "quiet", "--yes", "--json");
    ck_assert_int_eq(cJSON_GetObjectItem(purged.json, "purged")->valueint, 4);
    done(CLI_WITH(&h, .expect = "queue_purge", "queue", "purge", "quiet", "--yes"));

    AUTO(top) = CLI(&h, "top", "--times", "2", "--every", "50ms");
    ck_assert_msg(!strchr(top.out, '\033') && strstr(top.out, "mihwar top"), "%s", top.out);
    AUTO(once) = CLI(&h, "top"); /* no terminal: one picture */
    ck_assert_msg(!strchr(once.out, '\033') && strstr(once.out, "workers: "), "%s", once.out);
    AUTO(seen) = CLI(&h, "top", "--times", "1", "--json");
    cli_fields(seen.json, "at:s queues:a tasks:a workers:a longest:a");
}
END_TEST

/* Set, seen, forced, taken away; the words that a person might get wrong. */
START_TEST(limits)
{
    done(CLI(&h, "limit", "set", "quiet", "znet:7", "--rate", "100/m", "--burst", "5",
             "--concurrency", "2", "--breaker", "50", "--least", "10", "--window", "1m", "--open",
             "10s", "--probes", "1"));
    done(CLI(&h, "limit", "set", "quiet,loud", "=", "--concurrency", "9"));
    AUTO(set) = CLI(&h, "limit", "set", "quiet,loud", "=", "--concurrency", "9", "--json");
    ck_assert_int_eq(cJSON_GetArraySize(set.json), 3);
    AUTO(all) = CLI(&h, "limit", "ls", "--queue", "quiet", "--json");
    cli_fields(all.json, "queue:s key:s rate:s? at_once:n breaker:s? held:n under_way:n shared:s?");
    ck_assert_int_eq(cJSON_GetArraySize(all.json), 2);
    done(CLI(&h, "limit", "ls"));
    done(CLI(&h, "limit", "breaker", "quiet", "znet:7", "open"));
    AUTO(forced) = CLI(&h, "limit", "ls", "--queue", "quiet");
    ck_assert_ptr_nonnull(strstr(forced.out, "open, by an operator"));
    done(CLI(&h, "limit", "breaker", "quiet", "znet:7", "auto"));
    AUTO(opened) = CLI(&h, "limit", "breaker", "quiet", "znet:7", "closed", "--json");
    ck_assert_str_eq(cJSON_GetObjectItem(opened.json, "breaker")->valuestring, "closed");
    refused(CLI(&h, "limit", "breaker", "quiet", "znet:7", "ajar"), 2, "open, closed or auto");
    refused(CLI(&h, "limit", "set", "quiet", "k", "--rate", "ten"), 2, "10/1s");
    refused(CLI(&h, "limit", "set", "quiet", "k"), 1, "it limits nothing");
    done(CLI(&h, "limit", "rm", "quiet", "znet:7"));
    AUTO(gone) = CLI(&h, "limit", "rm", "loud", "=", "--json");
    ck_assert(cJSON_IsTrue(cJSON_GetObjectItem(gone.json, "removed")));
    refused(CLI(&h, "limit", "rm", "quiet", "="), 1, "has no limit of the key =");
}
END_TEST

/* A letter of a durable job, as a worker leaves it. */
static void dead(const char *job, const char *task)
{
    pg_one(
        DB,
        "INSERT INTO jobs (id, queue, task, state, attempt, finished_at) VALUES ('%s', 'graves', "
        "'%s', 'dead', 2, now()) RETURNING 1",
        job, task);
    pg_one(DB,
           "INSERT INTO dead_letters (id, job_id, queue, task, args, attempts, error_code, error, "
           "errors, worker) VALUES ('%s', '%s', 'graves', '%s', '{\"n\":1}', 2, 'internal', "
           "'it fell', '[{\"attempt\":1,\"at\":\"2026-01-01T00:00:00.000Z\",\"worker\":\"w:1\","
           "\"code\":\"internal\",\"error\":\"it fell\"}]', 'w:1') RETURNING 1",
           job, job, task);
}

START_TEST(dead_letters)
{
    const char *a = "01a00000-0000-7000-8000-00000000000a",
               *b = "01a00000-0000-7000-8000-00000000000b",
               *c = "01a00000-0000-7000-8000-00000000000c",
               *d = "01a00000-0000-7000-8000-00000000000d";
    AUTO(empty) = CLI(&h, "dlq", "ls", "--json");
    ck_assert_str_eq(empty.out, "[]\n");
    AUTO(nothing) = CLI(&h, "dlq", "export", "--json");
    ck_assert_str_eq(nothing.out, "");
    dead(a, "t.one");
    dead(b, "t.one");
    dead(c, "t.two");
    dead(d, "t.two");

    done(CLI_WITH(&h, .expect = "dlq_ls", "dlq", "ls", "--task", "t.one"));
    AUTO(list) = CLI(&h, "dlq", "ls", "--queue", "graves", "--error", "internal", "--json");
    cli_fields(list.json, "id:s died_at:s task:s queue:s attempts:n error_code:s error:s "
                          "fingerprint:s subject:s? job_id:s");
    ck_assert_int_eq(cJSON_GetArraySize(list.json), 4);
    AUTO(page) = CLI(&h, "dlq", "ls", "--limit", "2");
    ck_assert_msg(strstr(page.err, "--after ") != NULL, "%s", page.err);
    done(CLI_WITH(&h, .expect = "dlq_show", "dlq", "show", a));
    AUTO(show) = CLI(&h, "dlq", "show", a, "--json");
    ck_assert_str_eq(cli_text(&show, "error"), "it fell");
    ck_assert_str_eq(cli_text(&show, "errors.0.worker"), "w:1");
    AUTO(lines) = CLI(&h, "dlq", "export", "--task", "t.two");
    ck_assert_ptr_nonnull(strstr(lines.out, d));

    refused(CLI(&h, "dlq", "replay", a, "--task", "t.one"), 2, "either ids, or");
    refused(CLI(&h, "dlq", "replay", a, "01a00000-0000-7000-8000-0000000000ff"), 1,
            "one of the dead letters does not exist");
    AUTO(one) = CLI(&h, "dlq", "replay", a, "--json");
    cli_fields(one.json, "replayed:n skipped:n");
    ck_assert_str_eq(pg_one(DB, "SELECT detail->>'ids' FROM audit_log ORDER BY id DESC LIMIT 1"),
                     "[\"01a00000-0000-7000-8000-00000000000a\"]");
    done(CLI_WITH(&h, .expect = "dlq_replay", "dlq", "replay", "--task", "t.one", "--rate", "10"));
    ck_assert_str_eq(pg_one(DB, "SELECT detail->>'task' FROM audit_log ORDER BY id DESC LIMIT 1"),
                     "t.one");
    ck_assert_str_eq(pg_one(DB, "SELECT state || generation FROM jobs WHERE id = '%s'", b),
                     "ready2");
    done(CLI(&h, "dlq", "drop", c, "--yes"));
    AUTO(drop) = CLI(&h, "dlq", "drop", d, "--yes", "--json");
    cli_fields(drop.json, "dropped:n");
    refused(CLI(&h, "dlq", "show", d), 1, "does not exist");
}
END_TEST

START_TEST(schedules)
{
    done(CLI(&h, "schedule", "add", "nightly", "mihwar.noop", "--cron", "30 2 * * mon-fri",
             "--timezone", "Asia/Riyadh", "--misfire", "skip"));
    AUTO(made) = CLI(&h, "schedule", "add", "often", "mihwar.echo", "--every", "90s", "--args",
                     "{\"a\":[1]}", "--jitter", "5s", "--priority", "7", "--queue", "quiet",
                     "--tenant", "cedar", "--json");
    cli_fields(made.json, SCHEDULE);
    ck_assert_str_eq(cli_text(&made, "when"), "every 90s");
    refused(CLI(&h, "schedule", "add", "often", "mihwar.noop", "--every", "5s"), 1, "already");
    refused(CLI(&h, "schedule", "add", "bad", "mihwar.noop", "--cron", "61 * * * *"), 1, "cron: ");
    refused(CLI(&h, "schedule", "add", "bad", "mihwar.noop", "--cron", "0 0 30 2 *"), 1, "cron: ");
    refused(CLI(&h, "schedule", "add", "bad", "mihwar.noop", "--cron", "* * * * *", "--timezone",
                "Mars/Base"),
            1, "timezone: ");
    refused(CLI(&h, "schedule", "add", "bad", "mihwar.noop", "--every", "5s", "--misfire", "cry"),
            1, "misfire: ");
    done(CLI_WITH(&h, .expect = "schedule_ls", "schedule", "ls", "--tenant", "cedar"));
    AUTO(all) = CLI(&h, "schedule", "ls", "--tenant", "cedar", "--json");
    cli_fields(all.json, SCHEDULE);
    ck_assert_int_eq(cJSON_GetArraySize(all.json), 1);

    done(CLI(&h, "schedule", "pause", "often"));
    AUTO(off) = CLI(&h, "schedule", "pause", "nightly", "--json");
    ck_assert(cJSON_IsFalse(cJSON_GetObjectItem(off.json, "enabled")));
    done(CLI(&h, "schedule", "resume", "often"));
    AUTO(on) = CLI(&h, "schedule", "resume", "nightly", "--json");
    ck_assert(cJSON_IsTrue(cJSON_GetObjectItem(on.json, "enabled")));
    done(CLI(&h, "schedule", "run", "often"));
    AUTO(run) = CLI(&h, "schedule", "run", "nightly", "--json");
    cli_fields(run.json, "job_id:s");
    refused(CLI(&h, "schedule", "rm", "often"), 2, "say --yes");
    refused(CLI(&h, "schedule", "rm", "never", "--yes"), 1, "never");
    done(CLI(&h, "schedule", "rm", "often", "--yes"));
    AUTO(gone) = CLI(&h, "schedule", "rm", "nightly", "--yes", "--json");
    cli_fields(gone.json, "removed:b");
}
END_TEST

#define FLOW                                                                                       \
    "{\"name\":\"print\",\"chain\":[{\"group\":[{\"task\":\"mihwar.noop\",\"queue\":\"quiet\"},"   \
    "{\"task\":\"mihwar.noop\",\"queue\":\"quiet\"}],\"on_failure\":\"continue\"},"                \
    "{\"task\":\"mihwar.echo\",\"queue\":\"quiet\"}]}"

START_TEST(flows)
{
    AUTO(people) = CLI_WITH(&h, .in = FLOW, "flow", "add", "-");
    _cleanup_(freep) char *id = xstrndup(people.out, 36);
    AUTO(programs) = CLI_WITH(&h, .in = FLOW, "flow", "add", "-", "--json");
    cli_fields(programs.json, "id:s jobs:n");
    refused(CLI_WITH(&h, .in = "{\"chain\":[]}", "flow", "add", "-"), 1, "at least one");
    refused(CLI_WITH(&h, .in = "{\"chain\":[{\"task\":\"x y\"}]}", "flow", "add", "-"), 1, "task");
    refused(CLI(&h, "flow", "add", "/nowhere.json"), 2, "cannot be read");
    refused(CLI_WITH(&h, .in = FLOW, "flow", "add", "-", "--wait", "200ms"), 1, "still running");

    done(CLI_WITH(&h, .expect = "flow_show", "flow", "show", id));
    AUTO(show) = CLI(&h, "flow", "show", id, "--json");
    ck_assert_str_eq(cli_text(&show, "state"), "running");
    ck_assert_str_eq(cli_text(&show, "name"), "print");
    refused(CLI(&h, "flow", "show", "nothing"), 1, "there is no such workflow");
    done(CLI(&h, "flow", "ls", "--status", "running"));
    AUTO(list) = CLI(&h, "flow", "ls", "--json");
    cli_fields(list.json->child,
               "id:s name:s state:s jobs:n created_at:s finished_at:s? tenant_id:s?");

    refused(CLI(&h, "flow", "retry", id), 1, "nothing to try again");
    done(CLI(&h, "flow", "cancel", id));
    AUTO(gone) = CLI(&h, "flow", "cancel", id, "--json");
    ck_assert_str_eq(cli_text(&gone, "state"), "cancelled");
    AUTO(back) = CLI(&h, "flow", "retry", id, "--json");
    ck_assert_str_eq(cli_text(&back, "state"), "running");
    done(CLI(&h, "flow", "cancel", id));
    done(CLI(&h, "flow", "retry", id));
    done(CLI(&h, "flow", "cancel", id));
}
END_TEST

size_t work_tests(struct e2e_row *rows)
{
    const struct e2e_row own[] = {
        {"jobs", jobs},
        {"celery", celery},
        {"queues", queues},
        {"dead letters", dead_letters},
        {"limits", limits},
        {"schedules", schedules},
        {"what a job told", what_a_job_told},
        {"workflows", flows},
    };

    memcpy(rows, own, sizeof own);
    return COUNT(own);
}
