/* test_hub_stores.c - the hub while its stores and its own processes go and come: what it says, how
 * soon, and what was kept.
 *
 * Nobody works behind the door here, so an order stays as it was accepted. */
#include "base/buf.h"
#include "tests/e2e/wire.h"

static struct house h;
static char package[40];

static int post_order(const char *user, int *ret_ms, char *ret_code, size_t size)
{
    _cleanup_(freep) char *body =
        xasprintf("{\"package_id\":\"%s\",\"user_identifier\":\"%s\"}", package, user);
    _cleanup_(freep) char *url = xasprintf("%s/v1/orders", h.url);
    _cleanup_(web_reply_release) struct web_reply r =
        web(.url = url, .bearer = h.key, .body = body, .timeout_ms = 40000);

    *ret_ms = r.took_ms;
    snprintf(ret_code, size, "%s", r.json && web_text(&r, "code") ? web_text(&r, "code") : "");
    if (r.status == 503)
        ck_assert_msg(web_header(&r, "Retry-After") != NULL, "%s", r.headers);
    ck_assert_msg(!strstr(r.body, h.stores.dir), "it tells where the stores live: %s", r.body);
    return r.status;
}

static bool accepted(const char *user)
{
    char code[64];
    int ms;

    return post_order(user, &ms, code, sizeof code) == 201;
}

/* Down: told so, and soon told at once; back: no restart is needed. */
START_TEST(postgres_goes_and_comes)
{
    pid_t hub = proc_pid(h.procs[HUB]);
    char code[64];
    int ms;

    ck_assert(accepted("before"));
    house_kill(&h, PG);
    ck_assert_int_eq(post_order("down", &ms, code, sizeof code), 503);
    ck_assert_msg(ms < 15000, "%d ms", ms);
    ck_wait(post_order("down", &ms, code, sizeof code) == 503 && ms < 3000 &&
                strcmp(code, "store_down") == 0,
            30000);
    _cleanup_(web_reply_release) struct web_reply ready = house_get(&h, "/readyz");
    ck_assert_int_eq(ready.status, 503);
    ck_assert_msg(strstr(web_text(&ready, "checks.postgresql"), "PostgreSQL"), "%s", ready.body);
    _cleanup_(web_reply_release) struct web_reply alive = house_get(&h, "/healthz");
    ck_assert_int_eq(alive.status, 200);
    house_up(&h, PG);
    ck_wait(accepted("after"), 20000);
    ck_assert_int_eq(pg_one_int(h.stores.database_url, "SELECT count(*) FROM product_orders WHERE "
                                                       "user_identifier = 'down'"),
                     0);
    ck_assert_int_eq(proc_pid(h.procs[HUB]), hub);
}
END_TEST

/* Orders go on; what only Redis knows is refused soon. */
START_TEST(redis_goes_and_comes)
{
    char code[64];
    int ms, slowest = 0;

    house_kill(&h, REDIS);
    for (int i = 0; i < 60; i++) {
        ck_assert_int_eq(post_order("no-redis", &ms, code, sizeof code), 201);
        slowest = MAX(slowest, ms);
    }
    ck_assert_msg(slowest < 2000, "an order took %d ms", slowest);
    _cleanup_(web_reply_release) struct web_reply queues = house_get(&h, "/v1/queues");
    ck_assert_msg(queues.status == 503, "%d %s", queues.status, queues.why);
    ck_assert_msg(queues.took_ms < 9000, "%d ms", queues.took_ms);
    _cleanup_(web_reply_release) struct web_reply ready = house_get(&h, "/readyz");
    ck_assert_int_eq(ready.status, 503);
    ck_assert_msg(strstr(web_text(&ready, "checks.redis"), "Redis"), "%s", ready.body);
    house_up(&h, REDIS);
    ck_wait(({
                _cleanup_(web_reply_release) struct web_reply r = house_get(&h, "/readyz");
                r.status == 200;
            }),
            20000);
}
END_TEST

/* ---------------------------------------------------------------- many at once */

#define MANY 40

