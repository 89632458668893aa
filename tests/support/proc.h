/* proc.h - programs under test: started, watched, killed; nothing outlives the test.
 *
 * A program's stdout and stderr go to DIR/NAME.log, appended over restarts. It dies with the
 * process that started it (PR_SET_PDEATHSIG), and what it leaves behind is adopted
 * (PR_SET_CHILD_SUBREAPER) and killed by support_end(). */
#pragma once
#include "base/util.h"
#include <signal.h>
#include <sys/types.h>
#include <time.h>

/* Evaluate cond every 10 ms until it is true or deadline_ms have passed; the value is whether it
 * became true. */
#define wait_until(cond, deadline_ms)                                                              \
    ({                                                                                             \
        int64_t end_ = support_now_ms() + (deadline_ms);                                           \
        bool ok_;                                                                                  \
        while (!(ok_ = (cond)) && support_now_ms() < end_)                                         \
            support_nap(10);                                                                       \
        ok_;                                                                                       \
    })
/* The same, and the test fails with the condition's text when it does not come true. */
#define ck_wait(cond, deadline_ms)                                                                 \
    ck_assert_msg(wait_until(cond, deadline_ms), "not within %d ms: %s", (int)(deadline_ms), #cond)

int64_t support_now_ms(void); /* monotonic */
void support_nap(int ms);

/* Print a sentence and end the program with status 99: the surroundings are broken, not the code
 * under test. */
_Noreturn void support_die(const char *fmt, ...) _printf_(1, 2);

/* Directory for the logs of this test program (/tmp/mihwar-t.PID.XXXXXX), made at the first call.
 * Directories of test programs that are no more are removed on the way. */
const char *support_dir(void);
/* The end of main(): kills what is left, prints the tails of all logs when failed > 0, removes
 * support_dir() (kept with MIHWAR_TEST_KEEP=1 after a failure); returns the exit status. A process
 * that had to be killed counts as a failure when `failed` is 0 and it was none of proc_start's
 * living ones: something outlived its parent. */
int support_end(int failed);

/* Runs Check's suites (struct Suite *, NULL-terminated); returns how many tests failed. Each test
 * is forked; CK_RUN_CASE and the like are honoured. */
int suites_run(void *first, ...);
#define suite_run(suite) suites_run((suite), NULL)
/* The same without forking: for tests that start, stop or kill programs themselves, because a
 * struct proc belongs to the process that started it. */
int suite_run_unforked(void *suite);

/* A free TCP port on 127.0.0.1 at this moment. */
int free_port(void);
/* Path of a program of this build ("hub/mihwar-hub"): under $MIHWAR_BUILD_ROOT, or the directory
 * above the test program's. Static buffer of 8 in turn. */
const char *built(const char *program);

struct proc;
struct proc_opts {
    const char *name;        /* of the log file; unique among the living */
    const char *const *argv; /* argv[0] is the path; NULL-terminated */
    const char *const *env;  /* "NAME=value" added to ours, NULL-terminated; may be NULL */
    uid_t uid;               /* run as this user (0: as ourselves) */
    gid_t gid;
    int death_signal; /* when we die; 0: SIGKILL */
};
/* fork and exec; support_die() when it cannot be started. Our own programs run inside the words of
 * MIHWAR_TEST_WRAP, if it is set: valgrind (scripts/leaks). */
struct proc *proc_start(const struct proc_opts *o);
pid_t proc_pid(const struct proc *p);
/* Reaps it when it has ended. */
bool proc_alive(struct proc *p);
/* Exit status, 128 + signal, or -1 when it still lives after deadline_ms. */
int proc_wait(struct proc *p, int deadline_ms);
void proc_signal(struct proc *p, int sig);
/* SIGTERM, and kill -9 after grace_ms; returns as proc_wait (137 when it had to be killed). */
int proc_stop(struct proc *p, int grace_ms);
/* kill -9 of the process alone; its children are left to what they do without a parent. Waits until
 * it is reaped. */
void proc_kill9(struct proc *p);
/* Children of pid, from /proc; at most max; returns how many. */
size_t proc_children(pid_t pid, pid_t *ret, size_t max);
/* NULL in, NULL out. Kills it when it lives. */
struct proc *proc_free(struct proc *p);
/* The whole log so far; freed by the caller. */
char *proc_log(const struct proc *p);
/* The same by name: "" when nobody of that name wrote yet. */
char *support_log(const char *name);

/* Run a program to its end (at most deadline_ms, then it is killed: status 137). stdin is `in` (may
 * be NULL), the outputs are the caller's to free (may be NULL: they go to NAME.log). */
int proc_run(const struct proc_opts *o, const char *in, int deadline_ms, char **ret_out,
             char **ret_err);

/* Waits for the file that a program writes its port into; support_die() after deadline_ms or when p
 * dies first. */
int port_from_file(const char *path, struct proc *p, int deadline_ms);
