/* doctor.c - see doctor.h. A new check is a function and a row of checks[]. */
#include "domain/doctor.h"
#include "base/clock.h"
#include "base/text.h"
#include "domain/doctor.sql.h"
#include "pg/migrate.h"
#include "queue/keys.h"
#include "queue/workers.h"
#include <stdlib.h>
#include <string.h>

#define CHECK_MS      5000
#define FINDINGS_MAX  256
#define DEAD_MANY     100000
#define TX_OLD_S      300
#define TX_ANCIENT_S  3600
#define DRIFT_WARN_MS 1000
#define DRIFT_BAD_MS  30000 /* the sweep allows a minute (lib/queue/reconcile.c) */
#define SCAN_KEYS     20000

struct visit {
    const struct doctor *d;
    struct finding *all;
    size_t n;
    const char *check; /* under way */
};

static const char *const words[] = {"ok", "warn", "bad"};

const char *finding_word(enum finding_level l)
{
    return words[l];
}

static void note(struct visit *v, enum finding_level level, const char *found, const char *meaning,
                 const char *todo)
{
    if (v->n == FINDINGS_MAX)
        return;
    v->all[v->n++] = (struct finding){level, v->check, found, level == FINDING_OK ? NULL : meaning,
                                      level == FINDING_OK ? NULL : todo};
}

#define say(cx, ...) arena_printf(&(cx)->arena, __VA_ARGS__)

/* ------------------------------------------------------------------ PostgreSQL */

static rc check_schema(struct cx *cx, struct visit *v)
{
    rc r = migrate_check(cx, v->d->db);

    if (r == E_SCHEMA) {
        note(v, FINDING_BAD, say(cx, "%s", cx_words(cx, r)), "programs refuse to start on it",
             "run 'mihwar db migrate', or start the release that belongs to it");
        return OK;
    }
    try(r);
    note(v, FINDING_OK, "the schema is current", NULL, NULL);
    return OK;
}

static rc check_dead_tuples(struct cx *cx, struct visit *v)
{
    _cleanup_(pg_result_freep) struct pg_result *res = NULL;
    bool any = false;

    try(pg_query(cx, v->d->db, &SQL_DOCTOR_DEAD_TUPLES, &res, PG_NO_ARGS));
    for (int i = 0; i < pg_rows(res); i++) {
        int64_t dead = pg_int(res, i, 1), live = pg_int(res, i, 2);
        if (dead * 5 < live)
            continue;
        any = true;
        note(v, dead > DEAD_MANY && dead > live ? FINDING_BAD : FINDING_WARN,
             say(cx, "%s has %lld dead rows beside %lld living; vacuumed last: %s",
                 pg_text(res, i, 0), (long long)dead, (long long)live, pg_text(res, i, 3)),
             "scans pass over them, and the table grows",
             "let autovacuum at it: end old transactions, lower autovacuum_vacuum_scale_factor of "
             "the "
             "table, or VACUUM it");
    }
    if (!any)
        note(v, FINDING_OK, "no table with many dead rows", NULL, NULL);
    return OK;
}

static rc check_transactions(struct cx *cx, struct visit *v)
{
    _cleanup_(pg_result_freep) struct pg_result *res = NULL;

    try(pg_query(cx, v->d->db, &SQL_DOCTOR_TRANSACTIONS, &res, PG_NO_ARGS));
    int64_t age = pg_int(res, 0, 0), used = pg_int(res, 0, 2), most = pg_int(res, 0, 3);
    note(v,
         age > TX_ANCIENT_S ? FINDING_BAD
         : age > TX_OLD_S   ? FINDING_WARN
                            : FINDING_OK,
         say(cx, "the oldest transaction began %lld s ago%s%s", (long long)age,
             age > TX_OLD_S ? ": " : "", age > TX_OLD_S ? pg_text(res, 0, 1) : ""),
         "nothing that died since can be cleaned away, in any table",
         "end it: SELECT pg_terminate_backend(PID); set idle_in_transaction_session_timeout");
    v->check = "pg-connections";
    note(v,
         used * 100 > most * 95   ? FINDING_BAD
         : used * 100 > most * 80 ? FINDING_WARN
                                  : FINDING_OK,
         say(cx, "%lld of %lld connections are taken", (long long)used, (long long)most),
         "the next process finds none",
         "raise max_connections, lower database_pool, or use PgBouncer");
    return OK;
}

