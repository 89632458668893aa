/* journal.c - a tree by job_id, two lists by age, a file behind them.
 *
 *      begin, end --> pending lines --writer fiber--> offload: write, fdatasync --> everybody whose lines those were
 *                        ^ more lines gather here meanwhile
 *
 *      open:  lock DIR -> read journal -> write journal.new, fsync, rename, fsync DIR
 *             a death in between leaves the old file whole; a journal.new from then is written over */
#include "agent/journal.h"
#include "base/buf.h"
#include "base/clock.h"
#include "base/json.h"
#include "base/log.h"
#include "base/text.h"
#include "rt/offload.h"
#include <errno.h>
#include <fcntl.h>
#include <search.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/queue.h>
#include <sys/stat.h>
#include <unistd.h>

#define DAY_MS      86400000LL
#define LINE_MAX_   MiB(2) /* a result as large as a message may be, escaped, and its surroundings */
#define COMPACT_MIN MiB(1)  /* smaller files are left as they are */
#define PENDING_MAX MiB(64) /* of lines that wait for the disk */
#define ENTRY_BYTES 200     /* of memory and file, besides the texts */
#define INTERRUPTED                                                                                \
    "{\"error\":{\"code\":\"interrupted\",\"message\":\"the agent ended while the command was "    \
    "under way\"}}"

struct node {
    struct journal_entry e; /* first: the tree compares entries */
    TAILQ_ENTRY(node) link;
};
TAILQ_HEAD(node_list, node);
LIST_HEAD(waiters, waiter);

struct journal {
    struct journal_opts o;
    int dir_fd, fd;
    void *tree;
    struct node_list open, acked; /* begun and done; acknowledged; oldest first */
    size_t count, bytes, acked_count;
    struct buf pending;
    size_t length; /* of the file, as far as it is whole */
    struct waiters waiters;
    bool writer_lives, writing;
    char why[160]; /* the last batch was not written */
};

/* ---------------------------------------------------------------- entries */

static int by_job(const void *a, const void *b)
{
    return strcmp(((const struct journal_entry *)a)->job_id,
                  ((const struct journal_entry *)b)->job_id);
}

static size_t weight(const struct node *n)
{
    return ENTRY_BYTES + strlen(n->e.agent_id) + strlen(n->e.command) +
           (n->e.response ? strlen(n->e.response) : 0);
}

static struct node *find(struct journal *j, const char *job_id)
{
    struct journal_entry key;

    snprintf(key.job_id, sizeof key.job_id, "%s", job_id);
    void *at = tfind(&key, &j->tree, by_job);
    return at ? *(struct node **)at : NULL;
}

static struct node *add(struct journal *j, const char *job_id, const char *agent_id,
                        const char *command, int64_t at_ms)
{
    struct node *n = xcalloc(1, sizeof *n);

    snprintf(n->e.job_id, sizeof n->e.job_id, "%s", job_id);
    n->e.agent_id = xstrdup(agent_id);
    n->e.command = xstrdup(command);
    n->e.at_ms = at_ms;
    if (!tsearch(n, &j->tree, by_job))
        abort(); /* out of memory */
    TAILQ_INSERT_TAIL(&j->open, n, link);
    j->count++;
    j->bytes += weight(n);
    return n;
}

static void drop(struct journal *j, struct node *n)
{
    bool acked = n->e.state == JOURNAL_ACKED;

    TAILQ_REMOVE(acked ? &j->acked : &j->open, n, link);
    tdelete(n, &j->tree, by_job);
    j->count--;
    j->acked_count -= acked;
    j->bytes -= weight(n);
    free(n->e.agent_id);
    free(n->e.command);
    free(n->e.response);
    free(n);
}

static void set_done(struct journal *j, struct node *n, bool completed, const char *response,
                     int64_t at_ms)
{
    j->bytes -= weight(n);
    n->e.state = JOURNAL_DONE;
    n->e.completed = completed;
    n->e.response = xstrdup(response);
    n->e.at_ms = at_ms;
    j->bytes += weight(n);
}

