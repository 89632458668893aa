/* test_up.c - the two commands of the README: up shows a sample order reach its PIN and a sample
 * command reach an agent and come back, down leaves no process. What up prints and leaves in env is
 * used as a stranger would: with curl and openssl. */
#include "tests/support/proc.h"
#include "tests/support/web.h"
#include <check.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
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

/* A line of shell, after `. HOME/env`; its outputs together are the caller's. */
static int shell(const char *line, char **ret_out)
{
    _cleanup_(freep) char *all = xasprintf(". %s/env; exec 2>&1; %s", home, line);
    const char *argv[] = {"/bin/bash", "-o", "pipefail", "-c", all, NULL};
    return proc_run(&(struct proc_opts){.name = "shell", .argv = argv}, NULL, 30000, ret_out, NULL);
}

#define CURL "curl -sS -m 10 --cacert \"$MIHWAR_CA\" "
#define CERT "--cert \"$MIHWAR_CERT\" --key \"$MIHWAR_KEY\" "

/* The mTLS door, from outside. status: of the shell; holds: a part of what was said. */
static const struct {
    const char *title, *line;
    int status;
    const char *holds;
} door[] = {
    {"the certificate's holder reads requests",
     CURL CERT "-w '%{http_code}' -o /dev/null \"$MIHWAR_MTLS_URL/v1/requests\"", 0, "200"},
    {"localhost is the hub's name too",
     CURL CERT
     "-w '%{http_code}' -o /dev/null \"${MIHWAR_MTLS_URL/127.0.0.1/localhost}/v1/requests\"",
     0, "200"},
    {"no certificate, no conversation", CURL "\"$MIHWAR_MTLS_URL/healthz\"", 56, "alert"},
    {"openssl without a certificate",
     "sleep 1 | openssl s_client -connect \"${MIHWAR_MTLS_URL#https://}\" -CAfile \"$MIHWAR_CA\" "
     "-verify_return_error; echo ended",
     0, "certificate required"},
    {"openssl with one",
     "(printf 'GET /v1/requests HTTP/1.1\\r\\nHost: x\\r\\nConnection: close\\r\\n\\r\\n'; sleep "
     "1) | "
     "openssl s_client -quiet -connect \"${MIHWAR_MTLS_URL#https://}\" -CAfile \"$MIHWAR_CA\" "
     "-cert \"$MIHWAR_CERT\" -key \"$MIHWAR_KEY\" -verify_return_error -verify_ip 127.0.0.1",
     0, "HTTP/1.1 200"},
    {"a certificate without the permission: orders are not its business",
     CURL CERT "-w '%{http_code}' \"$MIHWAR_MTLS_URL/v1/orders\"", 0, "403"},
};

static void door_from_outside(void)
{
    for (size_t i = 0; i < COUNT(door); i++) {
        _cleanup_(freep) char *out = NULL;
        int status = shell(door[i].line, &out);
        ck_assert_msg(status == door[i].status && strstr(out, door[i].holds), "%s: status %d, %s",
                      door[i].title, status, out);
    }
    /* The refusals are on record: who, where, why. */
    ck_wait(
        shell("psql -Atc \"SELECT door || ' ' || kind || ' ' || coalesce(identity, '-') FROM "
              "security_events\" \"$MIHWAR_DATABASE_URL\" | sort -u >\"${MIHWAR_CA%/*}/events\"; "
              "grep -qx 'mtls forbidden cert:front' \"${MIHWAR_CA%/*}/events\" && "
              "grep -qx 'mtls handshake -' \"${MIHWAR_CA%/*}/events\"",
              NULL) == 0,
        20000);
}

/* The lines that up printed, run as they stand. */
static void printed_lines(const char *said)
{
    _cleanup_(freep) char *posted = NULL, *read = NULL;
    const char *first = strstr(said, "  curl --cert "), *second;

    ck_assert_msg(first && (second = strstr(first + 1, "  curl --cert ")), "%s", said);
    _cleanup_(freep) char *post = xasprintf("%.*s", (int)(second - first), first);
    ck_assert_int_eq(shell(post, &posted), 0);
    ck_assert_msg(strstr(posted, "request_id"), "%s", posted);
    ck_assert_int_eq(shell(second, &read), 0);
    ck_assert_msg(strstr(read, "\"status\":\"completed\"") && strstr(read, "\"uptime_s\""), "%s",
                  read);
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

static int take_port(int port)
{
    struct sockaddr_in sa = {.sin_family = AF_INET,
                             .sin_port = htons((uint16_t)port),
                             .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), on = 1;

    ck_assert_int_ge(fd, 0);
    ck_assert_int_eq(setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on)), 0);
    ck_assert_msg(bind(fd, (struct sockaddr *)&sa, sizeof(sa)) == 0 && listen(fd, 1) == 0,
                  "port %d: %s", port, strerror(errno));
    return fd;
}

START_TEST(up_and_down)
{
    _cleanup_(freep) char *first = NULL;
    ck_assert_msg(script("up", "--detach", 180000, &first) == 0, "%s", first);
    ck_assert_msg(strstr(first, "PIN ") && strstr(first, "Mihwar is up"), "%s", first);
    ck_assert_int_eq(orders("completed"), 1);
    ck_assert_msg(strstr(first, "completed by cpe-1: {"), "%s", first);
    printed_lines(first);
    door_from_outside();

    /* What it started it keeps. */
    static const char *const kept[] = {"hub.pid", "agent.pid"};
    for (size_t i = 0; i < COUNT(kept); i++) {
        int pid = atoi(value(kept[i], ""));
        ck_assert_int_gt(pid, 0);
        ck_assert_int_eq(kill(pid, SIGKILL), 0);
        ck_wait(atoi(value(kept[i], "")) != pid && orders("completed") == 1, 30000);
    }

    _cleanup_(freep) char *down = NULL;
    ck_assert_int_eq(script("down", NULL, 60000, &down), 0);
    ck_assert_msg(!strstr(down, "killing"), "%s", down);
    ck_assert_int_eq(left(), 0);

    /* Again, from what is there: the shop, the key, the certificates and the first order are kept. Its
     * port for agents was taken by somebody meanwhile: the agent must hear of the new one. */
    int port = atoi(value("ports", "MTLS_PORT")), taken = take_port(port);
    int64_t start = support_now_ms();
    _cleanup_(freep) char *second = NULL;
    ck_assert_msg(script("up", "--detach", 60000, &second) == 0, "%s", second);
    int took = (int)(support_now_ms() - start);
    printf("the second run took %d ms\n", took);
    ck_assert_int_lt(took, 10000);
    ck_assert_msg(strstr(second, "completed by cpe-1: {"), "%s", second);
    ck_assert_int_ne(atoi(value("ports", "MTLS_PORT")), port);
    close(taken);
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
