/* test_pg_far.c - lib/pg when PostgreSQL is not just one server at the end of a wire: a pooler in between, hosts that say
 * nothing. */
#include "base/settings.h"
#include "tests/integration/pg_world.h"
#include "tests/support/on_fiber.h"
#include "tests/support/replica.h"
#include <arpa/inet.h>
#include <stdio.h>
#include <sys/socket.h>
#include <unistd.h>

static struct pooler pooler = {.servers = 3};

/* ---------------------------------------------------------------- a pooler */

enum { MANY = 200 };

static rc add_one(struct cx *cx, struct pg_tx *tx, void *arg)
{
    const int64_t *id = arg;

    try(pg_tx_do(cx, tx, ADD, NULL, pg_i(1), pg_i(1)));
    return pg_tx_do(cx, tx, PUT, NULL, pg_i(*id), pg_i(0));
}

struct work {
    struct pg *db;
    int64_t id;
    rc result;
};

static rc work(struct cx *cx, void *arg)
{
    struct work *w = arg;
    struct pg_result *res = NULL;

    w->result = pg_tx_run(cx, w->db, add_one, &w->id);
    if (w->result == OK)
        w->result = pg_do(cx, w->db, ECHO, &res, pg_i(w->id));
    if (w->result == OK && pg_int(res, 0, 0) != w->id + 1)
        w->result = E_INTERNAL;
    pg_result_freep(&res);
    if (w->result == OK)
        w->result = pg_do(cx, w->db, ADD, NULL, pg_i(w->id), pg_i(7));
    return OK;
}

/* Three server connections for all: statements of many clients meet on each. */
static rc through_the_pooler(struct cx *cx, void *arg)
{
    struct work all[MANY];
    struct fiber *f[MANY];
    struct pg *db[2];

    (void)arg;
    for (int i = 0; i < 2; i++) /* two programs, as far as the pooler can see */
        try(pg_new(cx, pooler.url, 6, &db[i]));
    try(pg_do(cx, db[0], PUT, NULL, pg_i(1), pg_i(0)));
    for (int i = 0; i < MANY; i++) {
        all[i] = (struct work){.db = db[i % 2], .id = i + 10};
        f[i] = fiber_spawn(&(struct fiber_opts){.name = "work"}, work, &all[i]);
    }
    for (int i = 0; i < MANY; i++) {
        try(fiber_join(cx, f[i], NULL));
        ck_assert_int_eq(all[i].result, OK);
    }
    for (int i = 0; i < 2; i++)
        pg_free(db[i]);
    return OK;
}

START_TEST(many_clients_few_connections)
{
    table_setup();
    ck_assert_int_eq(on_fiber(through_the_pooler, NULL), OK);
    ck_assert_int_eq(SIDE_INT("SELECT n FROM t WHERE id = 1"), MANY);
    ck_assert_int_eq(SIDE_INT("SELECT count(*) FROM t WHERE n = 7"), MANY);
    ck_assert_int_eq(SIDE_INT("SELECT count(*) FROM pg_prepared_statements"), 0);
}
END_TEST

/* ---------------------------------------------------------------- who listens */

struct ear {
    int heard, gaps;
};

static void on_note(const char *payload, void *arg)
{
    (void)payload;
    ((struct ear *)arg)->heard++;
}

static void on_gap(void *arg)
{
    ((struct ear *)arg)->gaps++;
}

static const struct sql SAY = {"t_say", "SELECT pg_notify('far', 'x')", 0, false};

static rc listen_there(struct cx *cx, void *arg)
{
    bool past = *(bool *)arg;
    _cleanup_(settings_release) struct settings s;
    struct ear ear = {0};
    struct pg *db;

    try(settings_load(cx, &s, NULL));
    try(settings_set(cx, &s, "database_url", pooler.url, "test"));
    if (past)
        try(settings_set(cx, &s, "database_listen_url", stores.database_url, "test"));
    try(pg_from_settings(cx, &s, &db));
    struct pg_listen *l = pg_listen(db, "far", on_note, on_gap, &ear);
    for (int i = 0; i < 500 && ear.gaps == 0; i++)
        try(fiber_sleep(cx, 20));
    ck_assert_int_eq(ear.gaps, 1);
    ck_assert(pg_listening(l) == past); /* nobody believes an ear that may be another's */
    try(pg_do(cx, db, SAY, NULL));
    for (int i = 0; i < 500 && past && ear.heard == 0; i++)
        try(fiber_sleep(cx, 20));
    ck_assert(!past || ear.heard == 1);
    pg_listen_free(l);
    pg_free(db);
    return OK;
}

START_TEST(listening_goes_past_it)
{
    bool past = _i == 1;

    ck_assert_int_eq(on_fiber(listen_there, &past), OK);
}
END_TEST

/* ---------------------------------------------------------------- hosts that say nothing */

/* Takes connections, and never says a word: a server that hangs. */
static int mute_host(int *ret_port)
{
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t n = sizeof at;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

    ck_assert_int_eq(bind(fd, (struct sockaddr *)&at, sizeof at), 0);
    ck_assert_int_eq(listen(fd, 16), 0);
    ck_assert_int_eq(getsockname(fd, (struct sockaddr *)&at, &n), 0);
    *ret_port = ntohs(at.sin_port);
    return fd;
}

static rc ask_once(struct cx *cx, void *arg)
{
    struct pg_result *res = NULL;
    struct pg *db;
    rc r = E_STORE_DOWN;

    try(pg_new(cx, arg, 2, &db));
    for (int i = 0; i < 20 && r == E_STORE_DOWN; i++)
        r = pg_do(cx, db, ECHO, &res, pg_i(1));
    pg_result_freep(&res);
    pg_free(db);
    return r;
}

START_TEST(a_host_that_says_nothing_is_passed_over)
{
    int mute, refusing = free_port(), fd = mute_host(&mute), well = stores.pg_port;
    char url[256];

    switch (_i) {
    case 0: /* libpq moves on by itself */
        snprintf(url, sizeof url,
                 "postgresql://postgres@127.0.0.1:%d,127.0.0.1:%d/"
                 "mihwar?target_session_attrs=read-write",
                 refusing, well);
        break;
    case 1: /* we move on */
        snprintf(url, sizeof url,
                 "postgresql://postgres@127.0.0.1:%d,127.0.0.1:%d/"
                 "mihwar?target_session_attrs=read-write",
                 mute, well);
        break;
    default: /* in the other form */
        snprintf(url, sizeof url,
                 "host=127.0.0.1,127.0.0.1,127.0.0.1 port=%d,%d,%d user=postgres dbname=mihwar",
                 mute, refusing, well);
    }
    ck_assert_int_eq(on_fiber(ask_once, url), OK);
    close(fd);
}
END_TEST

static void prepare(const struct stores *s)
{
    pooler_up(s, &pooler);
}

static Suite *suite(void)
{
    Suite *s = suite_create("pg_far");
    TCase *tc = tcase_create("pg_far");

    tcase_set_timeout(tc, 60);
    tcase_add_test(tc, many_clients_few_connections);
    tcase_add_loop_test(tc, listening_goes_past_it, 0, 2);
    tcase_add_loop_test(tc, a_host_that_says_nothing_is_passed_over, 0, 3);
    suite_add_tcase(s, tc);
    return s;
}

int main(void)
{
    stores_start(&stores, &(struct stores_opts){.no_redis = true, .pg_tcp = true});
    prepare(&stores);
    int failed = suite_run_unforked(suite());
    pooler_stop(&pooler);
    stores_stop(&stores);
    return support_end(failed);
}