static void set_acked(struct journal *j, struct node *n, int64_t at_ms)
{
    n->e.state = JOURNAL_ACKED;
    n->e.at_ms = at_ms;
    TAILQ_REMOVE(&j->open, n, link);
    TAILQ_INSERT_TAIL(&j->acked, n, link);
    j->acked_count++;
}

static bool full(const struct journal *j)
{
    return j->count >= j->o.entries_max || j->bytes >= j->o.bytes_max;
}

/* Only what was acknowledged: the hub has ended those requests and never sends them again. */
static void forget(struct journal *j)
{
    int64_t before_ms = clock_ms() - j->o.keep_ms;
    struct node *n;

    while ((n = TAILQ_FIRST(&j->acked)) && (n->e.at_ms < before_ms || full(j)))
        drop(j, n);
}

/* ---------------------------------------------------------------- lines */

static void put_begun(struct buf *b, const struct journal_entry *e)
{
    buf_printf(b, "{\"at\":%lld,\"job\":\"%s\"", (long long)e->at_ms, e->job_id);
    buf_json_field(b, "agent", e->agent_id);
    buf_json_field(b, "begun", e->command);
    buf_puts(b, "}\n");
}

static void put_done(struct buf *b, const struct journal_entry *e)
{
    buf_printf(b, "{\"at\":%lld,\"job\":\"%s\",\"done\":\"%s\",\"response\":", (long long)e->at_ms,
               e->job_id, e->completed ? "completed" : "failed");
    buf_puts(b, e->response);
    buf_puts(b, "}\n");
}

static void put_acked(struct buf *b, const struct journal_entry *e)
{
    buf_printf(b, "{\"at\":%lld,\"job\":\"%s\",\"acked\":true}\n", (long long)e->at_ms, e->job_id);
}

static void put_all(struct buf *b, const struct node_list *list)
{
    const struct node *n;

    TAILQ_FOREACH(n, list, link)
    {
        put_begun(b, &n->e);
        if (n->e.state >= JOURNAL_DONE)
            put_done(b, &n->e);
        if (n->e.state == JOURNAL_ACKED)
            put_acked(b, &n->e);
    }
}

/* A line that repeats what is known (a compaction may have written it already) changes nothing. */
static rc take_line(struct cx *cx, struct journal *j, const char *line, size_t len)
{
    const char *begun, *done, *agent_id;
    char job_id[ID_LEN + 1];
    bool acked = false;
    int64_t at_ms = 0;
    cJSON *o;

    try(json_parse(cx, line, len, LINE_MAX_, &o));
    try(json_id(cx, o, "job", job_id));
    try(json_int_opt(cx, o, "at", 1, INT64_MAX, &at_ms));
    try(json_str_opt(cx, o, "begun", 255, &begun));
    try(json_str_opt(cx, o, "done", 16, &done));
    try(json_bool_opt(cx, o, "acked", &acked));
    struct node *n = find(j, job_id);
    if (begun && !n) {
        try(json_str(cx, o, "agent", 255, &agent_id));
        add(j, job_id, agent_id, begun, at_ms);
    } else if (done && n && n->e.state == JOURNAL_BEGUN) {
        const cJSON *response = cJSON_GetObjectItemCaseSensitive(o, "response");
        const char *raw;
        size_t n_raw;
        bool odd;
        if (!cJSON_IsObject(response) ||
            !json_raw_member(line, len, "response", &raw, &n_raw, &odd))
            return fail(cx, BAD_JSON, "a result without a response");
        set_done(j, n, str_eq(done, "completed"), arena_strndup(&cx->arena, raw, n_raw), at_ms);
    } else if (acked && n && n->e.state == JOURNAL_DONE) {
        set_acked(j, n, at_ms);
    }
    return OK;
}

/* ---------------------------------------------------------------- the file */

static rc write_all(struct cx *cx, int fd, const char *text, size_t n)
{
    while (n > 0) {
        ssize_t w = write(fd, text, n);
        if (w < 0 && errno == EINTR)
            continue;
        if (w < 0)
            return fail(cx, OS, "the journal cannot be written: %s", strerror(errno));
        text += w;
        n -= (size_t)w;
    }
    return OK;
}

