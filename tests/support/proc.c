/* proc.c - fork, exec, watch, kill; and the directory where everybody's words are kept.
 *
 *   test program (subreaper) --fork/exec--> program --fork--> its children
 *        |  dies: PR_SET_PDEATHSIG             |  dies: children are adopted by the test program
 *        `-> nothing of ours is left           `-> support_end() finds and kills them, and says so
 */
#include "tests/support/proc.h"
#include "base/buf.h"
#include "base/text.h"
#include <arpa/inet.h>
#include <check.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <grp.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#define DIR_PREFIX "mihwar-t."
#define TAIL_BYTES 6000

struct proc {
    pid_t pid, owner;
    bool ended;
    int status; /* exit status or 128 + signal, when ended */
    char log[128];
};

int64_t support_now_ms(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

void support_nap(int ms)
{
    struct timespec t = {.tv_sec = ms / 1000, .tv_nsec = (long)(ms % 1000) * 1000000};
    while (nanosleep(&t, &t) < 0 && errno == EINTR)
        ;
}

void support_die(const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    fputs("support: ", stderr);
    vfprintf(stderr, fmt, ap);
    fputc('\n', stderr);
    va_end(ap);
    exit(99);
}

/* ---------------------------------------------------------------- the directory */

static char dir_[64];
static pid_t dir_owner;

static int remove_one(const char *path, const struct stat *st, int flag, struct FTW *ftw)
{
    (void)st, (void)flag, (void)ftw;
    return remove(path);
}

static void remove_tree(const char *path)
{
    nftw(path, remove_one, 16, FTW_DEPTH | FTW_PHYS);
}

/* A test program that was killed could not clean up behind itself. */
static void remove_dirs_of_the_dead(void)
{
    DIR *d = opendir("/tmp");
    if (!d)
        return;
    for (struct dirent *e; (e = readdir(d));) {
        int pid;
        char path[300];
        struct stat st;
        if (sscanf(e->d_name, DIR_PREFIX "%d.", &pid) != 1 || pid <= 1)
            continue;
        snprintf(path, sizeof(path), "/tmp/%s", e->d_name);
        if (lstat(path, &st) == 0 && S_ISDIR(st.st_mode) && st.st_uid == getuid() &&
            kill(pid, 0) < 0 && errno == ESRCH && !getenv("MIHWAR_TEST_KEEP"))
            remove_tree(path);
    }
    closedir(d);
}

const char *support_dir(void)
{
    if (!dir_[0]) {
        remove_dirs_of_the_dead();
        snprintf(dir_, sizeof(dir_), "/tmp/" DIR_PREFIX "%d.XXXXXX", (int)getpid());
        /* 0711: the PostgreSQL user must be able to walk through. */
        if (!mkdtemp(dir_) || chmod(dir_, 0711) < 0)
            support_die("%s: %s", dir_, strerror(errno));
        dir_owner = getpid();
        signal(SIGPIPE, SIG_IGN); /* hiredis writes to a server that was just killed */
        if (prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) < 0)
            support_die("PR_SET_CHILD_SUBREAPER: %s", strerror(errno));
    }
    return dir_;
}

static void print_tail(const char *path)
{
    char text[TAIL_BYTES + 1];
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return;
    off_t size = lseek(fd, 0, SEEK_END);
    off_t from = size > TAIL_BYTES ? size - TAIL_BYTES : 0;
    ssize_t n = pread(fd, text, TAIL_BYTES, from);
    close(fd);
    if (n <= 0)
        return;
    text[n] = '\0';
    const char *start = from ? strchr(text, '\n') : text;
    printf("---- %s%s\n%s\n", path, from ? " (its end)" : "", start ? start : text);
}

static int print_log(const char *path, const struct stat *st, int flag, struct FTW *ftw)
{
    (void)ftw;
    size_t n = strlen(path);
    if (flag == FTW_F && st->st_size > 0 && n > 4 && strcmp(path + n - 4, ".log") == 0)
        print_tail(path);
    return 0;
}

