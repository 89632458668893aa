/* program.c - see program.h. */
#include "worker/program.h"
#include "base/clock.h"
#include "base/json.h"
#include "base/text.h"
#include "lib/mihwar.h"
#include "queue/keys.h"
#include "worker/errand.h"
#include "worker/registry.h"
#include "worker/run.h"
#include <dirent.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#define ATTEMPTS  5
#define SNOOZE_MS (60 * 1000) /* exit status 99 without a word of when */
#define HEAD_MAX  4096        /* what is kept of an output that is too long */

struct program {
    struct task task;
    char *name, *path;
};

static struct {
    struct program **all;
    size_t n;
} programs;

/* ---------------------------------------------------------------- a run */

struct output {
    struct buf kept;
    size_t bytes; /* that it wrote, kept or not */
};

static void on_out(struct errand *e, const char *p, size_t n)
{
    struct output *o = e->arg;

    buf_append(&o->kept, p, MIN(n, o->kept.max - o->kept.len));
    o->bytes += n;
}

static const char *const *environment(struct cx *cx, const struct job *j)
{
    char token[TOKEN_MAX];
    struct {
        const char *name, *value;
    } of_job[] = {
        {"JOB_ID", j->lease.id},
        {"TASK", j->task},
        {"QUEUE", j->queue},
        {"ATTEMPT", arena_printf(&cx->arena, "%d", j->attempt)},
        {"MAX_ATTEMPTS", arena_printf(&cx->arena, "%d", j->max_attempts)},
        {"TOKEN", token_format(&j->lease, token)},
        {"TRACEPARENT", j->trace},
        {"TENANT", j->tenant_id},
        {"PREVIOUS", j->previous ? "/dev/fd/3" : ""},
        {"TIMEOUT_MS", arena_printf(&cx->arena, "%" PRId64, j->timeout_ms)},
    };
    const char **env = arena_alloc(&cx->arena, (COUNT(of_job) + 1) * sizeof *env);

    for (size_t i = 0; i < COUNT(of_job); i++)
        env[i] = arena_printf(&cx->arena, "MIHWAR_%s=%s", of_job[i].name,
                              of_job[i].value ? of_job[i].value : "");
    return env;
}

/* JSON as it is; other text as a JSON string; too much as what it began with. */
static void keep_result(struct job *job, struct output *o)
{
    _cleanup_(cx_release) struct cx scratch = CX_PLAIN(job->task);
    _cleanup_(buf_release) struct buf text = BUF(MW_RESULT_MAX * 6 + 256);
    char none[1] = "", *s = o->bytes ? str_trim(o->kept.p) : none;
    cJSON *tree;

    if (o->bytes > MW_RESULT_MAX) {
        s[MIN(strlen(s), (size_t)HEAD_MAX)] = 0;
        s[utf8_cut(s, strlen(s))] = 0;
        buf_printf(&text, "{\"truncated\":true,\"bytes\":%zu,\"head\":", o->bytes);
        buf_json_str(&text, utf8_valid(s, strlen(s)) ? s : "");
        buf_puts(&text, "}");
    } else if (!*s) {
        return;
    } else if (json_parse(&scratch, s, strlen(s), MW_RESULT_MAX, &tree) == OK) {
        buf_puts(&text, s);
    } else if (utf8_valid(s, strlen(s))) {
        buf_json_str(&text, s);
    } else {
        buf_printf(&text, "{\"binary\":true,\"bytes\":%zu}", o->bytes);
    }
    job_result(job, buf_str(&text));
}

static rc failed(struct cx *cx, struct job *job, const struct errand *e, rc code)
{
    _cleanup_(buf_release) struct buf story = BUF(ERRAND_TAIL_MAX + KiB(4));

    errand_story(e, &story);
    return job_fail(cx, job, code, error_info(code)->code, buf_str(&story));
}