static void judge_drift(struct cx *cx, struct visit *v, const char *whom, int64_t drift_ms)
{
    int64_t off = drift_ms < 0 ? -drift_ms : drift_ms;

    note(v,
         off > DRIFT_BAD_MS    ? FINDING_BAD
         : off > DRIFT_WARN_MS ? FINDING_WARN
                               : FINDING_OK,
         say(cx, "%s's clock is %lld ms %s this machine's", whom, (long long)off,
             drift_ms < 0 ? "behind" : "ahead of"),
         "jobs begin early or late, and ages are wrong; past a minute, the sweep mistakes new jobs "
         "for old",
         "run a time daemon (chrony) on every machine");
}

static rc check_pg_settings(struct cx *cx, struct visit *v)
{
    _cleanup_(pg_result_freep) struct pg_result *res = NULL;
    int64_t before = clock_ms();

    try(pg_query(cx, v->d->db, &SQL_DOCTOR_SETTINGS, &res, PG_NO_ARGS));
    int64_t middle = (before + clock_ms()) / 2, frozen = pg_int(res, 0, 3);
    bool vacuum = strcmp(pg_text(res, 0, 0), "on") == 0;
    bool safe = strcmp(pg_text(res, 0, 1), "on") == 0 && strcmp(pg_text(res, 0, 2), "on") == 0;
    note(v, vacuum ? FINDING_OK : FINDING_BAD, say(cx, "autovacuum is %s", pg_text(res, 0, 0)),
         "tables grow without end, and one day the database stops", "set autovacuum = on");
    v->check = "pg-wraparound";
    note(v,
         frozen > 1500000000  ? FINDING_BAD
         : frozen > 500000000 ? FINDING_WARN
                              : FINDING_OK,
         say(cx, "the oldest unfrozen row is %lld transactions old", (long long)frozen),
         "at two thousand million the database stops", "let autovacuum finish, or VACUUM FREEZE");
    v->check = "pg-durability";
    note(v, safe ? FINDING_OK : FINDING_WARN,
         say(cx, "fsync is %s, full_page_writes is %s", pg_text(res, 0, 1), pg_text(res, 0, 2)),
         "what was accepted can be lost with the machine", "set both on");
    v->check = "clock-postgresql";
    judge_drift(cx, v, "PostgreSQL", pg_int(res, 0, 4) - middle);
    return OK;
}

static rc check_partitions(struct cx *cx, struct visit *v)
{
    _cleanup_(pg_result_freep) struct pg_result *res = NULL;

    try(pg_query(cx, v->d->db, &SQL_DOCTOR_PARTITIONS, &res, PG_NO_ARGS));
    int64_t months = pg_int(res, 0, 0);
    bool strays = pg_bool(res, 0, 1);
    note(v,
         months < 2             ? FINDING_BAD
         : months < 3 || strays ? FINDING_WARN
                                : FINDING_OK,
         say(cx, "the command history has partitions for %lld of this and the next two months%s",
             (long long)months, strays ? "; rows lie in the default one" : ""),
         "rows without a partition lie in the default one, which cannot be dropped by month",
         "is beat running? its duty beat.history makes them each night");
    return OK;
}

/* ------------------------------------------------------------------ Redis */

static const char *info(struct cx *cx, const char *text, const char *name)
{
    size_t n = strlen(name);

    for (const char *at = text; (at = strstr(at, name)); at += n)
        if ((at == text || at[-1] == '\n') && at[n] == ':')
            return arena_strndup(&cx->arena, at + n + 1, strcspn(at + n + 1, "\r\n"));
    return "";
}

/* Of a cluster each finding names its node. */
static const char *at_node(struct cx *cx, const char *name)
{
    return *name ? say(cx, "%s: ", name) : "";
}

static void judge_memory(struct cx *cx, struct visit *v, const char *name, const char *text)
{
    const char *at = at_node(cx, name);
    const char *policy = info(cx, text, "maxmemory_policy");
    int64_t most = strtoll(info(cx, text, "maxmemory"), NULL, 10);
    int64_t used = strtoll(info(cx, text, "used_memory"), NULL, 10);
    bool keeps = strcmp(policy, "noeviction") == 0;

    v->check = "redis-eviction";
    note(v,
         keeps  ? FINDING_OK
         : most ? FINDING_BAD
                : FINDING_WARN,
         say(cx, "%smaxmemory-policy is %s", at, policy),
         "a Redis that is full drops jobs instead of refusing new ones",
         "CONFIG SET maxmemory-policy noeviction, and in its file");
    v->check = "redis-memory";
    if (!most)
        note(v, FINDING_WARN,
             say(cx, "%sno maxmemory; %lld MB in use", at, (long long)(used >> 20)),
             "Redis takes what there is, and the kernel may kill it",
             "set maxmemory below what the machine can spare");
    else
        note(v,
             used > most / 20 * 19 ? FINDING_BAD
             : used > most / 5 * 4 ? FINDING_WARN
                                   : FINDING_OK,
             say(cx, "%s%lld of %lld MB in use", at, (long long)(used >> 20),
                 (long long)(most >> 20)),
             "when it is full, new jobs wait in PostgreSQL and broker jobs are refused",
             "raise maxmemory, or let workers catch up");
}

