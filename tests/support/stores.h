/* stores.h - a private Redis and a private PostgreSQL for one test program.
 *
 *   /tmp/mihwar-t.PID.XXXXXX/     made by stores_start, removed by stores_stop
 *       run/                      unix sockets: redis.sock, .s.PGSQL.5432
 *       pg/                       the cluster, copied from a template that initdb made once (README.md)
 *       redis/                    append-only files, when asked for
 *       *.log                     what everybody said; shown by support_end() when a test failed
 *
 * Both servers die with the process that started them (PR_SET_PDEATHSIG). Nothing that was running
 * before is touched. Started in main(), before Check forks its tests:
 *
 *     int main(void)
 *     {
 *         return stores_main(&stores, NULL, NULL, make_suite);
 *     }
 *
 * What cannot be started ends the program with a sentence: a test without its stores tells nothing.
 */
#pragma once
#include "base/cx.h"
#include "tests/support/proc.h"
#include <check.h> /* last: it has a macro fail() of its own, silently */

#define STORES_PG_BIN "/usr/lib/postgresql/15/bin/"

struct stores_opts {
    bool durable;  /* fsync on (PostgreSQL), append-only file (Redis): a killed server keeps what it
                      promised */
    bool pg_tcp;   /* PostgreSQL listens on 127.0.0.1:pg_port too; Redis always has a port */
    bool no_redis; /* tests that need one of them only */
    bool no_pg;
};

struct stores {
    struct stores_opts opts;
    char dir[64];
    char redis_url[128];    /* unix:/tmp/…/run/redis.sock */
    char redis_tcp_url[64]; /* redis://127.0.0.1:PORT */
    char database_url[192]; /* postgresql://postgres@/mihwar?host=/tmp/…/run: an empty database, no
                               schema */
    int redis_port, pg_port;
    struct proc *redis, *pg;
};

/* Starts both and waits until they answer (PostgreSQL below 1.5 s once the template is there). opts
 * may be NULL. */
void stores_start(struct stores *s, const struct stores_opts *opts);
/* Ends what was started. Removes the directory, unless a test failed and MIHWAR_TEST_KEEP is set.
 */
void stores_stop(struct stores *s);
/* main() of an ordinary test: start, prepare (may be NULL), run the suite in forks, stop. */
int stores_main(struct stores *s, const struct stores_opts *opts,
                void (*prepare)(const struct stores *s), Suite *(*make)(void));
/* The same without forks: for tests that start, stop or kill programs themselves (proc.h). */
int stores_main_unforked(struct stores *s, const struct stores_opts *opts,
                         void (*prepare)(const struct stores *s), Suite *(*make)(void));

/* kill -9 now; _up starts the same server on the same files and waits until it answers. */
void stores_kill_redis(struct stores *s);
void stores_kill_pg(struct stores *s);
void stores_up_redis(struct stores *s);
void stores_up_pg(struct stores *s);

/* Whom PostgreSQL's programs run as; 0: ourselves. Runs one of them to its end, which must be good. */
void stores_pg_user(uid_t *ret_uid, gid_t *ret_gid);
void stores_run_pg(const char *what, const char *const *argv);

/* CREATE DATABASE name (a copy of database `template`, NULL: an empty one); url holds 192 bytes;
 * returns url. */
char *stores_new_database(const struct stores *s, const char *name, const char *template_db,
                          char *url);
/* Every step of the schema. A failure ends the program. Outside any loop. */
void stores_migrate(const char *url);

/* ---------------------------------------------------------------- one blocking question
 *
 * Outside any loop.
 *
 * printf-style SQL or command. The answer is text in one of 32 buffers used in turn: copy what must
 * live longer. One connection per process and url is kept and made anew after a failure. */

/* First column of the first row; "" for SQL NULL, NULL when there is no row. A failure fails the
 * test. */
const char *pg_one(const char *url, const char *sql, ...) _printf_(2, 3);
int64_t pg_one_int(const char *url, const char *sql, ...) _printf_(2, 3); /* no row or NULL: -1 */
/* Every row as "a|b\n": the state of a table, to be compared with a string. Freed by the caller. */
char *pg_table(const char *url, const char *sql, ...) _printf_(2, 3);
/* As pg_one, but NULL also when the server cannot answer (it may be down now); the words go to
 * *ret_error (may be NULL). */
const char *pg_try(const char *url, const char **ret_error, const char *sql, ...) _printf_(3, 4);

/* One command, split at spaces (hiredis format). A string, integer or status as text; nil is NULL;
 * an array as its elements joined by '\n'. url: unix:… or redis://host:port. A failure fails the
 * test. */
const char *redis_one(const char *url, const char *fmt, ...) _printf_(2, 3);
/* NULL also when Redis cannot answer now. */
const char *redis_try(const char *url, const char *fmt, ...) _printf_(2, 3);
