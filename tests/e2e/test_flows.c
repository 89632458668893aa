/* test_flows.c - workflows in the whole house: over HTTP, in every trouble that a worker and a Redis
 * can have.
 *
 * Two hundred of them are begun; while they run, workers and their children are killed and Redis is
 * emptied. Afterwards each step has one job and each job has ended once: what follows was begun once,
 * and nothing is missing. */
#include "base/buf.h"
#include "tests/e2e/e2e.h"

static struct house h;

#define MANY 200

/* chain: echo, a group of four (one of them a chain), what is called back with their results */
#define JOB(task, args) "{\"task\":\"mihwar." task "\",\"args\":" args ",\"max_attempts\":100}"
#define TREE                                                                                                  \
    "{\"chain\":[" JOB("echo", "{\"n\":1}") ",{\"group\":[" JOB("sleep", "{\"ms\":300}") "," JOB(             \
        "echo",                                                                                               \
        "{\"n\":2}") ",{\"chain\":[" JOB("sleep",                                                             \
                                         "{\"ms\":100}") "," JOB("echo",                                      \
                                                                 "{\"n\":3}") "]}," JOB("previou"             \
                                                                                        "s",                  \
                                                                                        "{}") "]}"            \
                                                                                              "," JOB(        \
                                                                                                  "previous", \
                                                                                                  "{}") "]}"
#define RESULT "[null, {\"n\":2}, {\"n\":3}, {\"n\":1}]"
#define JOBS   7

static int64_t count(const char *sql)
{
    return pg_one_int(h.stores.database_url, "SELECT count(*) FROM %s", sql);
}

static void begin_many(const char *tree, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        _cleanup_(web_reply_release) struct web_reply r = house_post(&h, "/v1/workflows", tree);
        ck_assert_msg(r.status == 201, "%d %s", r.status, r.body);
    }
}

/* Round by round, until so many are done. */
static void trouble(size_t round)
{
    switch (round % 4) {
    case 0:
        house_kill_child(&h, WORKER);
        break;
    case 1:
        redis_one(h.stores.redis_url, "FLUSHALL");
        break;
    case 2:
        house_kill(&h, WORKER);
        house_up(&h, WORKER);
        break;
    case 3:
        redis_one(h.stores.redis_url, "FLUSHALL");
        house_kill_child(&h, WORKER);
        break;
    }
}

START_TEST(nothing_is_lost_or_doubled)
{
    for (size_t round = 0; round < 4; round++) {
        int64_t ended = count("jobs WHERE finished_at IS NOT NULL");
        begin_many(TREE, MANY / 4);
        ck_wait(count("jobs WHERE finished_at IS NOT NULL") > ended + MANY / 4, 60000);
        trouble(round);
    }
    ck_wait(count("workflows WHERE state = 'completed'") == MANY, 120000);
    ck_assert_int_eq(count("workflows"), MANY);
    ck_assert_int_eq(count("jobs"), MANY * JOBS);
    ck_assert_int_eq(count("workflow_steps WHERE kind = 'job' AND state = 'done'"), MANY * JOBS);
    ck_assert_int_eq(count("job_attempts WHERE outcome = 'completed'"), MANY * JOBS);
    ck_assert_int_eq(
        count("workflow_steps s JOIN workflow_steps w ON w.workflow_id = s.workflow_id AND "
              "w.step = 1 WHERE s.parent = 1 AND s.next IS NULL AND s.result::text = '" RESULT "'"),
        MANY);
}
END_TEST

/* Another shop's workflow is none. */
START_TEST(a_stranger_sees_nothing)
{
    _cleanup_(web_reply_release) struct web_reply made =
        house_post(&h, "/v1/workflows", "{\"chain\":[" JOB("noop", "{}") "]}");
    _cleanup_(freep) char *id = xstrdup(web_text(&made, "id"));
    pg_one(h.stores.database_url,
           "UPDATE workflows SET tenant_id = gen_random_uuid() WHERE id = '%s'", id);
    static const char *const paths[] = {"", "/cancel", "/retry"};
    for (size_t i = 0; i < COUNT(paths); i++) {
        _cleanup_(freep) char *path = xasprintf("/v1/workflows/%s%s", id, paths[i]);
        _cleanup_(web_reply_release) struct web_reply r =
            i ? house_post(&h, path, "{}") : house_get(&h, "%s", path);
        ck_assert_int_eq(r.status, 404);
    }
    _cleanup_(web_reply_release) struct web_reply list = house_get(&h, "/v1/workflows?limit=500");
    ck_assert_ptr_null(strstr(list.body, id));
}
END_TEST