static void judge_persistence(struct cx *cx, struct visit *v, const char *name, const char *text)
{
    const char *at = at_node(cx, name);
    bool aof = strcmp(info(cx, text, "aof_enabled"), "1") == 0;
    bool failed = strcmp(info(cx, text, "rdb_last_bgsave_status"), "err") == 0 ||
                  (aof && strcmp(info(cx, text, "aof_last_write_status"), "err") == 0);
    int64_t saved_s = strtoll(info(cx, text, "rdb_last_save_time"), NULL, 10);
    int64_t changes = strtoll(info(cx, text, "rdb_changes_since_last_save"), NULL, 10);
    int64_t age_s = clock_ms() / 1000 - saved_s;
    bool stale = !aof && changes > 10000 && age_s > 3600;

    v->check = "redis-persistence";
    note(v,
         failed  ? FINDING_BAD
         : stale ? FINDING_WARN
                 : FINDING_OK,
         failed ? say(cx, "%sRedis could not write its last snapshot or log", at)
         : stale
             ? say(cx, "%sno append-only file; %lld changes since the last snapshot, %lld min ago",
                   at, (long long)changes, (long long)age_s / 60)
             : say(cx, "%s%s", at, aof ? "append-only file" : "snapshots"),
         "when Redis dies, durable jobs are rebuilt from PostgreSQL, and broker jobs are lost",
         failed ? "look at its log: is the disk full?" : "appendonly yes, if broker jobs matter");
}

static rc info_of_node(struct cx *cx, struct visit *v, size_t node)
{
    _cleanup_(redis_reply_freep) redisReply *reply = NULL;
    char name[64];

    try(redis_node_cmd(cx, v->d->redis, node, &reply, name, "INFO"));
    if (reply->type != REDIS_REPLY_STRING)
        return fail(cx, REDIS, "INFO gave no text");
    judge_memory(cx, v, name, reply->str);
    judge_persistence(cx, v, name, reply->str);
    return OK;
}

static rc clock_of_node(struct cx *cx, struct visit *v, size_t node)
{
    _cleanup_(redis_reply_freep) redisReply *t = NULL;
    int64_t before = clock_ms();
    char name[64];

    try(redis_node_cmd(cx, v->d->redis, node, &t, name, "TIME"));
    int64_t middle = (before + clock_ms()) / 2;
    if (t->type != REDIS_REPLY_ARRAY || t->elements != 2)
        return fail(cx, REDIS, "TIME gave no time");
    judge_drift(cx, v, *name ? say(cx, "Redis %s", name) : "Redis",
                strtoll(t->element[0]->str, NULL, 10) * 1000 +
                    strtoll(t->element[1]->str, NULL, 10) / 1000 - middle);
    return OK;
}

/* Somebody else's keys in our database that will never go away. Of a large Redis, a part is looked at. */
static rc keys_of_node(struct cx *cx, struct visit *v, size_t node)
{
    char cursor[32] = "0", example[80] = "", name[64] = "";
    int64_t seen = 0, strange = 0;

    do {
        _cleanup_(redis_reply_freep) redisReply *page = NULL;
        try(redis_node_cmd(cx, v->d->redis, node, &page, name, "SCAN %s COUNT 1000", cursor));
        if (page->type != REDIS_REPLY_ARRAY || page->elements != 2)
            return fail(cx, REDIS, "SCAN gave no page");
        snprintf(cursor, sizeof cursor, "%s", page->element[0]->str);
        for (size_t i = 0; i < page->element[1]->elements; i++) {
            _cleanup_(redis_reply_freep) redisReply *ttl = NULL;
            const redisReply *key = page->element[1]->element[i];
            seen++;
            if (starts_with(key->str, "mw:") || strange >= 100)
                continue;
            try(redis_node_cmd(cx, v->d->redis, node, &ttl, name, "PTTL %b", key->str,
                               (size_t)key->len));
            if (ttl->type == REDIS_REPLY_INTEGER && ttl->integer == -1 && strange++ == 0)
                snprintf(example, sizeof example, "%s", key->str);
        }
    } while (strcmp(cursor, "0") != 0 && seen < SCAN_KEYS);
    note(v, strange ? FINDING_WARN : FINDING_OK,
         strange
             ? say(cx, "%s%lld%s keys that are not ours and never expire, such as '%s'",
                   at_node(cx, name), (long long)strange, strange == 100 ? " or more" : "", example)
             : say(cx, "%sno keys of others that never expire", at_node(cx, name)),
         "they share memory with the jobs, and nobody here removes them",
         "move them to another Redis, or give them a TTL");
    return OK;
}

