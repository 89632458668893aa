/* test_agent_house.c - a request on its whole way: posted, kept, an agent found, carried out by mihwar-agent, archived; and who dies on it. */
#include "tests/e2e/device.h"
#include "tests/e2e/e2e.h"
#include "tests/e2e/mtls.h"
#include <stdarg.h>

#define ENDS_MS 60000

static struct mtls m; /* a house with both doors */
#define h (m.house)

/* ---------------------------------------------------------------- a device of the shop's, and requests for it */

static const char *new_token(const char *agent_id)
{
    static char token[200];

    snprintf(token, sizeof token, "%s\n",
             house_cli_field(&h, "token", "agent", "token", "add", agent_id, "--json", NULL));
    return token;
}

/* url: of the door; more: lines of its file. */
static struct device provisioned(const char *agent_id, const char *url, const char *more)
{
    struct device d;

    ck_assert_int_eq(
        house_cli(&h, NULL, "agent", "add", agent_id, "--tenant", "demo", "--type", "cpe", NULL),
        0);
    device_make(&d, agent_id, url, new_token(agent_id), more);
    return d;
}

static const char *agent_is(const char *agent_id)
{
    return pg_one(h.stores.database_url, "SELECT status FROM agents WHERE agent_id = '%s'",
                  agent_id);
}

static struct device joined(const char *agent_id)
{
    struct device d = provisioned(agent_id, h.url, "");

    device_start(&d);
    ck_wait(strcmp(agent_is(agent_id), "active") == 0, ENDS_MS);
    return d;
}

static void leave(struct device *d)
{
    proc_signal(d->agent, SIGTERM);
    ck_assert_int_eq(proc_wait(d->agent, 20000), 0);
    device_kill(d);
    ck_wait(strcmp(agent_is(d->agent_id), "inactive") == 0, ENDS_MS);
}

/* The request's id, in one of 8 buffers used in turn. */
static const char *request(const char *body, ...) _printf_(1, 2);
static const char *request(const char *body, ...)
{
    static char ids[8][40];
    static int turn;
    char text[512], *id = ids[turn++ % 8];
    va_list ap;

    va_start(ap, body);
    vsnprintf(text, sizeof text, body, ap);
    va_end(ap);
    struct web_reply r = house_post(&h, "/v1/requests", text);
    ck_assert_msg(r.status == 202, "%d %s", r.status, r.body);
    snprintf(id, sizeof ids[0], "%s", web_text(&r, "request_id"));
    web_reply_release(&r);
    return id;
}

#define COLUMN(id, column)                                                                         \
    pg_one(h.stores.database_url, "SELECT " column " FROM requests WHERE request_id = '%s'", id)

static void ends_as(const char *id, const char *status)
{
    bool there = wait_until(strcmp(COLUMN(id, "status"), status) == 0, ENDS_MS);
    _cleanup_(freep) char *steps = pg_table(
        h.stores.database_url,
        "SELECT step, agent_id, detail FROM request_events WHERE request_id = '%s' ORDER BY id",
        id);

    ck_assert_msg(there, "%s, not %s\n%s", COLUMN(id, "status"), status, steps);
}

/* ---------------------------------------------------------------- the way */

START_TEST(carried_out)
{
    struct device d = joined("way");
    const char *id = request("{\"command\":\"get_status\",\"agent_id\":\"way\"}");

    ends_as(id, "completed");
    ck_assert_str_ne(COLUMN(id, "result->>'host'"), "");
    ck_assert_str_eq(COLUMN(id, "assigned_agent_id"), "way");
    ck_assert_str_eq(
        pg_one(h.stores.database_url, "SELECT agent_version FROM agents WHERE agent_id = 'way'"),
        MIHWAR_VERSION);

    id = request("{\"command\":\"echo\",\"payload\":{\"n\":9007199254740993,\"s\":\"\\u00e9\"},"
                 "\"agent_type\":\"cpe\",\"match\":{\"site\":\"12\"}}");
    ends_as(id, "completed");
    ck_assert_str_eq(COLUMN(id, "result->'output'->>'n'"), "9007199254740993");
    ck_assert_str_eq(COLUMN(id, "result->'output'->>'s'"), "\xc3\xa9");

    id = request("{\"command\":\"format_disk\",\"agent_id\":\"way\"}");
    ends_as(id, "failed");
    ck_assert_str_eq(COLUMN(id, "error_code"), "not_allowed");
    ck_assert_int_eq(pg_one_int(h.stores.database_url,
                                "SELECT count(*) FROM command_history WHERE agent_id = 'way'"),
                     3);
    leave(&d);
}
END_TEST

/* Nobody is there at first. */
START_TEST(waits_for_it)
{
    struct device d = provisioned("late", h.url, "");
    const char *id = request("{\"command\":\"mark\",\"agent_id\":\"late\",\"timeout_ms\":120000}");

    ck_wait(pg_one_int(
                h.stores.database_url,
                "SELECT count(*) FROM request_events WHERE request_id = '%s' AND step = 'waiting'",
                id) > 0,
            ENDS_MS);
    device_start(&d);
    ends_as(id, "completed");
    ck_assert_int_eq(device_marks(&d), 1);
    leave(&d);
}
END_TEST

/* ---------------------------------------------------------------- deaths on the way */

static const char *under_way(struct device *d)
{
    const char *id =
        request("{\"command\":\"slow\",\"agent_id\":\"%s\",\"timeout_ms\":120000}", d->agent_id);

    ck_wait(device_marks(d) == 1, ENDS_MS);
    return id;
}

