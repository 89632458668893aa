/* test_journal.c - what a journal remembers, over any death. */
#include "agent/journal.h"
#include "base/buf.h"
#include "base/clock.h"
#include "tests/support/on_fiber.h"
#include "tests/unit/ca_folder.h"
#include <fcntl.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/stat.h>

#define A "01990000-0000-7000-8000-00000000000a"
#define B "01990000-0000-7000-8000-00000000000b"
#define C "01990000-0000-7000-8000-00000000000c"

#define BEGUN(j)     "{\"at\":1,\"job\":\"" j "\",\"agent\":\"a1\",\"begun\":\"get_status\"}\n"
#define DONE(j)      "{\"at\":2,\"job\":\"" j "\",\"done\":\"completed\",\"response\":{\"n\":1}}\n"
#define FAILED(j)    "{\"at\":2,\"job\":\"" j "\",\"done\":\"failed\",\"response\":{\"n\":2}}\n"
#define ACK_AT(j, t) "{\"at\":" t ",\"job\":\"" j "\",\"acked\":true}\n"
#define FUTURE       "9000000000000" /* never a day ago */

static void put_file(struct folder *f, const char *name, const char *text)
{
    FILE *out = fopen(folder_path(f, name), "w");

    ck_assert(out && fputs(text, out) >= 0 && fclose(out) == 0);
}

/* "A begun|B completed {…}|C acked" */
static char *shown(struct journal *j, struct cx *cx)
{
    struct buf b = BUF(KiB(64));
    const char *const jobs[] = {A, B, C};

    for (size_t i = 0; i < COUNT(jobs); i++) {
        const struct journal_entry *e = journal_find(j, jobs[i]);
        if (!e)
            continue;
        buf_printf(&b, "%s%c ", b.len ? "|" : "", "ABC"[i]);
        if (e->state == JOURNAL_BEGUN)
            buf_puts(&b, "begun");
        else
            buf_printf(&b, "%s%s %s", e->state == JOURNAL_ACKED ? "acked " : "",
                       e->completed ? "completed" : "failed", e->response);
    }
    char *text = arena_strdup(&cx->arena, buf_str(&b));
    buf_release(&b);
    return text;
}

#define INTERRUPTED                                                                                \
    "failed {\"error\":{\"code\":\"interrupted\",\"message\":\"the agent ended while the command " \
    "was under way\"}}"

/* What a death leaves in the file, and what the next life knows. */
static const struct {
    const char *title, *file, *want;
    rc fails;
} files[] = {
    {"nothing", "", ""},
    {"begun and no more", BEGUN(A), "A " INTERRUPTED},
    {"done, not acknowledged", BEGUN(A) DONE(A), "A completed {\"n\":1}"},
    {"failed, not acknowledged", BEGUN(A) FAILED(A), "A failed {\"n\":2}"},
    {"acknowledged", BEGUN(A) DONE(A) ACK_AT(A, FUTURE), "A acked completed {\"n\":1}"},
    {"acknowledged more than a day ago", BEGUN(A) DONE(A) ACK_AT(A, "3"), ""},
    {"old, never acknowledged", BEGUN(A) DONE(A) BEGUN(B), "A completed {\"n\":1}|B " INTERRUPTED},
    {"lines of three commands, mixed",
     BEGUN(A) BEGUN(B) DONE(A) BEGUN(C) ACK_AT(A, FUTURE) FAILED(C),
     "A acked completed {\"n\":1}|B " INTERRUPTED "|C failed {\"n\":2}"},
    {"the same line twice", BEGUN(A) DONE(A) BEGUN(A) DONE(A), "A completed {\"n\":1}"},
    {"done twice, the first counts", BEGUN(A) DONE(A) FAILED(A), "A completed {\"n\":1}"},
    {"acknowledged before done", BEGUN(A) ACK_AT(A, FUTURE), "A " INTERRUPTED},
    {"an end without a beginning", DONE(A) ACK_AT(A, FUTURE), ""},
    {"torn: no end of line",
     BEGUN(A) "{\"at\":2,\"job\":\"" A "\",\"done\":\"completed\",\"response\":{\"n\":1}}",
     "A " INTERRUPTED},
    {"torn: in the middle of a line", BEGUN(A) "{\"at\":2,\"jo", "A " INTERRUPTED},
    {"torn: the first line", "{\"at\":1", ""},
    {"torn: zeros up to the length that was promised", BEGUN(A) DONE(A) "\x01\x01\x01\x01",
     "A completed {\"n\":1}"},
    {"torn: two lines", BEGUN(A) "{\"at\"\n{\"job\":", "A " INTERRUPTED},
    {"damaged: a bad line with good ones behind it", BEGUN(A) "nonsense\n" DONE(A), NULL, E_CONFIG},
    {"damaged: a job_id that is none",
     "{\"at\":1,\"job\":\"7\",\"agent\":\"a1\",\"begun\":\"x\"}\n" BEGUN(A), NULL, E_CONFIG},
    {"damaged: a result that is no object",
     BEGUN(A) "{\"at\":2,\"job\":\"" A "\",\"done\":\"failed\",\"response\":[]}\n" BEGUN(B), NULL,
     E_CONFIG},
};

