/* stores.c - servers of our own: a copied cluster, an empty Redis, sockets that nobody else knows.
 *
 * initdb takes two seconds and PostgreSQL refuses root. So initdb runs once for each machine, user
 * and PostgreSQL version, into a template directory that is copied (23 MB, a tenth of a second) and
 * given to the user postgres. */
#include "tests/support/stores.h"
#include "pg/migrate.h"
#include "tests/support/on_fiber.h"
#include <errno.h>
#include <fcntl.h>
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#define PG_BIN STORES_PG_BIN
#define TEMPLATE                                                                                   \
    "/tmp/mihwar-test-pg15-v1" /* -UID; raise the number when init_template changes                \
                                */
#define START_MS                                                                                   \
    60000 /* a crashed PostgreSQL flushes its whole folder first, beside whoever uses the disk */
#define DATABASE "mihwar"

struct account {
    uid_t uid; /* 0: ourselves */
    gid_t gid;
};

/* Whom PostgreSQL runs as: ourselves, or the user that Debian's package made when we are root. */
static struct account pg_account(void)
{
    if (getuid() != 0)
        return (struct account){0};
    const struct passwd *p = getpwnam("postgres");
    if (!p)
        support_die("no user postgres here; scripts/deps installs PostgreSQL, which makes it");
    return (struct account){.uid = p->pw_uid, .gid = p->pw_gid};
}

static void run(const char *what, struct account a, const char *in, const char *const *argv)
{
    struct proc_opts o = {.name = what, .argv = argv, .uid = a.uid, .gid = a.gid};
    char *err = NULL;
    int status = proc_run(&o, in, START_MS, NULL, &err);
    if (status != 0)
        support_die("%s ended with %d: %s", what, status, err);
    free(err);
}

void stores_pg_user(uid_t *ret_uid, gid_t *ret_gid)
{
    struct account a = pg_account();

    *ret_uid = a.uid;
    *ret_gid = a.gid;
}

void stores_run_pg(const char *what, const char *const *argv)
{
    run(what, pg_account(), NULL, argv);
}

static void make_dir(const char *path, mode_t mode, struct account a)
{
    if (mkdir(path, mode) < 0 || chmod(path, mode) < 0 || (a.uid && chown(path, a.uid, a.gid) < 0))
        support_die("%s: %s", path, strerror(errno));
}