/* A new file in place of the old one: it is there as a whole, or not at all. Gives its descriptor. */
static rc replace(struct cx *cx, int dir_fd, const char *text, size_t n, int *ret_fd)
{
    _cleanup_(closep) int fd =
        openat(dir_fd, "journal.new", O_WRONLY | O_CREAT | O_TRUNC | O_APPEND | O_CLOEXEC, 0600);

    if (fd < 0)
        return fail(cx, OS, "journal.new cannot be made: %s", strerror(errno));
    try(write_all(cx, fd, text, n));
    if (fsync(fd) < 0 || renameat(dir_fd, "journal.new", dir_fd, "journal") < 0 ||
        fsync(dir_fd) < 0)
        return fail(cx, OS, "journal.new cannot become the journal: %s", strerror(errno));
    *ret_fd = fd;
    fd = -1;
    return OK;
}

/* A batch that went wrong half way is taken back: what is in the file stays whole lines. */
static rc append(struct cx *cx, int fd, size_t length, const char *text, size_t n)
{
    rc r = write_all(cx, fd, text, n);

    if (r == OK && fdatasync(fd) < 0)
        r = fail(cx, OS, "the journal cannot be synced: %s", strerror(errno));
    if (r != OK && ftruncate(fd, (off_t)length) < 0)
        return fail(cx, OS, "the journal cannot be mended: %s", strerror(errno));
    return r;
}

static void fclosep(FILE **f)
{
    if (*f)
        fclose(*f);
}

/* A line that cannot be read is what a crash left of the last write, unless good ones follow. */
static rc read_file(struct cx *cx, struct journal *j)
{
    int fd = openat(j->dir_fd, "journal", O_RDONLY | O_CLOEXEC);
    _cleanup_(fclosep) FILE *f = fd < 0 ? NULL : fdopen(fd, "r");
    _cleanup_(freep) char *line = NULL;
    size_t size = 0;
    int torn = 0, n = 0;
    ssize_t len;

    if (!f)
        return errno == ENOENT ? OK
                               : fail(cx, OS, "the journal cannot be read: %s", strerror(errno));
    while ((len = getline(&line, &size, f)) >= 0) {
        _cleanup_(cx_release) struct cx of_line = CX_PLAIN("journal.line");
        n++;
        bool whole = line[len - 1] == '\n' && take_line(&of_line, j, line, (size_t)len - 1) == OK;
        if (whole && torn)
            return fail(cx, CONFIG,
                        "line %d of the journal cannot be read, and it is not the last: move the "
                        "file away to begin anew",
                        torn);
        if (!whole && !torn)
            torn = n;
    }
    if (ferror(f))
        return fail(cx, OS, "the journal cannot be read: %s", strerror(errno));
    if (torn)
        log_ev(LOG_WARN, "journal.torn", kv_int("line", torn),
               kv_str("hint", "the last write before a crash; nothing had begun by it"));
    return OK;
}

static void interrupt(struct journal *j)
{
    struct node *n;

    TAILQ_FOREACH(n, &j->open, link)
    {
        if (n->e.state != JOURNAL_BEGUN)
            continue;
        log_ev(LOG_WARN, "command.interrupted", kv_str("job", n->e.job_id),
               kv_str("command", n->e.command));
        set_done(j, n, false, INTERRUPTED, clock_ms());
    }
}

/* ---------------------------------------------------------------- writing while the loop runs */

struct waiter { /* on the stack of a fiber whose lines are on their way */
    LIST_ENTRY(waiter) link;
    struct fiber *fiber;
    bool ended;
    rc r;
};

struct work { /* the thread's while it works */
    struct journal *j;
    struct waiters waiters;
    int dir_fd, fd, new_fd;
    size_t length, n;
    char *text;
    bool anew;
    rc r;
    char why[160];
};

static void work_on(void *arg)
{
    struct work *w = arg;
    _cleanup_(cx_release) struct cx cx = CX_PLAIN("journal.write");

    w->r = w->anew ? replace(&cx, w->dir_fd, w->text, w->n, &w->new_fd)
                   : append(&cx, w->fd, w->length, w->text, w->n);
    snprintf(w->why, sizeof w->why, "%s", w->r == OK ? "" : cx_words(&cx, w->r));
}

