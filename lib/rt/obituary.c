/* obituary.c - see obituary.h. */
#include "rt/obituary.h"
#include <signal.h>
#include <string.h>
#include <sys/wait.h>

#define LINES_MAX 16
#define LINE_MAX_ 300 /* bytes of a line that are shown */

static const char *const stuck_words[] = {
    [STUCK_LOOP] = ", its loop was stuck",
    [STUCK_IDLE] = ", it took no work",
    [STUCK_FROZEN] = ", it was frozen",
};

bool obituary_killed(const struct obituary *o)
{
    return WIFSIGNALED(o->status) &&
           (WTERMSIG(o->status) == SIGKILL || WTERMSIG(o->status) == SIGTERM);
}

void obituary_words(const struct obituary *o, struct buf *b)
{
    if (WIFSIGNALED(o->status))
        buf_printf(b, "signal %d (%s)", WTERMSIG(o->status), strsignal(WTERMSIG(o->status)));
    else
        buf_printf(b, "exit status %d", WEXITSTATUS(o->status));
    if (o->peak_kib > 0)
        buf_printf(b, ", peak memory %lld MiB", (long long)(o->peak_kib + 1023) / 1024);
    if (o->stuck != STUCK_NOT)
        buf_puts(b, stuck_words[o->stuck]);
}

struct line {
    const char *at;
    size_t n;
};

static bool line_has(const struct line *l, const char *word)
{
    return memmem(l->at, l->n, word, strlen(word)) != NULL;
}

void obituary_lines(const struct obituary *o, const char *about, size_t max, struct buf *b)
{
    struct line found[LINES_MAX];
    size_t n = 0;

    max = MIN(max, (size_t)LINES_MAX);
    for (const char *at = o->lines; at && *at && max > 0;) {
        struct line l = {at, strcspn(at, "\n")};
        at += l.n + (at[l.n] == '\n');
        if (about && !line_has(&l, about) && !line_has(&l, "lvl=fatal"))
            continue;
        if (n == max)
            memmove(found, found + 1, --n * sizeof *found);
        found[n++] = l;
    }
    for (size_t i = 0; i < n; i++)
        buf_printf(b, "%s%.*s", i ? " | " : "; its last lines: | ",
                   (int)MIN(found[i].n, (size_t)LINE_MAX_), found[i].at);
}