START_TEST(lives_of_a_file)
{
    _folder_ f = folder_new();
    struct journal *j = NULL;

    put_file(&f, "journal", files[_i].file);
    put_file(&f, "journal.new",
             BEGUN(C)); /* a compaction that did not come to its end counts for nothing */
    rc r = journal_open(&f.cx, f.dir, &(struct journal_opts){0}, &j);
    ck_assert_msg(r == files[_i].fails, "%s: %s", files[_i].title, cx_words(&f.cx, r));
    for (int life = 0; r == OK && life < 2; life++) { /* what was read is what is written */
        ck_assert_msg(strcmp(shown(j, &f.cx), files[_i].want) == 0, "%s, life %d:\n%s\n%s",
                      files[_i].title, life, shown(j, &f.cx), files[_i].want);
        journal_close(j);
        folder_ok(&f, journal_open(&f.cx, f.dir, &(struct journal_opts){0}, &j));
    }
    if (r == OK)
        journal_close(j);
}
END_TEST

/* ---------------------------------------------------------------- one life after another */

struct life {
    struct folder *f;
    struct journal *j;
};

static void open_again(struct life *l)
{
    l->j = journal_close(l->j);
    folder_ok(l->f, journal_open(&l->f->cx, l->f->dir, &(struct journal_opts){0}, &l->j));
}

static char *file_now(struct folder *f)
{
    char *text = arena_alloc(&f->cx.arena, KiB(64));
    int fd = open(folder_path(f, "journal"), O_RDONLY);
    ssize_t n = read(fd, text, KiB(64) - 1);

    ck_assert_int_ge(n, 0);
    close(fd);
    return text;
}

static rc walk(struct cx *cx, void *arg)
{
    struct life *l = arg;

    try(journal_begin(cx, l->j, "a1", A, "get_status"));
    ck_assert_ptr_nonnull(strstr(file_now(l->f), A)); /* on disk when begin returns */
    ck_assert_ptr_null(strstr(file_now(l->f), "done"));
    ck_assert_int_eq(journal_begin(cx, l->j, "a1", A, "get_status"), E_ALREADY_EXISTS);
    ck_assert_ptr_null(journal_next_unacked(l->j, "a1", NULL));
    journal_ack(l->j, A); /* too early: nothing to acknowledge */
    try(journal_end(cx, l->j, A, true, "{\"n\":1}"));
    ck_assert_ptr_nonnull(strstr(file_now(l->f), "\"done\":\"completed\",\"response\":{\"n\":1}"));
    ck_assert_int_eq(journal_end(cx, l->j, A, true, "{}"), E_INTERNAL);
    ck_assert_str_eq(journal_next_unacked(l->j, "a1", NULL)->job_id, A);
    ck_assert_ptr_null(journal_next_unacked(l->j, "a2", NULL)); /* another agent's */
    try(journal_begin(cx, l->j, "a1", B, "x"));
    try(journal_begin(cx, l->j, "a1", C, "x"));
    try(journal_end(cx, l->j, C, false, "{\"n\":2}"));
    ck_assert_str_eq(journal_next_unacked(l->j, "a1", journal_find(l->j, A))->job_id,
                     C); /* B is under way */
    journal_ack(l->j, A);
    ck_assert_int_eq(journal_find(l->j, A)->state, JOURNAL_ACKED);
    ck_assert_str_eq(journal_next_unacked(l->j, "a1", NULL)->job_id, C);
    return OK;
}

START_TEST(from_begin_to_ack)
{
    _folder_ f = folder_new();
    struct life l = {.f = &f};
    struct journal *second;

    open_again(&l);
    ck_assert_int_eq(journal_open(&f.cx, f.dir, &(struct journal_opts){0}, &second), E_CONFLICT);
    ck_assert_int_eq(on_fiber(walk, &l), OK);
    open_again(&l);
    ck_assert_str_eq(shown(l.j, &f.cx),
                     "A acked completed {\"n\":1}|B " INTERRUPTED "|C failed {\"n\":2}");
    journal_close(l.j);
}
END_TEST

/* ---------------------------------------------------------------- many at once, and bounds */

static int running;

static rc one_of_many(struct cx *cx, void *arg)
{
    struct life *l = arg;
    char id[ID_LEN + 1], job[ID_LEN + 1];

    memcpy(job, id_new(id), sizeof job);
    ck_assert_int_eq(journal_begin(cx, l->j, "a1", job, "x"), OK);
    ck_assert_int_eq(journal_end(cx, l->j, job, true, "{\"text\":\"twelve bytes\"}"), OK);
    if (running % 2)
        journal_ack(l->j, job);
    running--;
    return OK;
}

static rc many(struct cx *cx, void *arg)
{
    running = 400;
    for (int i = 0; i < 400; i++)
        fiber_detach(fiber_spawn(&(struct fiber_opts){.name = "one"}, one_of_many, arg));
    while (running > 0)
        try(fiber_sleep(cx, 5));
    return OK;
}