/* What a process is, for people: its command line, and how long it has run. */
static void print_process(pid_t pid)
{
    char path[64], text[256] = "?";
    struct stat st;
    snprintf(path, sizeof(path), "/proc/%d/cmdline", (int)pid);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t n = fd < 0 ? 0 : read(fd, text, sizeof(text) - 1);
    if (fd >= 0)
        close(fd);
    for (ssize_t i = 0; i < n; i++)
        text[i] = text[i] ? text[i] : ' ';
    text[n > 0 ? n : 1] = '\0';
    snprintf(path, sizeof(path), "/proc/%d", (int)pid);
    long age = stat(path, &st) == 0 ? (long)(time(NULL) - st.st_mtime) : -1;
    printf("support: process %d outlived the test, killed: %s(%ld s old)\n", (int)pid, text, age);
}

static bool nobody_left(pid_t *left, size_t max, size_t *ret_n)
{
    while (waitpid(-1, NULL, WNOHANG) > 0)
        ;
    *ret_n = proc_children(getpid(), left, max);
    return *ret_n == 0;
}

int support_end(int failed)
{
    pid_t left[256];
    size_t n;
    if (!dir_[0] || dir_owner != getpid())
        return failed > 0;
    /* Orphans that end by themselves may (a worker's returner of leases takes 10 s at most); killed ones hand their own children to us: again until nobody is left. */
    for (int round = 0; round < 20 && !wait_until(nobody_left(left, COUNT(left), &n), 12000);
         round++) {
        for (size_t i = 0; i < n; i++) {
            print_process(left[i]);
            kill(left[i], SIGKILL);
            waitpid(left[i], NULL, 0);
        }
        failed += 1;
    }
    if (failed > 0)
        nftw(dir_, print_log, 16, FTW_PHYS);
    if (failed > 0 && getenv("MIHWAR_TEST_KEEP"))
        printf("support: kept %s\n", dir_);
    else
        remove_tree(dir_);
    dir_[0] = '\0';
    return failed > 0;
}

static int run_all(SRunner *r)
{
    srunner_run_all(r, CK_ENV);
    int failed = srunner_ntests_failed(r);
    srunner_free(r);
    fflush(stdout);
    return failed;
}

int suites_run(void *first, ...)
{
    SRunner *r = srunner_create(first);
    va_list ap;
    va_start(ap, first);
    for (Suite *s; (s = va_arg(ap, Suite *));)
        srunner_add_suite(r, s);
    va_end(ap);
    return run_all(r);
}

int suite_run_unforked(void *suite)
{
    SRunner *r = srunner_create(suite);
    srunner_set_fork_status(r, CK_NOFORK);
    return run_all(r);
}

/* ---------------------------------------------------------------- small finds */

int free_port(void)
{
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof(a);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0 || bind(fd, (struct sockaddr *)&a, sizeof(a)) < 0 ||
        getsockname(fd, (struct sockaddr *)&a, &len) < 0)
        support_die("no free port: %s", strerror(errno));
    close(fd);
    return ntohs(a.sin_port);
}

const char *built(const char *program)
{
    static char paths[8][256];
    static int turn;
    char *out = paths[turn++ % 8];
    const char *root = getenv("MIHWAR_BUILD_ROOT");
    snprintf(out, sizeof(paths[0]), "%s/%s", root ? root : SUPPORT_BUILD_ROOT, program);
    if (access(out, X_OK) < 0)
        support_die("%s: %s", out, strerror(errno));
    return out;
}

/* Parent and state of a process, from /proc/PID/stat; false when it is gone. */
static bool stat_of(pid_t pid, pid_t *ret_parent, char *ret_state)
{
    char path[64], text[512];
    snprintf(path, sizeof(path), "/proc/%d/stat", (int)pid);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return false;
    ssize_t n = read(fd, text, sizeof(text) - 1);
    close(fd);
    if (n <= 0)
        return false;
    text[n] = '\0';
    const char *p = strrchr(text, ')'); /* the name may hold anything */
    int parent;
    if (!p || sscanf(p + 1, " %c %d", ret_state, &parent) != 2)
        return false;
    *ret_parent = parent;
    return true;
}

