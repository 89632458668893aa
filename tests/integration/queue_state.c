/* queue_state.c - see queue_state.h. */
#include "tests/integration/queue_state.h"
#include "pg/migrate.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct stores stores;

static const char dump[] =
    "local function short(s) return (string.gsub(s, '00000000%-0000%-7000%-8000%-00000000000', "
    "'')) end "
    "local keys = redis.call('KEYS', 'mw:{t}:*') table.sort(keys) local out = {} "
    "for _, k in ipairs(keys) do local name, parts = string.sub(k, 8), {} "
    "  local kind = redis.call('TYPE', k).ok "
    "  if kind == 'list' then parts = redis.call('LRANGE', k, 0, -1) "
    "  elseif kind == 'set' then parts = redis.call('SMEMBERS', k) table.sort(parts) "
    "  elseif kind == 'string' then parts = {redis.call('GET', k)} "
    "  elseif kind == 'zset' then local z = redis.call('ZRANGE', k, 0, -1, 'WITHSCORES') "
    "    for i = 1, #z, 2 do parts[#parts + 1] = name == 'wait' and z[i] or z[i] .. '@' .. z[i + "
    "1] end "
    "  else local h, sum = redis.call('HGETALL', k), 0 "
    "    for i = 1, #h, 2 do sum = sum + (tonumber(h[i + 1]) or 0) "
    "      local v = h[i + 1] if name == 'jobs' then v = string.gsub(string.match(v, '^1 (%d+ "
    "%d)'), ' ', '.') end "
    "      parts[#parts + 1] = h[i] .. '=' .. v end "
    "    table.sort(parts) if name == 'rate' then parts = {tostring(sum)} end end "
    "  out[#out + 1] = name .. ' ' .. short(table.concat(parts, ' ')) end "
    "return table.concat(out, '\\n')";

const char *qid(char c)
{
    static char ids[16][ID_LEN + 1];
    static unsigned turn;
    char *id = ids[turn++ % COUNT(ids)];

    snprintf(id, ID_LEN + 1, "00000000-0000-7000-8000-00000000000%c", c);
    return id;
}

struct job_new qjob(char c, bool durable)
{
    struct job_new j = {
        .queue = Q, .task = "mihwar.noop", .durable = durable, .priority = JOB_PRIORITY};

    memcpy(j.id, qid(c), sizeof j.id);
    return j;
}

struct lease qlease(const char *token)
{
    struct lease l;
    char text[TOKEN_MAX];

    snprintf(text, sizeof text, "%s%s", qid(token[0]), token + 1);
    ck_assert_msg(token_parse(text, strlen(text), &l), "token %s", token);
    return l;
}

void qenqueue(struct cx *cx, struct qtest *t, struct job_new j)
{
    ck_ok(engine_enqueue(cx, t->e, &j, 1));
}

struct claim_result qclaim(struct cx *cx, struct qtest *t, size_t max)
{
    struct claim_result c;
    size_t refused;

    ck_ok(engine_claim(cx, t->e, Q, max, 30000, NULL, 0, &c, &refused));
    return c;
}

struct job qonly(struct claim_result c)
{
    ck_assert(!c.lost);
    ck_assert_uint_eq(c.n, 1);
    struct job j = c.jobs[0];
    c.jobs[0].storage = NULL;
    claim_result_release(&c);
    return j;
}

const char *qstate(void)
{
    static char texts[8][4096];
    static unsigned turn;
    redisContext *c = redisConnectUnix(stores.redis_url + strlen("unix:"));
    char *text = texts[turn++ % COUNT(texts)];

    ck_assert_ptr_nonnull(c);
    redisReply *r = redisCommand(c, "EVAL %s 0", dump);
    ck_assert_msg(r && r->type == REDIS_REPLY_STRING, "%s", r ? r->str : c->errstr);
    snprintf(text, sizeof texts[0], "%s", r->str);
    freeReplyObject(r);
    redisFree(c);
    return text;
}

struct run {
    bool with_db;
    rc (*body)(struct cx *cx, struct qtest *t);
};

static rc run_body(struct cx *cx, void *arg)
{
    const struct run *run = arg;
    struct qtest t = {0};
    char url[192];
    int applied;

    redis_one(stores.redis_url, "FLUSHALL");
    ck_ok(redis_new(cx, stores.redis_url, &t.redis));
    if (run->with_db) {
        char name[32];
        static int number;
        snprintf(name, sizeof name, "t%d_%d", (int)getpid(), number++);
        t.database_url = stores_new_database(&stores, name, NULL, url);
        ck_ok(pg_new(cx, t.database_url, 2, &t.db));
        ck_ok(migrate_run(cx, t.db, &applied));
        /* The epoch that beat would have written. */
        redis_one(stores.redis_url, "SET mw:{t}:epoch 1");
    }
    t.e = engine_new(t.redis, t.db);
    engine_set_clock(t.e, T0);
    rc r = run->body(cx, &t);
    t.e = engine_free(t.e);
    t.db = pg_free(t.db);
    t.redis = redis_free(t.redis);
    return r;
}

void qtest_run(bool with_db, rc (*body)(struct cx *cx, struct qtest *t))
{
    ck_ok(on_fiber(run_body, &(struct run){with_db, body}));
}
