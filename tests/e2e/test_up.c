/* test_up.c - the two commands of the README: up shows a sample order reach its PIN, down leaves no
 * process. */
#include "tests/support/proc.h"
#include "tests/support/web.h"
#include <check.h>
#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static char home[128];

/* scripts/NAME --home HOME more… on this build. */
static int script(const char *name, const char *more, int deadline_ms, char **ret_out)
{
    _cleanup_(freep) char *path = xasprintf("%s/scripts/%s", SOURCE_ROOT, name);
    _cleanup_(freep) char *build = xasprintf("MIHWAR_BUILD=%s", BUILD_ROOT);
    const char *argv[] = {path, "--home", home, more, NULL};
    const char *env[] = {build, NULL};
    struct proc_opts o = {.name = name, .argv = argv, .env = env};
    return proc_run(&o, NULL, deadline_ms, ret_out, NULL);
}

/* NAME=value of HOME/env, or the pid in HOME/NAME.pid; static buffer of 4 in turn. */
static const char *value(const char *file, const char *name)
{
    static char values[4][512];
    static unsigned turn;
    char path[256], line[600];
    char *out = values[turn++ % COUNT(values)];
    size_t n = strlen(name);
    snprintf(path, sizeof(path), "%s/%s", home, file);
    FILE *f = fopen(path, "re");
    ck_assert_msg(f != NULL, "%s is not there", path);
    out[0] = '\0';
    while (fgets(line, sizeof(line), f)) {
        line[strcspn(line, "\n")] = '\0';
        if (n == 0)
            snprintf(out, sizeof(values[0]), "%s", line);
        else if (strncmp(line, name, n) == 0 && line[n] == '=')
            snprintf(out, sizeof(values[0]), "%s", line + n + 1);
    }
    fclose(f);
    return out;
}

static int orders(const char *status)
{
    _cleanup_(freep) char *url =
        xasprintf("%s/v1/orders?status=%s", value("env", "MIHWAR_URL"), status);
    _cleanup_(web_reply_release) struct web_reply r =
        web(.url = url, .bearer = value("env", "MIHWAR_API_KEY"));
    return r.status == 200 ? cJSON_GetArraySize(cJSON_GetObjectItem(r.json, "data")) : -1;
}

/* Processes whose environment or command line speaks of our home. */
static int left(void)
{
    int n = 0;
    DIR *d = opendir("/proc");
    for (struct dirent *e; (e = readdir(d));) {
        static const char *const files[] = {"environ", "cmdline"};
        int pid = atoi(e->d_name);
        bool ours = false;
        for (size_t i = 0; pid > 0 && pid != getpid() && i < COUNT(files); i++) {
            char path[64], text[65536];
            snprintf(path, sizeof(path), "/proc/%d/%s", pid, files[i]);
            int fd = open(path, O_RDONLY | O_CLOEXEC);
            ssize_t len = fd < 0 ? 0 : read(fd, text, sizeof(text));
            if (fd >= 0)
                close(fd);
            ours = ours || (len > 0 && memmem(text, (size_t)len, home, strlen(home)));
        }
        if (ours)
            printf("left: process %d\n", pid);
        n += ours;
    }
    closedir(d);
    return n;
}

START_TEST(up_and_down)
{
    _cleanup_(freep) char *first = NULL;
    ck_assert_msg(script("up", "--detach", 180000, &first) == 0, "%s", first);
    ck_assert_msg(strstr(first, "PIN ") && strstr(first, "Mihwar is up"), "%s", first);
    ck_assert_int_eq(orders("completed"), 1);

    /* What it started it keeps. */
    int hub = atoi(value("hub.pid", ""));
    ck_assert_int_gt(hub, 0);
    ck_assert_int_eq(kill(hub, SIGKILL), 0);
    ck_wait(atoi(value("hub.pid", "")) != hub && orders("completed") == 1, 30000);

    _cleanup_(freep) char *down = NULL;
    ck_assert_int_eq(script("down", NULL, 60000, &down), 0);
    ck_assert_msg(!strstr(down, "killing"), "%s", down);
    ck_assert_int_eq(left(), 0);

    /* Again, from what is there: the shop, the key and the first order are kept. */
    int64_t start = support_now_ms();
    _cleanup_(freep) char *second = NULL;
    ck_assert_msg(script("up", "--detach", 60000, &second) == 0, "%s", second);
    int took = (int)(support_now_ms() - start);
    printf("the second run took %d ms\n", took);
    ck_assert_int_lt(took, 10000);
    ck_assert_int_eq(orders("completed"), 2);
    ck_assert_int_eq(script("down", "--erase", 60000, NULL), 0);
    ck_assert_int_eq(left(), 0);
    ck_assert_int_ne(access(home, F_OK), 0);
}
END_TEST

/* A wish that cannot be granted is refused in words, and leaves nothing. */
START_TEST(usage)
{
    ck_assert_int_eq(script("up", "--sideways", 10000, NULL), 2);
    ck_assert_int_eq(script("up", "--port", 10000, NULL), 2);
    ck_assert_int_eq(script("down", NULL, 10000, NULL), 0);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("up");
    TCase *tc = tcase_create("up");
    snprintf(home, sizeof(home), "%s/home", support_dir());
    tcase_add_test(tc, up_and_down);
    tcase_add_test(tc, usage);
    suite_add_tcase(s, tc);
    return support_end(suite_run_unforked(s));
}