/* Each server that holds keys: of a cluster all of its nodes that hold slots. */
static rc each_node(struct cx *cx, struct visit *v,
                    rc (*look)(struct cx *cx, struct visit *v, size_t node))
{
    size_t n;

    try(redis_nodes(cx, v->d->redis, &n));
    for (size_t i = 0; i < n; i++)
        try(look(cx, v, i));
    return OK;
}

static rc check_redis_info(struct cx *cx, struct visit *v)
{
    return each_node(cx, v, info_of_node);
}
static rc check_redis_clock(struct cx *cx, struct visit *v)
{
    return each_node(cx, v, clock_of_node);
}
static rc check_redis_keys(struct cx *cx, struct visit *v)
{
    return each_node(cx, v, keys_of_node);
}

/* ------------------------------------------------------------------ the engine */

static rc check_epoch(struct cx *cx, struct visit *v)
{
    _cleanup_(pg_result_freep) struct pg_result *res = NULL;

    try(pg_query(cx, v->d->db, &SQL_DOCTOR_EPOCH, &res, PG_NO_ARGS));
    int64_t age = pg_rows(res) ? pg_int(res, 0, 0) : INT64_MAX, every = v->d->settings->epoch_every;
    note(v, age > every * 5 + 10000 ? FINDING_BAD : FINDING_OK,
         say(cx, "the epoch was advanced %lld s ago", (long long)age / 1000),
         "no beat leads, or Redis does not answer it: schedules stand still, lost jobs are not "
         "mended",
         "start mihwar-beat, and look at its log for epoch.failed");
    return OK;
}

static rc check_unpushed(struct cx *cx, struct visit *v)
{
    _cleanup_(pg_result_freep) struct pg_result *res = NULL;
    int64_t missing = 0;
    struct queue_keys *k = arena_alloc(&cx->arena, sizeof *k);

    try(pg_query(cx, v->d->db, &SQL_DOCTOR_WAITING, &res, PG_NO_ARGS));
    for (int i = 0; i < pg_rows(res); i++) {
        _cleanup_(redis_reply_freep) redisReply *known = NULL;
        try(queue_keys_make(cx, pg_text(res, i, 1), k));
        try(redis_cmd(cx, v->d->redis, &known, "HEXISTS %s %s", k->name[QK_JOBS],
                      pg_text(res, i, 0)));
        missing += known->type == REDIS_REPLY_INTEGER && known->integer == 0;
    }
    note(v, missing ? FINDING_BAD : FINDING_OK,
         missing ? say(cx, "%lld of the %d oldest live jobs are not known to Redis",
                       (long long)missing, pg_rows(res))
                 : "jobs of a minute ago are known to Redis",
         "nobody will run them before they are pushed again",
         "beat does it within half a minute; if it does not, look at its log for duty.failed");
    return OK;
}

struct served {
    int up, silent, draining;
};

static struct served who_serves(const struct worker_info *w, size_t n, const char *queue)
{
    struct served s = {0};

    for (size_t i = 0; i < n; i++) {
        s.silent += !queue && w[i].silent;
        s.draining += worker_serves(&w[i], queue) && w[i].draining;
        s.up += worker_serves(&w[i], queue) && !w[i].draining;
    }
    return s;
}

static rc check_workers(struct cx *cx, struct visit *v)
{
    struct worker_info *w;
    size_t n;

    try(workers_list(cx, v->d->engine, &w, &n));
    struct served s = who_serves(w, n, NULL);
    note(v, s.up ? FINDING_OK : FINDING_BAD,
         say(cx, "%d worker processes claim, %d are draining", s.up, s.draining),
         "nothing is carried out", "start mihwar-worker, or 'mihwar worker resume --all'");
    v->check = "worker-heartbeat";
    note(v, s.silent ? FINDING_WARN : FINDING_OK,
         say(cx, "%d processes were killed, or have not been heard of for 15 s", s.silent),
         "their jobs went back when their leases expired; they are forgotten after an hour",
         "'mihwar worker ls' names them; look at their logs");
    return OK;
}

