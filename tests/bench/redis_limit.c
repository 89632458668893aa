/* redis_limit.c - the limit: the engine's own push and claim steps in a bare loop, with nothing
 * around them. What a worker reaches is measured against this in the same run.
 *
 *   bench_redis_limit [--redis unix:PATH] [--jobs 400000] [--clients 2] [--batch 128] [--bytes
 *   200]
 *
 * Each client is a process with one blocking hiredis connection: first all push, then all drain,
 * acking each batch with the claim of the next. Without --redis a private one is started. One
 * line of JSON per phase: jobs/s, and the CPU that Redis and the clients spent on a job. */
#include "base/clock.h"
#include "queue/envelope.h"
#include "queue/internal.h"
#include "tests/bench/bench.h"
#include "tests/bench/options.h"
#include "tests/support/stores.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#define Q "bench"

static const char *redis_url;
static int jobs = 400000, clients = 2, batch = 128, bytes = 200;
static struct queue_keys keys;

static const enum queue_key push_keys[] = {PUSH_KEYS};
static const enum queue_key claim_keys[] = {CLAIM_KEYS};

static redisContext *open_redis(void)
{
    redisContext *c = redisConnectUnix(redis_url + strlen("unix:"));

    if (!c || c->err)
        die(redis_url, c ? c->errstr : "no memory");
    return c;
}

/* ---------------------------------------------------------------- a call */

struct argv {
    const char *v[8192];
    size_t len[8192];
    int n;
};

static void add(struct argv *a, const char *s, size_t len)
{
    a->v[a->n] = s;
    a->len[a->n++] = len;
}

static void add_str(struct argv *a, const char *s)
{
    add(a, s, strlen(s));
}

static void begin(struct argv *a, const struct script *s, const enum queue_key *named, size_t n)
{
    static char count[16];

    if ((int)n + 10 != s->keys)
        die(s->name, "the script takes other keys");
    a->n = 0;
    add_str(a, "EVALSHA");
    add_str(a, s->sha1);
    snprintf(count, sizeof count, "%d", s->keys);
    add_str(a, count);
    for (size_t i = 0; i < n; i++)
        add(a, keys.name[named[i]], keys.len[named[i]]);
    for (int i = 0; i < 10; i++)
        add(a, keys.name[QK_READY + i], keys.len[QK_READY + i]);
}

static redisReply *run(redisContext *c, struct argv *a)
{
    redisReply *r = redisCommandArgv(c, a->n, a->v, a->len);

    if (!r || r->type == REDIS_REPLY_ERROR)
        die("EVALSHA", r ? r->str : c->errstr);
    return r;
}

/* ---------------------------------------------------------------- the two phases */

static void push_all(redisContext *c, long n)
{
    struct argv *a = xmalloc(sizeof *a);
    char(*ids)[ID_LEN + 1] = xmalloc((size_t)batch * sizeof *ids);
    char *args = xmalloc((size_t)bytes + 1);
    const struct job_new j = {.task = "mihwar.noop", .args = args, .priority = JOB_PRIORITY};
    struct buf body = BUF(MiB(1));

    memset(args, 'x', (size_t)bytes);
    args[bytes] = 0;
    envelope_write(&body, &j, 0, clock_ms());
    for (long done = 0; done < n; done += batch) {
        begin(a, &SCRIPT_PUSH, push_keys, COUNT(push_keys));
        add_str(a, "");
        add_str(a, "0");
        for (int i = 0; i < batch && done + i < n; i++) {
            add(a, id_new(ids[i]), ID_LEN);
            add_str(a, "0.1.0");
            add_str(a, "5");
            add_str(a, "0");
            add_str(a, "");
            add(a, body.p, body.len);
        }
        freeReplyObject(run(c, a));
    }
}