size_t proc_children(pid_t pid, pid_t *ret, size_t max)
{
    size_t n = 0;
    DIR *d = opendir("/proc");
    if (!d)
        support_die("/proc: %s", strerror(errno));
    for (struct dirent *e; (e = readdir(d)) && n < max;) {
        pid_t parent, child = atoi(e->d_name);
        char state;
        if (child > 0 && stat_of(child, &parent, &state) && parent == pid && state != 'Z')
            ret[n++] = child;
    }
    closedir(d);
    return n;
}

/* ---------------------------------------------------------------- one program */

#define WRAP_WORDS 16

/* Programs of the house run inside MIHWAR_TEST_WRAP, if that is set: words with blanks between them ("valgrind -q"). */
static void execute(const char *const *argv)
{
    const char *wrapped[WRAP_WORDS + 64], *wrap = getenv("MIHWAR_TEST_WRAP");
    const char *slash = strrchr(argv[0], '/');
    size_t n = 0;

    if (wrap && slash && starts_with(slash, "/mihwar-")) {
        char *rest = xstrdup(wrap);
        for (char *word; n < WRAP_WORDS && (word = strsep(&rest, " "));)
            wrapped[n++] = word;
        while (n + 1 < COUNT(wrapped) && *argv)
            wrapped[n++] = *argv++;
        wrapped[n] = NULL;
        argv = wrapped;
    }
    execvp(argv[0], (char *const *)(uintptr_t)argv);
}

/* In the child: what cannot be done any more is written to the log and ends it with 127. */
_Noreturn static void become(const struct proc_opts *o, pid_t parent, int out, int err, int in)
{
    sigset_t none;
    sigemptyset(&none);
    for (int sig = 1; sig < NSIG; sig++)
        signal(sig, SIG_DFL);
    sigprocmask(SIG_SETMASK, &none, NULL);
    setpgid(0, 0); /* Ctrl-C and a timeout's signal reach the test program, which ends its own */
    if (in >= 0)
        dup2(in, 0);
    dup2(out, 1);
    dup2(err, 2);
    if (o->gid && (setgroups(0, NULL) < 0 || setgid(o->gid) < 0))
        goto broken;
    if (o->uid && setuid(o->uid) < 0)
        goto broken;
    /* After setuid, which clears it. */
    if (prctl(PR_SET_PDEATHSIG, o->death_signal ? o->death_signal : SIGKILL, 0, 0, 0) < 0)
        goto broken;
    if (getppid() != parent)
        _exit(127);
    for (const char *const *e = o->env; e && *e; e++)
        putenv((char *)(uintptr_t)*e);
    execute(o->argv);
broken:
    dprintf(2, "%s: %s\n", o->argv[0], strerror(errno));
    _exit(127);
}

/* Signals wait until the child has thrown away our handlers: Check's would end the whole test in
 * the child's name. */
static pid_t fork_quiet(void)
{
    sigset_t all, before;
    sigfillset(&all);
    sigprocmask(SIG_SETMASK, &all, &before);
    pid_t pid = fork();
    if (pid != 0)
        sigprocmask(SIG_SETMASK, &before, NULL);
    if (pid < 0)
        support_die("fork: %s", strerror(errno));
    return pid;
}

static int open_log(const struct proc_opts *o, char *path, size_t size)
{
    snprintf(path, size, "%s/%s.log", support_dir(), o->name);
    int fd = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644);
    if (fd < 0)
        support_die("%s: %s", path, strerror(errno));
    return fd;
}

struct proc *proc_start(const struct proc_opts *o)
{
    struct proc *p = xcalloc(1, sizeof(*p));
    int log = open_log(o, p->log, sizeof(p->log));
    int null = open("/dev/null", O_RDONLY | O_CLOEXEC);
    pid_t self = p->owner = getpid();
    p->pid = fork_quiet();
    if (p->pid == 0)
        become(o, self, log, log, null);
    close(log);
    close(null);
    return p;
}

pid_t proc_pid(const struct proc *p)
{
    return p->pid;
}

static int status_of(int status)
{
    return WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
}