/* POST /v1/orders of `user` under `key`, not waiting for the answer. */
static int send_order(const char *user, const char *key)
{
    _cleanup_(freep) char *body =
        xasprintf("{\"package_id\":\"%s\",\"user_identifier\":\"%s\"}", package, user);
    _cleanup_(freep) char *text = xasprintf(
        "POST /v1/orders HTTP/1.1\r\nHost: x\r\nConnection: close\r\nAuthorization: Bearer %s\r\n"
        "Idempotency-Key: %s\r\nContent-Length: %zu\r\n\r\n%s",
        h.key, key, strlen(body), body);
    int fd = wire_open(h.hub_port);

    wire_send(fd, text, strlen(text));
    return fd;
}

/* The status (0: none came) and the order's id, if one was told. */
static int take_answer(int fd, char id[40], char *text, size_t size)
{
    const char *at;

    *text = 0;
    id[0] = 0;
    wire_read(fd, text, size, NULL, 40000);
    close(fd);
    at = strstr(text, "Location: /v1/orders/");
    if (at)
        snprintf(id, 37, "%s", at + strlen("Location: /v1/orders/"));
    return strncmp(text, "HTTP/1.", 7) == 0 ? atoi(text + 9) : 0;
}

START_TEST(one_key_many_callers)
{
    char first[40] = "", id[40], text[4096];
    int fds[MANY], replayed = 0;

    for (int i = 0; i < MANY; i++)
        fds[i] = send_order("one-key", "one-key");
    for (int i = 0; i < MANY; i++) {
        int status = take_answer(fds[i], id, text, sizeof text);
        ck_assert_msg(status == 201, "%s", text);
        if (!first[0])
            memcpy(first, id, sizeof first);
        ck_assert_str_eq(id, first);
        replayed += strstr(text, "Idempotency-Replayed: true") != NULL;
    }
    ck_assert_int_eq(replayed, MANY - 1);
    ck_assert_int_eq(pg_one_int(h.stores.database_url, "SELECT count(*) FROM product_orders WHERE "
                                                       "user_identifier = 'one-key'"),
                     1);
}
END_TEST

/* More than one batch holds, good ones and bad ones mixed: each hears of its own. */
START_TEST(bad_ones_among_many)
{
    static const char unknown[] = "00000000-0000-7000-8000-000000000000";
    char id[40], text[4096], key[32], good[40];
    int fds[400];

    memcpy(good, package, sizeof good);
    for (size_t i = 0; i < COUNT(fds); i++) {
        snprintf(key, sizeof key, "mixed-%zu", i);
        snprintf(package, sizeof package, "%s", i % 4 == 3 ? unknown : good);
        fds[i] = send_order("mixed", key);
    }
    memcpy(package, good, sizeof package);
    for (size_t i = 0; i < COUNT(fds); i++) {
        int status = take_answer(fds[i], id, text, sizeof text);
        ck_assert_msg(status == (i % 4 == 3 ? 422 : 201), "%zu: %s", i, text);
        ck_assert_msg(status == 201 || strstr(text, "unknown_package"), "%zu: %s", i, text);
    }
    ck_assert_int_eq(pg_one_int(h.stores.database_url, "SELECT count(*) FROM product_orders WHERE "
                                                       "user_identifier = 'mixed'"),
                     COUNT(fds) / 4 * 3);
}
END_TEST

/* Killed while orders are on the way: each caller repeats with its key. Nothing that was promised is
 * lost, nothing exists twice. */
static const enum part killed[] = {PG, HUB};

START_TEST(a_kill_among_orders)
{
    char ids[MANY][40], id[40], text[4096], user[32], key[32];
    int fds[MANY], promised = 0;

    snprintf(user, sizeof user, "killed-%d", _i);
    for (int i = 0; i < MANY; i++) {
        snprintf(key, sizeof key, "killed-%d-%d", _i, i);
        fds[i] = send_order(user, key);
        if (i == MANY / 2)
            house_kill(&h, killed[_i]);
        if (i == MANY / 2 && killed[_i] == HUB)
            house_up(&h, HUB); /* the rest needs somebody to connect to */
    }
    for (int i = 0; i < MANY; i++)
        promised += take_answer(fds[i], ids[i], text, sizeof text) == 201;
    house_up(&h, killed[_i]);
    for (int i = 0; i < MANY; i++) {
        snprintf(key, sizeof key, "killed-%d-%d", _i, i);
        ck_wait(take_answer(send_order(user, key), id, text, sizeof text) == 201, 30000);
        ck_assert_msg(!ids[i][0] || strcmp(ids[i], id) == 0, "promised %s, now %s", ids[i], id);
    }
    ck_assert_int_eq(pg_one_int(h.stores.database_url,
                                "SELECT count(*) FROM product_orders WHERE "
                                "user_identifier = '%s'",
                                user),
                     MANY);
    printf("killed %s: %d of %d were promised before\n", part_name(killed[_i]), promised, MANY);
}
END_TEST

