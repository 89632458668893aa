/* replica.c - see replica.h. */
#include "tests/support/replica.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define START_MS 30000

/* ---------------------------------------------------------------- a standby */

static void start_standby(struct stores *s, struct replica *r)
{
    char port[16], data[96], sockets[96];
    const char *argv[] = {STORES_PG_BIN "postgres",
                          "-D",
                          data,
                          "-p",
                          port,
                          "-c",
                          sockets,
                          "-c",
                          "listen_addresses=127.0.0.1",
                          "-c",
                          "fsync=off",
                          "-c",
                          "shared_buffers=32MB",
                          "-c",
                          "max_connections=200",
                          "-c",
                          "TimeZone=UTC",
                          "-c",
                          "log_timezone=UTC",
                          NULL};
    struct proc_opts o = {.name = "standby", .argv = argv, .death_signal = SIGQUIT};

    snprintf(port, sizeof(port), "%d", r->port);
    snprintf(data, sizeof(data), "%s/standby", s->dir);
    snprintf(sockets, sizeof(sockets), "unix_socket_directories=%s/run", s->dir);
    stores_pg_user(&o.uid, &o.gid);
    r->postgres = proc_start(&o);
}

void replica_start(struct stores *s, struct replica *r)
{
    char data[96], from[160], direct[192];
    const char *state;

    struct proc_opts user = {0};

    snprintf(data, sizeof(data), "%s/standby", s->dir);
    stores_pg_user(&user.uid, &user.gid);
    if (mkdir(data, 0700) < 0 || (user.uid && chown(data, user.uid, user.gid) < 0))
        support_die("%s cannot be made", data);
    snprintf(from, sizeof(from), "host=127.0.0.1 port=%d user=postgres", s->pg_port);
    stores_run_pg("basebackup",
                  (const char *[]){STORES_PG_BIN "pg_basebackup", "-D", data, "-d", from, "-R",
                                   "-X", "stream", "-c", "fast", "--no-sync", NULL});
    r->port = free_port();
    start_standby(s, r);
    snprintf(direct, sizeof(direct), "%s", s->database_url);
    free(pg_table(direct, "ALTER SYSTEM SET synchronous_standby_names = '*'"));
    pg_one(direct, "SELECT pg_reload_conf()");
    if (!wait_until((state = pg_try(direct, NULL, "SELECT sync_state FROM pg_stat_replication")) &&
                        strcmp(state, "sync") == 0,
                    START_MS))
        support_die("the standby does not follow");
    snprintf(
        r->both_url, sizeof(r->both_url),
        "postgresql://postgres@127.0.0.1:%d,127.0.0.1:%d/mihwar?target_session_attrs=read-write",
        s->pg_port, r->port);
    snprintf(r->own_url, sizeof(r->own_url), "postgresql://postgres@127.0.0.1:%d/mihwar", r->port);
}

void replica_promote(struct stores *s, struct replica *r)
{
    char data[96];
    const char *still;

    snprintf(data, sizeof(data), "%s/standby", s->dir);
    stores_run_pg("promote",
                  (const char *[]){STORES_PG_BIN "pg_ctl", "promote", "-w", "-D", data, NULL});
    if (!wait_until((still = pg_try(r->own_url, NULL, "SELECT pg_is_in_recovery()")) &&
                        strcmp(still, "f") == 0,
                    START_MS))
        support_die("the standby was not promoted");
}

void replica_stop(struct replica *r)
{
    if (r->postgres && proc_alive(r->postgres)) {
        proc_signal(r->postgres, SIGQUIT);
        proc_wait(r->postgres, 5000);
    }
    r->postgres = proc_free(r->postgres);
}

/* ---------------------------------------------------------------- a pooler */

static void write_config(const struct stores *s, const struct pooler *p, const char *path)
{
    struct proc_opts user = {0};
    FILE *f = fopen(path, "we");

    if (!f)
        support_die("%s cannot be written", path);
    fprintf(
        f,
        "[databases]\n* = host=%s/run port=%d user=postgres\n[pgbouncer]\nlisten_addr = 127.0.0.1\n"
        "listen_port = %d\nunix_socket_dir =\nauth_type = any\npool_mode = "
        "transaction\ndefault_pool_size = %d\n"
        "max_client_conn = 1000\n",
        s->dir, s->opts.pg_tcp ? s->pg_port : 5432, p->port, p->servers);
    fclose(f);
    stores_pg_user(&user.uid, &user.gid);
    if (chmod(path, 0600) < 0 || (user.uid && chown(path, user.uid, user.gid) < 0))
        support_die("%s cannot be given away", path);
}

void pooler_up(const struct stores *s, struct pooler *p)
{
    char path[96];
    const char *argv[] = {"/usr/sbin/pgbouncer", path, NULL};
    struct proc_opts o = {.name = "pgbouncer", .argv = argv};

    snprintf(path, sizeof(path), "%s/run/pgbouncer.ini", s->dir);
    if (p->port == 0) {
        p->port = free_port();
        p->servers = p->servers ? p->servers : 4;
        write_config(s, p, path);
        snprintf(p->url, sizeof(p->url), "postgresql://postgres@127.0.0.1:%d/mihwar", p->port);
    }
    stores_pg_user(&o.uid, &o.gid);
    p->pgbouncer = proc_free(p->pgbouncer);
    p->pgbouncer = proc_start(&o);
    if (!wait_until(pg_try(p->url, NULL, "SELECT 1") != NULL, START_MS))
        support_die("pgbouncer does not answer");
}

void pooler_kill(struct pooler *p)
{
    proc_kill9(p->pgbouncer);
}

void pooler_stop(struct pooler *p)
{
    p->pgbouncer = proc_free(p->pgbouncer);
}
