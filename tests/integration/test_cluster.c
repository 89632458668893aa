/* test_cluster.c - a real cluster: three masters, a replica for one of them.
 *
 *   server 0, 1, 2   masters      slots move from 0 to the others under load; queue beta is spread over all of them
 *   server 3         replica of one master, which is killed under load */
#include "domain/doctor.h"
#include "queue/keys.h"
#include "queue/shape/policy.h"
#include "redis/redis.h"
#include "redis/slots.h"
#include "tests/integration/redis_world.h"
#include "tests/support/web.h"
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MASTERS = 3, REPLICA = 3, SERVERS = 4 };

static struct world world;
static const char *const queues[] = {"alpha", "beta", "gamma", "default"};

static void up(int n)
{
    static const char *const more[] = {"--cluster-enabled",
                                       "yes",
                                       "--cluster-node-timeout",
                                       "600",
                                       "--cluster-require-full-coverage",
                                       "no",
                                       "--requirepass",
                                       WORLD_PASSWORD,
                                       "--masterauth",
                                       WORLD_PASSWORD,
                                       "--repl-diskless-sync-delay",
                                       "0",
                                       "--cluster-replica-validity-factor",
                                       "0",
                                       "--appendonly",
                                       "yes",
                                       NULL};

    world.cluster = true;
    world_server(&world, n, more);
}

static void cli(const char *const *words)
{
    const char *argv[24] = {"redis-cli", "-a", WORLD_PASSWORD, "--no-auth-warning", "--cluster"};
    size_t k = 5;
    char *out = NULL;

    for (; *words; words++)
        argv[k++] = *words;
    int status =
        proc_run(&(struct proc_opts){.name = "redis-cli", .argv = argv}, NULL, 60000, &out, NULL);
    if (status != 0)
        support_die("redis-cli --cluster ended with %d: %s", status, out);
    free(out);
}

static const char *at(int n)
{
    static char texts[8][32];
    static unsigned turn;
    char *text = texts[turn++ % COUNT(texts)];

    snprintf(text, sizeof texts[0], "127.0.0.1:%d", world.port[n]);
    return text;
}

static bool whole(int servers)
{
    char known[40];

    snprintf(known, sizeof known, "cluster_known_nodes:%d", servers);
    for (int n = 0; n < servers; n++) {
        const char *info = world_ask(&world, n, "CLUSTER INFO");
        if (!strstr(info, "cluster_state:ok") || !strstr(info, known))
            return false;
    }
    return true;
}

static void set_up(void)
{
    for (int n = 0; n < SERVERS; n++)
        up(n);
    cli((const char *[]){"create", at(0), at(1), at(2), "--cluster-yes", NULL});
    if (!wait_until(whole(MASTERS), 30000))
        support_die("the cluster is not whole");
    snprintf(world.url, sizeof world.url, "redis-cluster://:" WORLD_PASSWORD "@127.0.0.1:%d,%s,%s",
             free_port(), at(1), at(2)); /* the first one is not there */
}

/* ---------------------------------------------------------------- commands */

static rc commands(struct cx *cx, struct world *w)
{
    enum { MANY = 300 };
    redisReply *replies[MANY];
    _cleanup_(buf_release) struct buf bytes = BUF(MiB(1));
    _cleanup_(redis_reply_freep) redisReply *pong = NULL, *set = NULL;

    for (int i = 0; i < MANY; i++) {
        char *text = NULL;
        int len = i % 3 == 0   ? redisFormatCommand(&text, "SET key:%d %d", i, i)
                  : i % 3 == 1 ? redisFormatCommand(&text, "GET key:%d", i - 1)
                               : redisFormatCommand(&text, "LPUSH key:%d x", i - 2);
        buf_append(&bytes, text, (size_t)len);
        free(text);
    }
    ck_ok(redis_pipeline(cx, w->redis, bytes.p, bytes.len, MANY, replies));
    for (int i = 0; i < MANY; i++) { /* each its own, in order; an error stays where it is */
        char number[16];
        snprintf(number, sizeof number, "%d", i - 1);
        ck_assert_int_eq(replies[i]->type, i % 3 == 0   ? REDIS_REPLY_STATUS
                                           : i % 3 == 1 ? REDIS_REPLY_STRING
                                                        : REDIS_REPLY_ERROR);
        if (i % 3 == 1)
            ck_assert_str_eq(replies[i]->str, number);
        freeReplyObject(replies[i]);
    }
    ck_ok(redis_cmd(cx, w->redis, &pong, "PING"));
    ck_ok(redis_cmd(cx, w->redis, NULL, "SADD mw:queues a b"));
    ck_ok(redis_cmd(cx, w->redis, &set, "SMEMBERS mw:queues"));
    ck_assert_uint_eq(set->elements, 2);
    ck_rc(redis_cmd(cx, w->redis, NULL, "MGET a b"), E_REDIS);
    ck_assert_ptr_nonnull(strstr(cx_words(cx, E_REDIS), "CROSSSLOT"));
    ck_assert(redis_connected(w->redis) && redis_is_cluster(w->redis));
    return OK;
}