bool proc_alive(struct proc *p)
{
    int status;
    if (p->owner != getpid())
        support_die("a forked test touched a process of its parent: suite_run_unforked()");
    if (!p->ended && waitpid(p->pid, &status, WNOHANG) == p->pid) {
        p->ended = true;
        p->status = status_of(status);
    }
    return !p->ended;
}

int proc_wait(struct proc *p, int deadline_ms)
{
    return wait_until(!proc_alive(p), deadline_ms) ? p->status : -1;
}

void proc_signal(struct proc *p, int sig)
{
    if (proc_alive(p))
        kill(p->pid, sig);
}

int proc_stop(struct proc *p, int grace_ms)
{
    proc_signal(p, SIGTERM);
    if (proc_wait(p, grace_ms) < 0)
        proc_kill9(p);
    return p->status;
}

void proc_kill9(struct proc *p)
{
    int status;
    if (!proc_alive(p))
        return;
    kill(p->pid, SIGKILL);
    while (waitpid(p->pid, &status, 0) < 0 && errno == EINTR)
        ;
    p->ended = true;
    p->status = status_of(status);
}

struct proc *proc_free(struct proc *p)
{
    if (p)
        proc_kill9(p);
    free(p);
    return NULL;
}

static char *read_file(const char *path)
{
    char *text = xstrdup("");
    size_t len = 0;
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return text;
    for (ssize_t n;; len += (size_t)n) {
        text = xrealloc(text, len + 65536 + 1);
        n = read(fd, text + len, 65536);
        if (n <= 0)
            break;
    }
    close(fd);
    text[len] = '\0';
    return text;
}

char *proc_log(const struct proc *p)
{
    return read_file(p->log);
}

char *support_log(const char *name)
{
    _cleanup_(freep) char *path = xasprintf("%s/%s.log", support_dir(), name);
    return read_file(path);
}

static int temporary(char *path, size_t size)
{
    snprintf(path, size, "%s/out.XXXXXX", support_dir());
    int fd = mkostemp(path, O_CLOEXEC);
    if (fd < 0)
        support_die("%s: %s", path, strerror(errno));
    return fd;
}

int proc_run(const struct proc_opts *o, const char *in, int deadline_ms, char **ret_out,
             char **ret_err)
{
    char log[128], out_path[128] = "", err_path[128] = "", in_path[128] = "";
    int fd_log = open_log(o, log, sizeof(log));
    int out = ret_out ? temporary(out_path, sizeof(out_path)) : fd_log;
    int err = ret_err ? temporary(err_path, sizeof(err_path)) : fd_log;
    int fd_in = open("/dev/null", O_RDONLY | O_CLOEXEC);
    if (in) {
        close(fd_in);
        fd_in = temporary(in_path, sizeof(in_path));
        if (write(fd_in, in, strlen(in)) != (ssize_t)strlen(in) || lseek(fd_in, 0, SEEK_SET) < 0)
            support_die("%s: %s", in_path, strerror(errno));
    }
    pid_t self = getpid();
    struct proc p = {.owner = self, .pid = fork_quiet()};
    if (p.pid == 0)
        become(o, self, out, err, fd_in);
    int status = proc_wait(&p, deadline_ms);
    if (status < 0) {
        proc_kill9(&p);
        status = p.status;
    }
    if (ret_out)
        *ret_out = read_file(out_path), close(out), unlink(out_path);
    if (ret_err)
        *ret_err = read_file(err_path), close(err), unlink(err_path);
    if (in)
        unlink(in_path);
    close(fd_in);
    close(fd_log);
    return status;
}

int port_from_file(const char *path, struct proc *p, int deadline_ms)
{
    int port = 0;
    int64_t end = support_now_ms() + deadline_ms;
    while (support_now_ms() < end) {
        FILE *f = fopen(path, "re");
        bool got = f && fscanf(f, "%d", &port) == 1 && port > 0;
        if (f)
            fclose(f);
        if (got)
            return port;
        if (p && !proc_alive(p))
            support_die("%s: the program ended with status %d before it wrote its port", path,
                        p->status);
        support_nap(10);
    }
    support_die("%s: no port within %d ms", path, deadline_ms);
}