static rc check_queues(struct cx *cx, struct visit *v)
{
    struct worker_info *w;
    struct queue_stats *q;
    size_t n, nq, lonely = 0;

    try(workers_list(cx, v->d->engine, &w, &n));
    try(engine_queues(cx, v->d->engine, &q, &nq));
    for (size_t i = 0; i < nq; i++) {
        bool work = q[i].ready || q[i].scheduled || q[i].leased;
        if (!work || who_serves(w, n, q[i].name).up)
            continue;
        lonely++;
        note(v, q[i].ready ? FINDING_BAD : FINDING_WARN,
             say(cx, "nobody works on queue '%s': %lld jobs are ready, %lld scheduled", q[i].name,
                 (long long)q[i].ready, (long long)q[i].scheduled),
             "its jobs wait for ever", "add it to worker_queues of some workers");
    }
    if (!lonely)
        note(v, FINDING_OK, "each queue with jobs has workers", NULL, NULL);
    v->check = "queue-paused";
    for (size_t i = 0; i < nq; i++)
        if (q[i].paused && q[i].ready)
            note(v, FINDING_WARN,
                 say(cx, "queue '%s' is paused, %lld jobs are ready", q[i].name,
                     (long long)q[i].ready),
                 "nothing of it is claimed", say(cx, "'mihwar queue resume %s'", q[i].name));
    return OK;
}

/* Duties tell of themselves in the card of the beat that leads. */
static rc check_duties(struct cx *cx, struct visit *v)
{
    struct worker_info *w;
    int beats = 0, failing = 0;
    size_t n;

    try(workers_list(cx, v->d->engine, &w, &n));
    for (size_t i = 0; i < n; i++) {
        const cJSON *duty, *duties = cJSON_GetObjectItem(w[i].card, "duties");
        beats += !w[i].silent && strcmp(w[i].kind, "beat") == 0;
        cJSON_ArrayForEach(duty, duties)
        {
            const char *name = json_text(cx, cJSON_GetObjectItem(duty, "name"));
            const char *error = json_text(cx, cJSON_GetObjectItem(duty, "error"));
            if (!name || !error)
                continue;
            failing++;
            note(v, FINDING_BAD, say(cx, "duty %s failed: %s", name, error),
                 "what it mends stays broken until it succeeds",
                 "look at beat's log for duty.failed");
        }
    }
    if (!failing)
        note(v, beats ? FINDING_OK : FINDING_WARN,
             say(cx, "%d beat%s, no duty failed", beats, beats == 1 ? "" : "s"),
             "nobody starts what is due by the clock", "start mihwar-beat");
    return OK;
}

/* ------------------------------------------------------------------ all of them */

static const struct {
    const char *name;
    rc (*look)(struct cx *cx, struct visit *v);
} checks[] = {
    {"pg-schema", check_schema},
    {"pg-dead-rows", check_dead_tuples},
    {"pg-transactions", check_transactions},
    {"pg-autovacuum", check_pg_settings},
    {"history-partitions", check_partitions},
    {"redis", check_redis_info},
    {"redis-keys", check_redis_keys},
    {"clock-redis", check_redis_clock},
    {"epoch", check_epoch},
    {"jobs-unpushed", check_unpushed},
    {"workers", check_workers},
    {"queue-workers", check_queues},
    {"duties", check_duties},
};

rc doctor_look(struct cx *cx, const struct doctor *d, struct finding **ret, size_t *ret_n)
{
    struct visit v = {.d = d, .all = arena_alloc(&cx->arena, FINDINGS_MAX * sizeof *v.all)};

    for (size_t i = 0; i < COUNT(checks); i++) {
        _cleanup_(cx_deadline_restore) struct cx_deadline limit = cx_deadline_within(cx, CHECK_MS);
        v.check = checks[i].name;
        rc r = checks[i].look(cx, &v);
        cx_deadline_restore(&limit);
        if (r == E_CANCELLED)
            return r;
        if (r == E_REDIS || r == E_PG)
            note(&v, FINDING_WARN, say(cx, "could not be looked at: %s", cx_words(cx, r)),
                 "this user may not ask", "docs/operations.md says which rights it needs");
        else if (r != OK)
            note(&v, FINDING_BAD, say(cx, "could not be looked at: %s", cx_words(cx, r)),
                 "a store is away", "is it up? see database_url and redis_url");
    }
    *ret = v.all;
    *ret_n = v.n;
    return OK;
}