/* On the loop's thread. */
static void work_ended(void *arg)
{
    struct work *w = arg;
    struct journal *j = w->j;
    struct waiter *me;

    if (w->r != OK) {
        snprintf(j->why, sizeof j->why, "%s", w->why);
        log_ev(LOG_ERROR, "journal.not_written", kv_str("why", w->why));
    } else if (w->anew) {
        close(j->fd);
        j->fd = w->new_fd;
        j->length = w->n;
    } else {
        j->length += w->n;
    }
    while ((me = LIST_FIRST(&w->waiters))) {
        LIST_REMOVE(me, link);
        me->ended = true;
        me->r = w->r;
        fiber_wake(me->fiber);
    }
    j->writing = false;
    free(w->text);
    free(w);
}

static struct work *work_new(struct journal *j)
{
    struct work *w = xcalloc(1, sizeof *w);

    *w = (struct work){.j = j, .dir_fd = j->dir_fd, .fd = j->fd, .new_fd = -1, .length = j->length};
    if ((w->waiters.lh_first = TAKE_PTR(j->waiters.lh_first)))
        w->waiters.lh_first->link.le_prev = &w->waiters.lh_first;
    w->anew = j->length > COMPACT_MIN && j->length > 4 * j->bytes;
    if (w->anew) {
        forget(j);
        buf_reset(&j->pending); /* all of it is in memory as well */
        put_all(&j->pending, &j->acked);
        put_all(&j->pending, &j->open);
    }
    w->n = j->pending.len;
    w->text = buf_take(&j->pending);
    j->writing = true;
    return w;
}

static rc writer(struct cx *cx, void *arg)
{
    struct journal *j = arg;

    while (!LIST_EMPTY(&j->waiters)) {
        struct work *w = work_new(j);
        rc r = offload_run(cx, work_on, w, work_ended);
        if (r == E_OVERLOADED) {
            w->r = r;
            snprintf(w->why, sizeof w->why, "%s", cx_words(cx, r));
        }
        if (r == OK || r == E_OVERLOADED)
            work_ended(w); /* else the offload does it, when the thread is done */
        else
            break;
    }
    j->writer_lives = false;
    return OK;
}

/* Waits until the lines that are pending now are on disk. */
static rc sync_lines(struct cx *cx, struct journal *j)
{
    struct waiter me = {.fiber = cx->fiber};

    LIST_INSERT_HEAD(&j->waiters, &me, link);
    if (!j->writer_lives) {
        j->writer_lives = true;
        fiber_detach(fiber_spawn(&(struct fiber_opts){.name = "journal.writer"}, writer, j));
    }
    while (!me.ended) {
        rc r = fiber_park(cx);
        if (r != OK && !me.ended) {
            LIST_REMOVE(&me, link);
            return r;
        }
    }
    return me.r == OK ? OK : fail_rc(cx, me.r, "%s", j->why);
}

/* ---------------------------------------------------------------- verbs */

static rc lock_dir(struct cx *cx, const char *dir, int *ret_fd)
{
    if (mkdir(dir, 0700) < 0 && errno != EEXIST)
        return fail(cx, OS, "%s cannot be made: %s", dir, strerror(errno));
    _cleanup_(closep) int fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0)
        return fail(cx, OS, "%s cannot be opened: %s", dir, strerror(errno));
    if (flock(fd, LOCK_EX | LOCK_NB) < 0)
        return errno == EWOULDBLOCK ? fail(cx, CONFLICT, "another process uses %s", dir)
                                    : fail(cx, OS, "%s cannot be locked: %s", dir, strerror(errno));
    *ret_fd = fd;
    fd = -1;
    return OK;
}

static rc open_in(struct cx *cx, struct journal *j, const char *dir)
{
    try(lock_dir(cx, dir, &j->dir_fd));
    try(read_file(cx, j));
    interrupt(j);
    forget(j);
    put_all(&j->pending, &j->acked);
    put_all(&j->pending, &j->open);
    try(replace(cx, j->dir_fd, buf_str(&j->pending), j->pending.len, &j->fd));
    j->length = j->pending.len;
    buf_reset(&j->pending);
    return OK;
}