static void drain_all(redisContext *c, long n)
{
    struct argv *a = xmalloc(sizeof *a);
    redisReply *last = NULL;
    char max[16];

    snprintf(max, sizeof max, "%d", batch);
    for (;;) {
        begin(a, &SCRIPT_CLAIM, claim_keys, COUNT(claim_keys));
        add_str(a, "");
        add_str(a, max);
        add_str(a, "30000");
        add_str(a, "-1");
        add_str(a, "0");
        add_str(a, "1"); /* all clients share the note: the cost is the same */
        for (size_t i = 0; last && i < last->element[5]->elements; i++)
            add(a, last->element[5]->element[i]->str, last->element[5]->element[i]->len);
        bool idle = last && last->element[5]->elements == 0;
        redisReply *r = run(c, a);
        if (last)
            freeReplyObject(last);
        last = r;
        if (idle && r->element[5]->elements == 0)
            return;
    }
}

static double redis_cpu_us(redisContext *c)
{
    redisReply *r = redisCommand(c, "INFO cpu");
    double us = info_cpu_us(r->str);

    freeReplyObject(r);
    return us;
}

static void phase(redisContext *c, const char *name, void (*fn)(redisContext *c, long n))
{
    double redis = redis_cpu_us(c), mine = children_cpu_us();
    int64_t start = clock_mono_us();

    for (int i = 0; i < clients; i++)
        if (fork() == 0) {
            fn(open_redis(), jobs / clients);
            _exit(0);
        }
    clients_end(clients, name);
    double took = (double)(clock_mono_us() - start) / 1e6, n = (double)(jobs / clients * clients);
    printf("{\"case\":\"limit_%s\",\"value\":%.0f,\"unit\":\"jobs/"
           "s\",\"batch\":%d,\"redis_us_per_job\":%.2f,"
           "\"client_us_per_job\":%.2f}\n",
           name, n / took, batch, (redis_cpu_us(c) - redis) / n, (children_cpu_us() - mine) / n);
    fflush(stdout);
}

static void must_hold(redisContext *c, const char *phase_name, long n)
{
    redisReply *r = redisCommand(c, "HLEN mw:{" Q "}:jobs");

    if (!r || r->type != REDIS_REPLY_INTEGER || r->integer != n)
        die(phase_name, "Redis holds another number of jobs than it should");
    freeReplyObject(r);
}

static void load(redisContext *c, const struct script *s)
{
    redisReply *r = redisCommand(c, "SCRIPT LOAD %s", s->body);

    if (!r || r->type == REDIS_REPLY_ERROR)
        die(s->name, r ? r->str : c->errstr);
    freeReplyObject(r);
}

static const struct option_row options[] = {
    {"redis", .text = &redis_url},
    {"jobs", .number = &jobs, .least = 1, .most = 100000000},
    {"clients", .number = &clients, .least = 1, .most = 64},
    {"batch", .number = &batch, .least = 1, .most = QUEUE_BATCH},
    {"bytes", .number = &bytes, .least = 0, .most = 900000},
};

int main(int argc, char **argv)
{
    _cleanup_(cx_release) struct cx cx = CX_PLAIN("bench");
    struct stores stores = {0};
    bool own;

    options_read(argc, argv, options, COUNT(options));
    if (redis_url && strncmp(redis_url, "unix:", 5) != 0)
        die(redis_url, "give unix:PATH");
    own = !redis_url;
    if (own) {
        stores_start(&stores, &(struct stores_opts){.no_pg = true});
        redis_url = stores.redis_url;
    }
    if (queue_keys_make(&cx, Q, &keys) != OK)
        return 1;
    redisContext *c = open_redis();
    load(c, &SCRIPT_PUSH);
    load(c, &SCRIPT_CLAIM);
    phase(c, "enqueue", push_all);
    must_hold(c, "enqueue", jobs / clients * clients);
    phase(c, "drain", drain_all);
    must_hold(c, "drain", 0);
    redisFree(c);
    if (own)
        stores_stop(&stores);
    return own ? support_end(0) : 0;
}