/* The template's directory, made on the first call of all. */
static void template_dir(char *out, size_t size)
{
    char lock_path[128], made[128], data[160];
    struct account a = pg_account();
    struct stat st;

    snprintf(out, size, TEMPLATE "-%d", (int)getuid());
    snprintf(lock_path, sizeof(lock_path), "%s.lock", out);
    int lock = open(lock_path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (lock < 0 || flock(lock, LOCK_EX) < 0)
        support_die("%s: %s", lock_path, strerror(errno));
    if (lstat(out, &st) == 0) {
        if (!S_ISDIR(st.st_mode) || (st.st_uid != getuid() && st.st_uid != a.uid))
            support_die("%s belongs to somebody else", out);
        close(lock);
        return;
    }
    snprintf(made, sizeof(made), "%s/template", support_dir());
    make_dir(made, 0700, a);
    snprintf(data, sizeof(data), "%s", made);
    run("initdb", a, NULL,
        (const char *[]){PG_BIN "initdb", "-D", data, "-U", "postgres", "-A", "trust", "-E", "UTF8",
                         "--locale=C.UTF-8", "--wal-segsize=1", "--no-sync", NULL});
    run("createdb", a, "CREATE DATABASE " DATABASE ";\n",
        (const char *[]){PG_BIN "postgres", "--single", "-D", data, "-F", "postgres", NULL});
    if (rename(made, out) < 0)
        support_die("%s: %s", out, strerror(errno));
    close(lock);
}

static void copy_cluster(struct stores *s)
{
    char from[128], to[96];
    template_dir(from, sizeof(from));
    snprintf(to, sizeof(to), "%s/pg", s->dir);
    /* As ourselves: only root may give files away, and cp -a keeps their owner. */
    run("copy", (struct account){0}, NULL,
        (const char *[]){"cp", "-a", "--reflink=auto", from, to, NULL});
}

/* ---------------------------------------------------------------- PostgreSQL */

void stores_up_pg(struct stores *s)
{
    char data[96], sockets[96], port[16];
    const char *words = NULL;
    struct account a = pg_account();
    snprintf(data, sizeof(data), "%s/pg", s->dir);
    snprintf(sockets, sizeof(sockets), "unix_socket_directories=%s/run", s->dir);
    snprintf(port, sizeof(port), "%d", s->opts.pg_tcp ? s->pg_port : 5432);
    const char *fsync = s->opts.durable ? "fsync=on" : "fsync=off";
    const char *listen = s->opts.pg_tcp ? "listen_addresses=127.0.0.1" : "listen_addresses=";
    const char *argv[] = {PG_BIN "postgres",
                          "-D",
                          data,
                          "-p",
                          port,
                          "-c",
                          sockets,
                          "-c",
                          listen,
                          "-c",
                          fsync,
                          "-c",
                          "unix_socket_permissions=0777",
                          "-c",
                          "shared_buffers=32MB",
                          "-c",
                          "max_connections=200",
                          "-c",
                          "jit=off",
                          "-c",
                          "TimeZone=UTC",
                          "-c",
                          "log_timezone=UTC",
                          "-c",
                          "max_wal_size=256MB",
                          "-c",
                          "log_line_prefix=%m [%p] ",
                          NULL};
    /* SIGQUIT: at our death the postmaster ends its children and frees its shared memory first. */
    struct proc_opts o = {
        .name = "postgres", .argv = argv, .uid = a.uid, .gid = a.gid, .death_signal = SIGQUIT};
    int64_t end = support_now_ms() + START_MS;
    s->pg = proc_free(s->pg);
    s->pg = proc_start(&o);
    while (!pg_try(s->database_url, &words, "SELECT 1")) {
        if (support_now_ms() > end)
            support_die("PostgreSQL does not answer: %s", words);
        /* After kill -9 the old backends may still hold the shared memory for a moment. */
        if (!proc_alive(s->pg)) {
            support_nap(50);
            proc_free(s->pg);
            s->pg = proc_start(&o);
        }
        support_nap(10);
    }
}

/* The whole server: a backend that outlives its postmaster would go on answering for a moment. */
void stores_kill_pg(struct stores *s)
{
    pid_t backends[256];
    size_t n = proc_children(proc_pid(s->pg), backends, COUNT(backends));
    proc_kill9(s->pg);
    for (size_t i = 0; i < n; i++)
        kill(backends[i], SIGKILL);
    for (size_t i = 0; i < n; i++)
        waitpid(backends[i], NULL, 0); /* adopted by us */
}

char *stores_new_database(const struct stores *s, const char *name, const char *template_db,
                          char *url)
{
    char cluster[192];
    snprintf(cluster, sizeof(cluster), "postgresql://postgres@/postgres?host=%s/run", s->dir);
    pg_try(cluster, NULL, "DROP DATABASE IF EXISTS \"%s\" WITH (FORCE)", name);
    free(pg_table(cluster, "CREATE DATABASE \"%s\" TEMPLATE \"%s\"", name,
                  template_db ? template_db : "template1"));
    snprintf(url, 192, "postgresql://postgres@/%s?host=%s/run", name, s->dir);
    return url;
}

/* ---------------------------------------------------------------- Redis */

void stores_up_redis(struct stores *s)
{
    char port[16], sock[96], dir[96];
    int64_t end = support_now_ms() + START_MS;
    snprintf(sock, sizeof(sock), "%s/run/redis.sock", s->dir);
    snprintf(dir, sizeof(dir), "%s/redis", s->dir);
    snprintf(port, sizeof(port), "%d", s->redis_port);
    const char *argv[] = {"redis-server",
                          "--bind",
                          "127.0.0.1",
                          "--port",
                          port,
                          "--unixsocket",
                          sock,
                          "--unixsocketperm",
                          "777",
                          "--save",
                          "",
                          "--appendonly",
                          s->opts.durable ? "yes" : "no",
                          "--dir",
                          dir,
                          "--protected-mode",
                          "no",
                          NULL};
    struct proc_opts o = {.name = "redis", .argv = argv};
    s->redis = proc_free(s->redis);
    s->redis = proc_start(&o);
    for (const char *pong; !(pong = redis_try(s->redis_url, "PING"));) {
        if (!proc_alive(s->redis) || support_now_ms() > end)
            support_die("Redis does not answer (%s/redis.log)", s->dir);
        support_nap(10);
    }
    /* Loading the append-only file answers -LOADING to everything but PING. */
    if (!wait_until(redis_try(s->redis_url, "DBSIZE") != NULL, START_MS))
        support_die("Redis does not load its file");
}

void stores_kill_redis(struct stores *s)
{
    proc_kill9(s->redis);
}

/* ---------------------------------------------------------------- both */

void stores_start(struct stores *s, const struct stores_opts *opts)
{
    char path[96];
    *s = (struct stores){.opts = opts ? *opts : (struct stores_opts){0}};
    snprintf(s->dir, sizeof(s->dir), "%s", support_dir());
    snprintf(path, sizeof(path), "%s/run", s->dir);
    make_dir(path, 0700, s->opts.no_pg ? (struct account){0} : pg_account());
    if (!s->opts.no_redis) {
        snprintf(path, sizeof(path), "%s/redis", s->dir);
        make_dir(path, 0700, (struct account){0});
        s->redis_port = free_port();
        snprintf(s->redis_url, sizeof(s->redis_url), "unix:%s/run/redis.sock", s->dir);
        snprintf(s->redis_tcp_url, sizeof(s->redis_tcp_url), "redis://127.0.0.1:%d", s->redis_port);
        stores_up_redis(s);
    }
    if (!s->opts.no_pg) {
        s->pg_port = s->opts.pg_tcp ? free_port() : 5432;
        snprintf(s->database_url, sizeof(s->database_url),
                 "postgresql://postgres@/" DATABASE "?host=%s/run%s", s->dir, "");
        if (s->opts.pg_tcp)
            snprintf(s->database_url, sizeof(s->database_url),
                     "postgresql://postgres@127.0.0.1:%d/" DATABASE, s->pg_port);
        copy_cluster(s);
        stores_up_pg(s);
    }
}

void stores_stop(struct stores *s)
{
    if (s->redis)
        proc_stop(s->redis, 2000);
    if (s->pg && proc_alive(s->pg)) {
        proc_signal(s->pg, SIGQUIT);
        proc_wait(s->pg, 5000);
    }
    s->redis = proc_free(s->redis);
    s->pg = proc_free(s->pg);
}

static rc migrate(struct cx *cx, void *arg)
{
    struct pg *db;

    try(pg_new(cx, arg, 1, &db));
    rc r = migrate_run(cx, db, NULL);
    pg_free(db);
    return r;
}

void stores_migrate(const char *url)
{
    _cleanup_(freep) char *copy = xstrdup(url);

    if (on_fiber(migrate, copy) != OK)
        support_die("the schema cannot be made in %s", url);
}

static int run_suite(struct stores *s, const struct stores_opts *opts,
                     void (*prepare)(const struct stores *s), Suite *(*make)(void), bool forked)
{
    stores_start(s, opts);
    if (prepare)
        prepare(s);
    int failed = forked ? suite_run(make()) : suite_run_unforked(make());
    stores_stop(s);
    return support_end(failed);
}

int stores_main(struct stores *s, const struct stores_opts *opts,
                void (*prepare)(const struct stores *s), Suite *(*make)(void))
{
    return run_suite(s, opts, prepare, make, true);
}

int stores_main_unforked(struct stores *s, const struct stores_opts *opts,
                         void (*prepare)(const struct stores *s), Suite *(*make)(void))
{
    return run_suite(s, opts, prepare, make, false);
}