/* ---------------------------------------------------------------- the end */

static void signal_tree(pid_t pid, int sig)
{
    pid_t child[300];
    size_t n = proc_children(pid, child, COUNT(child));

    kill(pid, sig);
    for (size_t i = 0; i < n; i++)
        kill(child[i], sig);
}

/* SIGTERM while PostgreSQL answers nothing: everybody hears something, and the hub ends with 0 (the
 * sanitizer found no leak) before its supervisor would kill. */
START_TEST(ending_among_requests)
{
    pid_t pg = proc_pid(h.stores.pg);
    char id[40], text[4096], key[32];
    int fds[MANY], told = 0;

    ck_assert(accepted("warm"));
    signal_tree(pg, SIGSTOP);
    for (int i = 0; i < MANY; i++) {
        snprintf(key, sizeof key, "ending-%d", i);
        fds[i] = send_order("ending", key);
    }
    ck_wait(({
                _cleanup_(web_reply_release) struct web_reply r = house_get(&h, "/metrics");
                const char *at = strstr(r.body, "\nmihwar_hub_requests_in_flight ");
                at &&atoi(at + strlen("\nmihwar_hub_requests_in_flight ")) > MANY;
            }),
            20000);
    bool clean = house_down(&h, HUB);
    signal_tree(pg, SIGCONT);
    ck_assert(clean);
    for (int i = 0; i < MANY; i++)
        told += take_answer(fds[i], id, text, sizeof text) == 503;
    ck_assert_int_eq(told, MANY);
    house_up(&h, HUB);
    ck_wait(accepted("after the end"), 20000);
}
END_TEST

/* A long answer that its reader takes slowly is written to its end. */
START_TEST(ending_within_an_answer)
{
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons((uint16_t)h.hub_port)};
    _cleanup_(freep) char *request = xasprintf("GET /openapi.json HTTP/1.1\r\nHost: x\r\n\r\n"),
                          *text = xcalloc(1, MiB(1));
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), small = 2048;

    to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &small, sizeof small);
    ck_assert(connect(fd, (struct sockaddr *)&to, sizeof to) == 0);
    wire_send(fd, request, strlen(request));
    ck_assert(wire_read(fd, text, 64, "200", 10000)); /* it has begun */
    proc_signal(h.procs[HUB], SIGTERM);
    wire_read(fd, text, MiB(1), NULL, 20000);
    close(fd);
    const char *length = strcasestr(text, "Content-Length: "), *body = strstr(text, "\r\n\r\n");
    ck_assert(length && body);
    ck_assert_int_eq(atoi(length + strlen("Content-Length: ")), (int)strlen(body + 4));
    ck_assert(house_down(&h, HUB));
    house_up(&h, HUB);
}
END_TEST

int main(void)
{
    static const char *const env[] = {"MIHWAR_SHUTDOWN_GRACE=6s", NULL};
    static const struct stores_opts opts = {.durable = true};
    Suite *s = suite_create("hub_stores");
    TCase *tc = tcase_create("hub_stores");

    tcase_add_test(tc, one_key_many_callers);
    tcase_add_test(tc, bad_ones_among_many);
    tcase_add_test(tc, postgres_goes_and_comes);
    tcase_add_test(tc, redis_goes_and_comes);
    tcase_add_loop_test(tc, a_kill_among_orders, 0, COUNT(killed));
    tcase_add_test(tc, ending_among_requests);
    tcase_add_test(tc, ending_within_an_answer);
    suite_add_tcase(s, tc);
    house_open(&h, &opts, env);
    snprintf(package, sizeof package, "%s", house_package(&h, "60", NULL));
    int failed = suite_run_unforked(s);
    failed += house_stop(&h);
    return support_end(failed);
}