/* What is wrong with one of them is found, whichever that is. */
static rc doctor(struct cx *cx, struct world *w)
{
    struct settings settings = {0};
    struct finding *f;
    size_t n, policies = 0, clocks = 0;
    bool ill = false;

    world_ask(w, 1, "CONFIG SET maxmemory-policy allkeys-lru");
    ck_ok(
        doctor_look(cx,
                    &(struct doctor){
                        .settings = &settings, .db = w->db, .redis = w->redis, .engine = w->engine},
                    &f, &n));
    world_ask(w, 1, "CONFIG SET maxmemory-policy noeviction");
    for (size_t i = 0; i < n; i++) {
        policies += strcmp(f[i].check, "redis-eviction") == 0;
        clocks += strcmp(f[i].check, "clock-redis") == 0;
        ill |= strcmp(f[i].check, "redis-eviction") == 0 && f[i].level != FINDING_OK &&
               strstr(f[i].found, at(1)) != NULL;
    }
    ck_assert_uint_eq(policies, MASTERS);
    ck_assert_uint_eq(clocks, MASTERS);
    ck_assert(ill);
    return OK;
}

START_TEST(the_doctor_looks_at_each_node)
{
    world_run(&world, doctor);
}
END_TEST

START_TEST(each_command_finds_its_node)
{
    world_run(&world, commands);
}
END_TEST

/* ---------------------------------------------------------------- waiting */

struct taker {
    struct world *w;
    struct redis *blocking;
    size_t which[4];
};

static const char *const keys[] = {"mw:{a}:wait", "mw:{b}:wait", "mw:{c}:wait", "mw:{d}:wait"};

static rc take(struct cx *cx, void *arg)
{
    struct taker *t = arg;

    for (size_t i = 0; i < COUNT(t->which); i++)
        try(redis_take_first(cx, t->blocking, keys, COUNT(keys), 20000, &t->which[i]));
    return OK;
}

static rc waiting(struct cx *cx, struct world *w)
{
    struct taker t = {.w = w};
    size_t which;
    rc r;

    ck_ok(redis_new(cx, w->url, &t.blocking));
    ck_ok(redis_take_first(cx, t.blocking, keys, COUNT(keys), 50, &which));
    ck_assert_uint_eq(which, COUNT(keys));
    struct fiber *f = fiber_spawn(&(struct fiber_opts){.name = "taker", .inherit = cx}, take, &t);
    for (size_t i = 0; i < COUNT(keys); i++) {
        ck_ok(fiber_sleep(cx, 5));
        ck_ok(redis_cmd(cx, w->redis, NULL, "ZADD %s 0 m", keys[COUNT(keys) - 1 - i]));
    }
    ck_ok(fiber_join(cx, f, &r));
    ck_ok(r);
    size_t seen = 0;
    for (size_t i = 0; i < COUNT(t.which); i++)
        seen |= (size_t)1 << t.which[i];
    ck_assert_uint_eq(seen, 15); /* each once, though they lie on different nodes */
    redis_free(t.blocking);
    return OK;
}

START_TEST(many_keys_are_waited_for_at_once)
{
    world_run(&world, waiting);
}
END_TEST

/* ---------------------------------------------------------------- moving */