static rc judge(struct cx *cx, struct job *job, const struct errand *e, struct output *o)
{
    int status = e->ward.status;

    if (e->killed)
        return failed(cx, job, e, e->cut);
    if (WIFSIGNALED(status))
        return failed(cx, job, e, e->cut ? e->cut : E_TASK_DIED);
    switch (WEXITSTATUS(status)) {
    case 0:
        keep_result(job, o);
        return OK;
    case PROGRAM_DEAD:
        return failed(cx, job, e, E_TASK_REFUSED);
    case PROGRAM_SNOOZE:
        return job_snooze(cx, job, clock_ms() + (e->snooze_ms ? e->snooze_ms : SNOOZE_MS), NULL,
                          NULL);
    default:
        return failed(cx, job, e, e->cut ? e->cut : E_TASK_FAILED);
    }
}

static rc program_run(struct cx *cx, struct job *job)
{
    const struct program *p = container_of(job->run->task, struct program, task);
    struct output out = {.kept = BUF(MW_RESULT_MAX)};
    struct errand e = {.job = job, .on_out = on_out, .arg = &out, .previous = job->previous};
    const struct birth b = {.path = p->path, .env = environment(cx, job)};

    rc r = errand_run(cx, &e, &b, job->args, job->args_len);
    if (r == OK)
        r = judge(cx, job, &e, &out);
    errand_release(&e);
    buf_release(&out.kept);
    return r;
}

/* ---------------------------------------------------------------- the table */

static rc add_program(struct cx *cx, const struct settings *s, const char *name, const char *path)
{
    struct program *p;
    struct stat st;
    char *real = realpath(path, NULL);

    if (!real || stat(real, &st) != 0 || !S_ISREG(st.st_mode) || access(real, X_OK) != 0) {
        free(real);
        return fail(cx, CONFIG, "worker_exec: '%.200s' is no program that can be run", path);
    }
    p = xcalloc(1, sizeof *p);
    p->name = xstrdup(name);
    p->path = real;
    p->task = (struct task){
        .name = p->name,
        .queue = "default",
        .run = program_run,
        .max_attempts = ATTEMPTS,
        .timeout_ms = s->worker_exec_timeout,
        .backoff = {.base_ms = 1000, .cap_ms = 10 * 60 * 1000, .factor = 2, .jitter = JITTER_EQUAL},
        .durable = true,
        .wants_previous = true,
    };
    programs.all = xrealloc(programs.all, (programs.n + 1) * sizeof *programs.all);
    programs.all[programs.n++] = p;
    return registry_add(cx, &p->task);
}

static rc add_folder(struct cx *cx, const struct settings *s, const char *path)
{
    struct dirent **files;
    int n = scandir(path, &files, NULL, alphasort);
    rc r = OK;

    if (n < 0)
        return fail(cx, CONFIG, "worker_exec: '%.200s' is neither NAME=PATH nor a folder", path);
    for (int i = 0; i < n; i++) {
        _cleanup_(freep) char *file = xasprintf("%s/%s", path, files[i]->d_name);
        struct stat st;
        if (r == OK && files[i]->d_name[0] != '.' && stat(file, &st) == 0 && S_ISREG(st.st_mode) &&
            access(file, X_OK) == 0)
            r = add_program(cx, s, files[i]->d_name, file);
        free(files[i]);
    }
    free(files);
    return r;
}

rc programs_add(struct cx *cx, const struct settings *s)
{
    _cleanup_(freep) char *list = xstrdup(s->worker_exec);
    char *save = NULL;

    for (char *word = strtok_r(list, ",", &save); word; word = strtok_r(NULL, ",", &save)) {
        char *name = str_trim(word), *path = strchr(name, '=');
        if (path)
            *path++ = 0;
        try(path ? add_program(cx, s, name, path) : add_folder(cx, s, name));
    }
    return OK;
}

size_t programs_count(void)
{
    return programs.n;
}

void programs_free(void)
{
    for (size_t i = 0; i < programs.n; i++) {
        free(programs.all[i]->name);
        free(programs.all[i]->path);
        free(programs.all[i]);
    }
    free(programs.all);
    programs.all = NULL;
    programs.n = 0;
}