static struct journal *journal_free(struct journal *j)
{
    struct node *n;

    while ((n = TAILQ_FIRST(&j->open)) || (n = TAILQ_FIRST(&j->acked)))
        drop(j, n);
    closep(&j->fd);
    closep(&j->dir_fd);
    buf_release(&j->pending);
    free(j);
    return NULL;
}

rc journal_open(struct cx *cx, const char *dir, const struct journal_opts *o, struct journal **ret)
{
    struct journal *j = xcalloc(1, sizeof *j);

    *j = (struct journal){.dir_fd = -1, .fd = -1, .pending = BUF(PENDING_MAX)};
    j->o = (struct journal_opts){.entries_max = o->entries_max ? o->entries_max : 10000,
                                 .bytes_max = o->bytes_max ? o->bytes_max : MiB(16),
                                 .keep_ms = o->keep_ms ? o->keep_ms : DAY_MS};
    TAILQ_INIT(&j->open);
    TAILQ_INIT(&j->acked);
    LIST_INIT(&j->waiters);
    rc r = open_in(cx, j, dir);
    if (r != OK)
        journal_free(j);
    else
        *ret = j;
    return r;
}

struct journal *journal_close(struct journal *j)
{
    _cleanup_(cx_release) struct cx cx = CX_PLAIN("journal.close");

    if (!j)
        return NULL;
    if (!j->writing && j->pending.len > 0) {
        rc r = append(&cx, j->fd, j->length, j->pending.p, j->pending.len);
        if (r != OK) /* acknowledgements: their results are sent once more */
            log_fail(LOG_WARN, "journal.not_written", &cx, r);
    }
    return journal_free(j);
}

struct journal_entry *journal_find(struct journal *j, const char *job_id)
{
    struct node *n = find(j, job_id);

    return n ? &n->e : NULL;
}

struct journal_entry *journal_next_unacked(struct journal *j, const char *agent_id,
                                           const struct journal_entry *after)
{
    struct node *n =
        after ? TAILQ_NEXT((const struct node *)(const void *)after, link) : TAILQ_FIRST(&j->open);

    while (n && (n->e.state != JOURNAL_DONE || strcmp(n->e.agent_id, agent_id) != 0))
        n = TAILQ_NEXT(n, link);
    return n ? &n->e : NULL;
}

size_t journal_count(const struct journal *j)
{
    return j->count;
}

/* Lines are pending as a whole or not at all. */
static rc has_room(struct cx *cx, const struct journal *j, size_t n)
{
    return j->pending.len + n + KiB(4) < PENDING_MAX
               ? OK
               : fail(cx, OVERLOADED, "the disk does not keep up with the journal");
}

rc journal_begin(struct cx *cx, struct journal *j, const char *agent_id, const char *job_id,
                 const char *command)
{
    if (find(j, job_id))
        return fail(cx, ALREADY_EXISTS, "job %s has begun before", job_id);
    forget(j);
    try(has_room(cx, j, 0));
    if (full(j))
        return fail(cx, OVERLOADED,
                    "the journal is full of results that the hub has not acknowledged");
    put_begun(&j->pending, &add(j, job_id, agent_id, command, clock_ms())->e);
    rc r = sync_lines(cx, j);
    struct node *n = find(j, job_id);
    if (r != OK && r != E_CANCELLED && n)
        drop(j, n);
    return r;
}

rc journal_end(struct cx *cx, struct journal *j, const char *job_id, bool completed,
               const char *response)
{
    struct node *n = find(j, job_id);

    if (!n || n->e.state != JOURNAL_BEGUN)
        return fail(cx, INTERNAL, "job %s is not under way", job_id);
    set_done(j, n, completed, response, clock_ms());
    try(has_room(cx, j, strlen(response)));
    put_done(&j->pending, &n->e);
    return sync_lines(cx, j);
}

void journal_ack(struct journal *j, const char *job_id)
{
    struct node *n = find(j, job_id);

    if (!n || n->e.state != JOURNAL_DONE)
        return;
    set_acked(j, n, clock_ms());
    if (j->pending.len + KiB(4) < PENDING_MAX)
        put_acked(&j->pending, &n->e);
}