/* Which server has this queue: it answers, the others send away. */
static int owner(struct world *w, const char *queue)
{
    for (int n = 0; n < SERVERS; n++) {
        const char *answer = world_ask(w, n, "HLEN mw:{%s}:jobs", queue);
        if (*answer && !strstr(answer, "MOVED"))
            return n;
    }
    ck_abort_msg("no server has %s", queue);
    return -1;
}

/* A slot with its keys from one node to another, in the steps that every tool takes, with a pause in
 * each for the clients to meet. */
static void move_slot(struct cx *cx, struct world *w, int slot, int from, int to, int pause_ms)
{
    char ids[2][64], port[16];
    const char *left;

    snprintf(ids[0], sizeof ids[0], "%s", world_ask(w, from, "CLUSTER MYID"));
    snprintf(ids[1], sizeof ids[1], "%s", world_ask(w, to, "CLUSTER MYID"));
    snprintf(port, sizeof port, "%d", w->port[to]);
    ck_assert_str_eq(world_ask(w, to, "CLUSTER SETSLOT %d IMPORTING %s", slot, ids[0]), "OK");
    ck_assert_str_eq(world_ask(w, from, "CLUSTER SETSLOT %d MIGRATING %s", slot, ids[1]), "OK");
    ck_ok(fiber_sleep(cx, pause_ms));
    while (*(left = world_ask(w, from, "CLUSTER GETKEYSINSLOT %d 1", slot))) {
        const char *said = world_ask(w, from, "MIGRATE 127.0.0.1 %s %s 0 5000 AUTH %s", port, left,
                                     WORLD_PASSWORD);
        ck_assert_msg(strcmp(said, "OK") == 0 || strcmp(said, "NOKEY") == 0, "%s: %s", left,
                      said); /* a list may have been emptied since */
        ck_ok(fiber_sleep(cx, 1));
    }
    ck_ok(fiber_sleep(cx, pause_ms));
    for (int n = 0; n < MASTERS; n++)
        world_ask(w, (to + n) % MASTERS, "CLUSTER SETSLOT %d NODE %s", slot, ids[1]);
}

static rc moving(struct cx *cx, struct world *w)
{
    world_produce(w);
    world_goes_on(cx, w, "three masters");
    for (int round = 0; round < world_rounds(); round++) {
        for (size_t i = 0; i < 2 * COUNT(queues); i++) {
            const char *queue = queues[i % COUNT(queues)];
            int from = owner(w, queue);
            move_slot(cx, w, slot_of_key(queue, strlen(queue)), from, (from + 1) % MASTERS, 50);
        }
        world_goes_on(cx, w, "slots of all queues moved twice");
    }
    return OK;
}

/* ---------------------------------------------------------------- dying */

static int64_t done_in(struct world *w, const char *queue)
{
    return pg_one_int(w->stores.database_url,
                      "SELECT count(*) FROM jobs WHERE state = 'completed' AND queue = '%s'",
                      queue);
}

static bool promoted(struct world *w)
{
    return strstr(world_ask(w, REPLICA, "ROLE"), "master") != NULL;
}

static rc dying(struct cx *cx, struct world *w)
{
    int victim = owner(w, "alpha"), other;

    cli((const char *[]){"add-node", at(REPLICA), at(0), "--cluster-slave", "--cluster-master-id",
                         world_ask(w, victim, "CLUSTER MYID"), NULL});
    world_wait(cx, whole(SERVERS), 30000);
    world_wait(cx, strstr(world_ask(w, REPLICA, "INFO replication"), "master_link_status:up"),
               30000);
    int64_t began = support_now_ms(), before = done_in(w, "alpha");
    proc_kill9(w->server[victim]);
    world_wait(cx, promoted(w), 60000);
    printf("the replica is master after %d ms\n", (int)(support_now_ms() - began));
    before = done_in(w, "alpha");
    world_wait(cx, done_in(w, "alpha") > before + 20, 60000);
    printf("its queue goes on after %d ms\n", (int)(support_now_ms() - began));
    /* One that has no replica takes its queues with it, and leaves the others alone. */
    for (size_t i = 0; (other = owner(w, queues[i])) == REPLICA; i++)
        ck_assert_uint_lt(i, COUNT(queues));
    proc_kill9(w->server[other]);
    before = done_in(w, "alpha");
    began = support_now_ms();
    world_wait(cx, done_in(w, "alpha") > before + 50, 60000);
    printf("50 jobs of another node within %d ms\n", (int)(support_now_ms() - began));
    up(other); /* with what its file has */
    up(victim);
    world_wait(cx, whole(SERVERS), 60000);
    return OK;
}

