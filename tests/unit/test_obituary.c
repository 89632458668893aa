/* test_obituary.c - how a process ended, in words; and the ring that its last lines are read from. */
#include "base/log.h"
#include "rt/obituary.h"
#include "unit.h"
#include <signal.h>
#include <string.h>
#include <sys/wait.h>

#define LINES "ev=a subject=j1\nev=b subject=j2\nlvl=fatal ev=c\nev=d subject=j1\n"

static const struct {
    const char *title;
    struct obituary o;
    const char *about;
    size_t max;
    const char *want;
} cases[] = {
    {"an exit status", {.status = W_EXITCODE(3, 0)}, NULL, 5, "exit status 3"},
    {"a signal and its memory",
     {.status = W_EXITCODE(0, SIGKILL), .peak_kib = 2049},
     NULL,
     5,
     "signal 9 (Killed), peak memory 3 MiB"},
    {"stuck",
     {.status = W_EXITCODE(0, SIGABRT), .stuck = STUCK_LOOP},
     NULL,
     5,
     "signal 6 (Aborted), its loop was stuck"},
    {"the lines about one job, and the very last words",
     {.lines = (char *)(uintptr_t)LINES},
     "j1",
     5,
     "exit status 0; its last lines: | ev=a subject=j1 | lvl=fatal ev=c | ev=d subject=j1"},
    {"the last of them",
     {.lines = (char *)(uintptr_t)LINES},
     "j1",
     2,
     "exit status 0; its last lines: | lvl=fatal ev=c | ev=d subject=j1"},
    {"all lines",
     {.lines = (char *)(uintptr_t)LINES},
     NULL,
     2,
     "exit status 0; its last lines: | lvl=fatal ev=c | ev=d subject=j1"},
    {"none", {.lines = (char *)(uintptr_t) "ev=a\n"}, "j1", 5, "exit status 0"},
};

START_TEST(words)
{
    _cleanup_(buf_release) struct buf b = BUF(KiB(4));

    obituary_words(&cases[_i].o, &b);
    obituary_lines(&cases[_i].o, cases[_i].about, cases[_i].max, &b);
    ck_assert_msg(strcmp(buf_str(&b), cases[_i].want) == 0, "case %s: %s", cases[_i].title,
                  buf_str(&b));
}
END_TEST

START_TEST(the_ring_keeps_the_last_whole_lines)
{
    static struct log_ring ring;
    char *null = NULL;
    size_t n = 0;
    FILE *out = open_memstream(&null, &n);

    log_setup(out, LOG_INFO, LOG_LOGFMT);
    log_keep(&ring);
    log_ev(LOG_INFO, "first");
    log_ev(LOG_DEBUG, "unsaid");
    _cleanup_(freep) char *one = log_ring_text(&ring);
    ck_assert(strstr(one, "ev=first\n") && !strstr(one, "unsaid"));
    for (int i = 0; i < 2000; i++)
        log_ev(LOG_INFO, "line", kv_int("number", i));
    log_keep(NULL);
    log_ev(LOG_INFO, "after");
    log_setup(NULL, LOG_INFO, LOG_LOGFMT);
    fclose(out);
    free(null);
    _cleanup_(freep) char *text = log_ring_text(&ring);
    ck_assert_int_eq(strncmp(text, "ts=", 3), 0);
    ck_assert_str_eq(text + strlen(text) - strlen("number=1999\n"), "number=1999\n");
    ck_assert(!strstr(text, "first") && !strstr(text, "after"));
    ck_assert_uint_gt(strlen(text), LOG_RING_BYTES - 200);
}
END_TEST

UNIT(obituary, {"words", words, COUNT(cases)}, {"ring", the_ring_keeps_the_last_whole_lines})