START_TEST(the_same_key_is_the_same_workflow)
{
    int64_t before = count("workflows");
    _cleanup_(freep) char *url = xasprintf("%s/v1/workflows", h.url), *id = NULL;

    for (int i = 0; i < 3; i++) {
        if (i == 2) /* the answer was never kept: a crash behind the commit */
            pg_one(h.stores.database_url, "DELETE FROM idempotency_keys");
        _cleanup_(web_reply_release) struct web_reply r =
            web(.url = url, .method = "POST", .bearer = h.key,
                .headers = (const char *[]){"Idempotency-Key: flow-1", NULL},
                .body = "{\"chain\":[" JOB("noop", "{}") "]}");
        ck_assert_msg(r.status == 201, "%d %s", r.status, r.body);
        if (id)
            ck_assert_str_eq(web_text(&r, "id"), id);
        else
            id = xstrdup(web_text(&r, "id"));
    }
    ck_assert_int_eq(count("workflows"), before + 1);
}
END_TEST

static const struct {
    const char *title, *body, *pointer;
    int status;
} refusals[] = {
    {"nothing", "{}", NULL, 422},
    {"a job alone", "{\"task\":\"a\"}", NULL, 422},
    {"two shapes", "{\"chain\":[{\"task\":\"a\"}],\"group\":[{\"task\":\"a\"}]}", NULL, 422},
    {"an empty group", "{\"chain\":[{\"group\":[]}]}", "/chain/0/group", 422},
    {"a group that is none", "{\"group\":7}", "/group", 422},
    {"a chord without a callback", "{\"chord\":{\"group\":[{\"task\":\"a\"}]}}", "/chord/then",
     422},
    {"a policy that is none", "{\"group\":[{\"task\":\"a\"}],\"on_failure\":\"stop\"}",
     "/on_failure", 422},
    {"a policy of a chain", "{\"chain\":[{\"task\":\"a\"}],\"on_failure\":\"fail\"}", NULL, 422},
    {"a job that is wrong", "{\"chain\":[{\"task\":\"a\"},{\"group\":[{\"task\":\"a b\"}]}]}",
     "/chain/1/group/0/task", 422},
    {"a unique key", "{\"chain\":[{\"task\":\"a\",\"unique_key\":\"k\"}]}", "/chain/0/unique_key",
     422},
    {"a broker job", "{\"chain\":[{\"task\":\"a\",\"durable\":false}]}", "/chain/0/durable", 422},
    {"a task of the platform", "{\"chain\":[{\"task\":\"order.check\"}]}", "/chain/0/task", 403},
    {"too deep",
     "{\"chain\":[{\"chain\":[{\"chain\":[{\"chain\":[{\"chain\":[{\"chain\":[{\"chain\":[{"
     "\"chain\":[{"
     "\"chain\":[{\"task\":\"a\"}]}]}]}]}]}]}]}]}]}",
     NULL, 400},
};

START_TEST(what_is_refused)
{
    int64_t before = count("workflows");
    _cleanup_(web_reply_release) struct web_reply r =
        house_post(&h, "/v1/workflows", refusals[_i].body);
    const char *at = web_text(&r, "errors.0.pointer");

    ck_assert_msg(r.status == refusals[_i].status, "%s: %d %s", refusals[_i].title, r.status,
                  r.body);
    if (refusals[_i].pointer)
        ck_assert_msg(at && strcmp(at, refusals[_i].pointer) == 0, "%s: %s", refusals[_i].title,
                      r.body);
    ck_assert_int_eq(count("workflows"), before);
}
END_TEST

E2E(flows, house_start, {"trouble", nothing_is_lost_or_doubled},
    {"strangers", a_stranger_sees_nothing}, {"idempotency", the_same_key_is_the_same_workflow},
    {"refusals", what_is_refused, COUNT(refusals)})