static bool says_ready(const char *url)
{
    _cleanup_(freep) char *ready = xasprintf("%s/readyz", url);
    _cleanup_(web_reply_release) struct web_reply r = web(.url = ready);

    return r.status == 200;
}

/* Hub and command line see all queues, whichever node has them. */
static void looked_at(struct cx *cx, struct world *w)
{
    char redis[600], database[256], listen[64], url[64];
    int port = free_port();
    const char *env[] = {redis,
                         database,
                         listen,
                         "MIHWAR_HUB_PROCESSES=1",
                         "MIHWAR_SEAL_KEYS=a:000102030405060708090a0b0c0d0e0f"
                         "101112131415161718191a1b1c1d1e1f",
                         NULL};
    const char *hub_argv[] = {built("hub/mihwar-hub"), NULL};
    const char *argv[] = {built("ops/mihwar"), "queue", "ls", "--json", NULL};
    char *out = NULL;

    snprintf(redis, sizeof redis, "MIHWAR_REDIS_URL=%s", w->url);
    snprintf(database, sizeof database, "MIHWAR_DATABASE_URL=%s", w->stores.database_url);
    snprintf(listen, sizeof listen, "MIHWAR_HUB_LISTEN=127.0.0.1:%d", port);
    snprintf(url, sizeof url, "http://127.0.0.1:%d", port);
    struct proc *hub = proc_start(&(struct proc_opts){.name = "hub", .argv = hub_argv, .env = env});
    ck_assert_int_eq(proc_run(&(struct proc_opts){.name = "mihwar", .argv = argv, .env = env}, NULL,
                              20000, &out, NULL),
                     0);
    for (size_t i = 0; i < COUNT(queues); i++)
        ck_assert_msg(strstr(out, queues[i]), "%s is not in %s", queues[i], out);
    free(out);
    world_wait(cx, says_ready(url), 30000);
    ck_assert_int_eq(proc_stop(hub, 20000), 0);
    proc_free(hub);
}

/* Four shards, none of them by chance on the same two nodes. */
static void spread_out(struct cx *cx, struct world *w)
{
    bool has[SERVERS] = {0};

    ck_ok(engine_policy_set(cx, w->engine, "beta", &(struct queue_policy){.shards = 4}));
    for (int shard = 0; shard < 4; shard++) {
        struct queue_keys k = {0};
        char place[PLACE_NAME_MAX + 1], tag[sizeof k.name[0]];
        ck_ok(queue_keys_make(cx, place_name("beta", shard, place), &k));
        ck_assert_int_eq(sscanf(k.name[QK_JOBS], "mw:{%[^}]", tag), 1);
        has[owner(w, tag)] = true;
    }
    for (int n = 0; n < MASTERS; n++)
        ck_assert_msg(has[n], "server %d has no shard", n);
}

static rc moving_and_dying(struct cx *cx, struct world *w)
{
    spread_out(cx, w);
    ck_ok(moving(cx, w));
    looked_at(cx, w);
    ck_ok(dying(cx, w));
    world_books(cx, w);
    return OK;
}

START_TEST(slots_move_and_nodes_die_under_load)
{
    world_programs(&world, NULL);
    world_run(&world, moving_and_dying);
    world_end_programs(&world);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("cluster");
    TCase *tc = tcase_create("cluster");

    world_open(&world);
    set_up();
    tcase_add_test(tc, each_command_finds_its_node);
    tcase_add_test(tc, the_doctor_looks_at_each_node);
    tcase_add_test(tc, many_keys_are_waited_for_at_once);
    tcase_add_test(tc, slots_move_and_nodes_die_under_load);
    suite_add_tcase(s, tc);
    int failed = suite_run_unforked(s);
    world_close(&world);
    return support_end(failed);
}