START_TEST(hub_dies)
{
    struct device d = joined("hub-dies");
    const char *id = under_way(&d);

    house_kill(&h, HUB);
    device_let_go(&d);
    house_up(&h, HUB);
    ends_as(id, "completed");
    ck_assert_int_eq(device_marks(&d), 1);
    leave(&d);
}
END_TEST

START_TEST(redis_dies)
{
    struct device d = joined("redis-dies");
    const char *id = under_way(&d);

    house_kill(&h, REDIS);
    device_let_go(&d);
    ends_as(id, "completed"); /* a result needs PostgreSQL alone */
    house_up(&h, REDIS);
    id = request("{\"command\":\"mark\",\"agent_id\":\"redis-dies\"}");
    ends_as(id, "completed");
    ck_assert_int_eq(device_marks(&d), 2);
    leave(&d);
}
END_TEST

START_TEST(agent_dies)
{
    struct device d = joined("agent-dies");
    const char *id = under_way(&d);

    device_kill(&d);
    device_start(&d);
    ends_as(id, "failed");
    ck_assert_str_eq(COLUMN(id, "error_code"), "interrupted");
    ck_assert_int_eq(device_marks(&d), 1);
    leave(&d);
}
END_TEST

START_TEST(token_revoked)
{
    struct device d = joined("revoked");

    ck_assert_int_eq(house_cli(&h, NULL, "agent", "token", "revoke", "revoked", "--all", NULL), 0);
    ck_assert_int_eq(proc_wait(d.agent, ENDS_MS), 3);
    device_kill(&d);
}
END_TEST

/* A copy of the device begins: the newer has the session, the older is told, and waits long before it comes back. */
START_TEST(two_of_them)
{
    struct device d = joined("twin"), copy;
    _cleanup_(freep) char *session = xstrdup(
        pg_one(h.stores.database_url, "SELECT session_id FROM agents WHERE agent_id = 'twin'"));

    device_make(&copy, "twin", h.url, new_token("twin"), "");
    device_start(&copy);
    ck_wait(strcmp(pg_one(h.stores.database_url,
                          "SELECT session_id FROM agents WHERE agent_id = 'twin'"),
                   session) != 0,
            ENDS_MS);
    bool told = false;
    for (int i = 0; i < ENDS_MS / 10 && !told; i++) {
        _cleanup_(freep) char *log = proc_log(d.agent);
        told = strstr(log, "code=4001") != NULL;
        support_nap(10);
    }
    ck_assert(told);
    device_kill(&d);
    leave(&copy);
}
END_TEST

/* ---------------------------------------------------------------- the door with certificates */

/* An agent of this name that shows the certificate `cert` on the mTLS door. */
static struct device at_mtls_door(const char *agent_id, const char *cert)
{
    int port = port_from_file(folder_path(&m.ca, "port"), h.procs[HUB],
                              ENDS_MS); /* another with each hub */
    _cleanup_(freep) char *url = xasprintf("https://127.0.0.1:%d", port);
    _cleanup_(freep) char *files = xasprintf("ca = %s/ca.crt\ncert = %s\nkey = %s\n", m.ca.dir,
                                             mtls_crt(&m.ca, cert), mtls_key(&m.ca, cert));
    struct device d = provisioned(agent_id, url, files);

    device_start(&d);
    return d;
}

static void certify(const char *agent_id)
{
    folder_issue(&m.ca, agent_id, CA_AGENT);
    ck_assert_int_eq(house_cli(&h, NULL, "identity", "add", agent_id, "--tenant", "demo", "--role",
                               "agent", "--agent", agent_id, NULL),
                     0);
}

START_TEST(with_a_certificate)
{
    certify("tls-1");
    struct device d = at_mtls_door("tls-1", "tls-1");

    ck_wait(strcmp(agent_is("tls-1"), "active") == 0, ENDS_MS);
    ends_as(request("{\"command\":\"mark\",\"agent_id\":\"tls-1\"}"), "completed");
    leave(&d);
}
END_TEST

/* The certificate of one agent with the token of another. */
START_TEST(with_anothers_certificate)
{
    certify("tls-2");
    struct device d = at_mtls_door("tls-3", "tls-2");
    bool refused = false;

    for (int i = 0; i < ENDS_MS / 10 && !refused; i++) {
        _cleanup_(freep) char *log = proc_log(d.agent);
        refused = strstr(log, "code=403") != NULL;
        support_nap(10);
    }
    ck_assert(refused);
    ck_assert_str_ne(agent_is("tls-3"), "active");
    device_kill(&d);
}
END_TEST

static void start(struct house *house, const struct stores_opts *opts, const char *const *env)
{
    mtls_open(&m, env);
    house_up(house, WORKER);
    house_up(house, BEAT);
}

int main(void)
{
    const struct e2e_row rows[] = {
        {"carried out", carried_out},
        {"waits for it", waits_for_it},
        {"the hub dies", hub_dies},
        {"Redis dies", redis_dies},
        {"the agent dies", agent_dies},
        {"a token is revoked", token_revoked},
        {"two of them", two_of_them},
        {"with a certificate", with_a_certificate},
        {"with another's certificate", with_anothers_certificate},
    };
    int status = e2e_run("agent_house", &h, start, rows, COUNT(rows));

    folder_release(&m.ca);
    return status;
}
