/* gate.c - a program refuses to start on a schema that it does not know.
 *
 * The question needs a loop and connections, which must not exist before a supervisor forks. So a
 * short-lived child asks, and its exit status is the answer. */
#include "base/log.h"
#include "pg/migrate.h"
#include "rt/fiber.h"
#include "rt/loop.h"
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#define ASK_MS 5000

enum { SCHEMA_FITS, SCHEMA_STRANGE, SCHEMA_UNKNOWN };

struct question {
    const char *database_url, *program;
    int answer;
};

static rc ask(struct cx *cx, void *arg)
{
    struct question *q = arg;
    struct pg *db = NULL;
    rc r = pg_new(cx, q->database_url, 1, &db);

    if (r == OK)
        r = migrate_check(cx, db);
    if (r == OK)
        q->answer = SCHEMA_FITS;
    else if (r == E_SCHEMA || r == E_CONFIG)
        fprintf(stderr, "%s: %s\n", q->program, cx_words(cx, r));
    else
        q->answer = SCHEMA_UNKNOWN;
    if (q->answer == SCHEMA_UNKNOWN)
        log_fail(LOG_WARN, "schema.unknown_yet", cx, r);
    pg_free(db);
    loop_stop();
    return OK;
}

static int ask_in_child(struct question *q)
{
    _cleanup_(cx_release) struct cx cx = CX_PLAIN(q->program);
    rc r = loop_init(&cx);

    if (r != OK) {
        log_fail(LOG_ERROR, "schema.no_loop", &cx, r);
        return SCHEMA_UNKNOWN;
    }
    q->answer = SCHEMA_STRANGE;
    fiber_detach(
        fiber_spawn(&(struct fiber_opts){.name = "schema.check", .timeout_ms = ASK_MS}, ask, q));
    loop_run();
    loop_free();
    return q->answer;
}

int migrate_gate(const char *database_url, const char *program)
{
    struct question q = {database_url, program, SCHEMA_STRANGE};
    int status = 0;
    pid_t pid;

    fflush(NULL);
    pid = fork();
    if (pid == 0)
        _exit(ask_in_child(&q));
    if (pid < 0) {
        fprintf(stderr, "%s: cannot fork: %s\n", program, strerror(errno));
        return 1;
    }
    while (waitpid(pid, &status, 0) < 0) {
        if (errno != EINTR)
            return 1;
    }
    /* PostgreSQL out of reach is not a reason to stay away: the program waits for it like for any
     * later outage */
    return WIFEXITED(status) && WEXITSTATUS(status) != SCHEMA_STRANGE ? 0 : 1;
}
