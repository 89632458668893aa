/* device.c - see device.h. */
#include "tests/e2e/device.h"
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

static void put(const struct device *d, const char *name, mode_t mode, const char *text)
{
    _cleanup_(freep) char *path = xasprintf("%s/%s", d->dir, name);
    FILE *f = fopen(path, "w");

    if (!f || fputs(text, f) < 0 || fclose(f) != 0 || chmod(path, mode) < 0)
        support_die("%s cannot be written", path);
}

void device_put(const struct device *d, const char *name, const char *text)
{
    put(d, name, 0600, text);
}

void device_make(struct device *d, const char *agent_id, const char *url, const char *token,
                 const char *more)
{
    static int made;

    snprintf(d->agent_id, sizeof d->agent_id, "%s", agent_id);
    snprintf(d->dir, sizeof d->dir, "%s/device-%d", support_dir(), ++made);
    if (mkdir(d->dir, 0700) < 0)
        support_die("%s cannot be made", d->dir);
    _cleanup_(freep) char *mark = xasprintf(
        "#!/bin/sh\necho \"$MIHWAR_JOB_ID\" >> %s/marks\necho '{\"marked\":true}'\n", d->dir);
    _cleanup_(freep) char *slow = xasprintf("#!/bin/sh\necho \"$MIHWAR_JOB_ID\" >> %s/marks\nwhile "
                                            "! [ -e %s/go ]; do sleep 0.05; done\necho done\n",
                                            d->dir, d->dir);
    _cleanup_(freep) char *ini =
        xasprintf("[agent]\nurl = %s\nagent_id = %s\ntoken_file = %s/token\nstate_dir = "
                  "%s/state\ntype = cpe\n"
                  "reconnect_min = 20ms\nreconnect_max = 200ms\nsuperseded_wait = "
                  "1500ms\nstop_grace = 200ms\n%s\n"
                  "[metadata]\nsite = 12\n"
                  "[command mark]\nprogram = %s/mark\n"
                  "[command slow]\nprogram = %s/slow\n"
                  "[command echo]\nprogram = /bin/cat\nargs = stdin\n",
                  url, agent_id, d->dir, d->dir, more, d->dir, d->dir);
    put(d, "mark", 0700, mark);
    put(d, "slow", 0700, slow);
    put(d, "token", 0600, token);
    put(d, "agent.ini", 0600, ini);
}

void device_start(struct device *d)
{
    _cleanup_(freep) char *ini = xasprintf("%s/agent.ini", d->dir);
    const char *argv[] = {built("agent/mihwar-agent"), "--config", ini, NULL};

    d->agent = proc_start(&(struct proc_opts){.name = "agent", .argv = argv});
}

void device_kill(struct device *d)
{
    d->agent = proc_free(d->agent);
}

int device_marks(const struct device *d)
{
    _cleanup_(freep) char *path = xasprintf("%s/marks", d->dir);
    FILE *f = fopen(path, "re");
    int n = 0;

    for (int c; f && (c = fgetc(f)) != EOF;)
        n += c == '\n';
    if (f)
        fclose(f);
    return n;
}

void device_let_go(const struct device *d)
{
    device_put(d, "go", "");
}