START_TEST(many_at_once)
{
    _folder_ f = folder_new();
    struct life l = {.f = &f};
    size_t unacked = 0;

    open_again(&l);
    ck_assert_int_eq(on_fiber(many, &l), OK);
    open_again(&l);
    ck_assert_uint_eq(journal_count(l.j), 400);
    for (const struct journal_entry *e = NULL; (e = journal_next_unacked(l.j, "a1", e));)
        unacked++;
    ck_assert_uint_eq(unacked, 200);
    journal_close(l.j);
}
END_TEST

static rc bounds(struct cx *cx, void *arg)
{
    struct life *l = arg;

    try(journal_begin(cx, l->j, "a1", A, "x"));
    try(journal_end(cx, l->j, A, true, "{}"));
    try(journal_begin(cx, l->j, "a1", B, "x"));
    ck_assert_int_eq(journal_begin(cx, l->j, "a1", C, "x"),
                     E_OVERLOADED); /* both are still owed to the hub */
    journal_ack(l->j, A);
    try(journal_begin(cx, l->j, "a1", C, "x")); /* the oldest acknowledged one makes room */
    ck_assert_ptr_null(journal_find(l->j, A));
    ck_assert_ptr_nonnull(journal_find(l->j, B));
    return OK;
}

START_TEST(bounded)
{
    _folder_ f = folder_new();
    struct life l = {.f = &f};
    const struct journal_opts by_number = {.entries_max = 2}, by_bytes = {.bytes_max = 400};

    folder_ok(&f, journal_open(&f.cx, f.dir, _i ? &by_bytes : &by_number, &l.j));
    ck_assert_int_eq(on_fiber(bounds, &l), OK);
    journal_close(l.j);
}
END_TEST

/* ---------------------------------------------------------------- growth and a full disk */

static rc grow(struct cx *cx, void *arg)
{
    struct life *l = arg;
    char id[ID_LEN + 1];
    struct buf b = BUF(MiB(1));
    struct stat st;

    buf_puts(&b, "{\"text\":\"");
    while (b.len < KiB(200))
        buf_puts(&b, "0123456789abcdef");
    buf_puts(&b, "\"}");
    for (int i = 0; i < 30; i++) { /* 6 MB of results in all */
        id_new(id);
        try(journal_begin(cx, l->j, "a1", id, "x"));
        try(journal_end(cx, l->j, id, true, b.p));
        journal_ack(l->j, id);
    }
    buf_release(&b);
    ck_assert_int_eq(stat(folder_path(l->f, "journal"), &st), 0);
    ck_assert_int_lt(st.st_size, 3000000);
    return OK;
}

START_TEST(compacted)
{
    _folder_ f = folder_new();
    struct life l = {.f = &f};

    folder_ok(&f, journal_open(&f.cx, f.dir, &(struct journal_opts){.entries_max = 2}, &l.j));
    ck_assert_int_eq(on_fiber(grow, &l), OK);
    journal_close(l.j);
    folder_ok(&f, journal_open(&f.cx, f.dir, &(struct journal_opts){0}, &l.j));
    ck_assert_uint_lt(journal_count(l.j), 20);
    journal_close(l.j);
}
END_TEST

static rc no_room(struct cx *cx, void *arg)
{
    struct life *l = arg;
    struct rlimit was;
    struct stat st;

    try(journal_begin(cx, l->j, "a1", A, "x"));
    ck_assert_int_eq(stat(folder_path(l->f, "journal"), &st), 0);
    getrlimit(RLIMIT_FSIZE, &was);
    /* A part of a line still fits. Check writes to files, too: nothing is asserted meanwhile. */
    setrlimit(RLIMIT_FSIZE, &(struct rlimit){(rlim_t)st.st_size + 20, was.rlim_max});
    rc begun = journal_begin(cx, l->j, "a1", B, "x"), ended = journal_end(cx, l->j, A, true, "{}");
    setrlimit(RLIMIT_FSIZE, &was);
    ck_assert_int_eq(begun, E_OS);
    ck_assert_ptr_null(journal_find(l->j, B)); /* it never began */
    ck_assert_int_eq(ended, E_OS);
    ck_assert_int_eq(journal_find(l->j, A)->state,
                     JOURNAL_DONE); /* in this life the result is known */
    return journal_begin(cx, l->j, "a1", C, "x");
}

START_TEST(disk_full)
{
    _folder_ f = folder_new();
    struct life l = {.f = &f};

    signal(SIGXFSZ, SIG_IGN);
    open_again(&l);
    ck_assert_int_eq(on_fiber(no_room, &l), OK);
    open_again(&l); /* what did not fit left no half line behind */
    ck_assert_str_eq(shown(l.j, &f.cx), "A " INTERRUPTED "|C " INTERRUPTED);
    journal_close(l.j);
}
END_TEST

UNIT(journal, {"lives of a file", lives_of_a_file, COUNT(files)},
     {"from begin to ack", from_begin_to_ack}, {"many at once", many_at_once},
     {"bounded", bounded, 2}, {"compacted", compacted}, {"a full disk", disk_full})
