/* house.c - starting, killing and asking the whole system.
 *
 * A program is killed with all its processes: the supervisor alone would leave children that drain
 * for a while, which is a different trouble (house_kill_child makes the opposite one). Orphans come
 * to us, the subreaper, and are reaped here. */
#include "tests/support/house.h"
#include "base/json.h"
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>

#define START_MS 30000
#define DRAIN_MS 30000
#define SEAL_KEY "k1:00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff"

static const struct {
    const char *name, *program;
} parts[PARTS] = {
    [HUB] = {"hub", "hub/mihwar-hub"},
    [HUB_B] = {"hub-b", "hub/mihwar-hub"},
    [HUB_C] = {"hub-c", "hub/mihwar-hub"},
    [WORKER] = {"worker", "worker/mihwar-worker"},
    [BEAT] = {"beat", "beat/mihwar-beat"},
    [SIM] = {"sim", "tests/sim/sim-znet"},
    [REDIS] = {"redis", NULL},
    [PG] = {"postgres", NULL},
};

/* Short times: a test sees in seconds what takes minutes in a shop. And no undefined behaviour goes
 * unseen. */
static const char *const short_times[] = {
    "MIHWAR_CHECK_FIRST=200ms",
    "MIHWAR_CHECK_BASE=200ms",
    "MIHWAR_CHECK_CAP=1s",
    "MIHWAR_REVIEW_AFTER=4s",
    "MIHWAR_LEASE=2s",
    "MIHWAR_EPOCH_EVERY=500ms",
    "MIHWAR_BEAT_LEASE=1s",
    "MIHWAR_SWEEP_MIN_AGE=2s",
    "MIHWAR_PROVIDER_CONNECT=1s",
    "MIHWAR_PROVIDER_PLACE=2s",
    "MIHWAR_PROVIDER_STATUS=2s",
    "MIHWAR_WEBHOOK_ALLOW_PRIVATE=true",
    "MIHWAR_SHUTDOWN_GRACE=10s",
    "MIHWAR_SEAL_KEYS=" SEAL_KEY,
    "MIHWAR_LOG_LEVEL=info",
    "MIHWAR_REFUSALS_BURST=100000", /* one address for all who are refused in a test */
    "MIHWAR_HUB_PROCESSES=2", /* whatever the machine: what one knows the other must hear of */
    "MIHWAR_WORKER_BEAT=500ms",
    "MIHWAR_WORKER_CONCURRENCY=100",
    "UBSAN_OPTIONS=halt_on_error=1:abort_on_error=1:print_stacktrace=1",
};

const char *part_name(enum part p)
{
    return parts[p].name;
}

static const char *turn_copy(const char *s)
{
    static char texts[16][256];
    static unsigned turn;
    char *out = texts[turn++ % COUNT(texts)];
    snprintf(out, sizeof(texts[0]), "%s", s ? s : "");
    return out;
}

/* ---------------------------------------------------------------- environment */

static void env_add(struct house *h, size_t *n, const char *text)
{
    if (*n + 1 >= COUNT(h->env))
        support_die("too many settings for one house");
    h->env[(*n)++] = text;
    h->env[*n] = NULL;
}

static void make_env(struct house *h, const char *const *more)
{
    size_t n = 0, own = 0;
    for (size_t i = 0; i < COUNT(short_times); i++)
        env_add(h, &n, short_times[i]);
#define OWN(...)                                                                                   \
    do {                                                                                           \
        snprintf(h->env_text[own], sizeof(h->env_text[0]), __VA_ARGS__);                           \
        env_add(h, &n, h->env_text[own++]);                                                        \
    } while (0)
    OWN("MIHWAR_DATABASE_URL=%s", h->stores.database_url);
    OWN("MIHWAR_REDIS_URL=%s", h->stores.redis_url);
    OWN("MIHWAR_HUB_LISTEN=127.0.0.1:%d", h->hub_port);
#undef OWN
    for (const char *const *e = more; e && *e; e++)
        env_add(h, &n, *e); /* putenv: the last one wins */
}

void house_set(struct house *h, const char *setting)
{
    size_t n = 0, name = strcspn(setting, "=") + 1;
    while (h->env[n] && strncmp(h->env[n], setting, name) != 0)
        n++;
    char *own = NULL;
    for (size_t i = 0; i < COUNT(h->env_text) && !own; i++)
        if (h->env[n] == h->env_text[i] || !h->env_text[i][0])
            own = h->env_text[i];
    if (!own || n + 1 >= COUNT(h->env))
        support_die("too many settings for one house");
    snprintf(own, sizeof(h->env_text[0]), "%s", setting);
    h->env[n] = own;
}

/* ---------------------------------------------------------------- parts */

static bool answers(const char *url)
{
    _cleanup_(web_reply_release) struct web_reply r = web(.url = url, .timeout_ms = 2000);
    return r.status == 200;
}

/* How often a part has said in its log that it is ready. */
static int readies(enum part p, const char *line)
{
    _cleanup_(freep) char *log = support_log(parts[p].name);
    int n = 0;
    for (const char *c = log; (c = strstr(c, line)); c++)
        n++;
    return n;
}

const char *house_hub_url(const struct house *h, enum part hub)
{
    return hub == HUB ? h->url : h->more_hub_url[hub - HUB_B];
}

static void start_program(struct house *h, enum part p)
{
    char port[16], ledger[128], url[96], listen[64];
    const char *env[COUNT(h->env) + 1];
    size_t n = 0;
    snprintf(port, sizeof(port), "%d", h->sim_port);
    snprintf(ledger, sizeof(ledger), "%s/ledger", h->stores.dir);
    const char *sim[] = {built(parts[p].program), "--port", port, "--ledger", ledger,
                         "--settle-ms",           "300",    NULL};
    const char *own[] = {built(parts[p].program), NULL};
    struct proc_opts o = {.name = parts[p].name, .argv = p == SIM ? sim : own, .env = env};

    while (h->env[n]) {
        env[n] = h->env[n];
        n++;
    }
    if (p == HUB_B || p == HUB_C) { /* a door of its own */
        snprintf(listen, sizeof(listen), "MIHWAR_HUB_LISTEN=127.0.0.1:%d",
                 h->more_hub_port[p - HUB_B]);
        env[n++] = listen;
    }
    env[n] = NULL;
    /* When these say so SIGTERM drains them; before, it would just end them. */
    const char *line = p == WORKER ? "ev=worker.ready" : p == BEAT ? "ev=beat.started" : NULL;
    int before = line ? readies(p, line) : 0;
    h->procs[p] = proc_start(&o);
    if (line && !wait_until(readies(p, line) > before, START_MS)) {
        support_end(1);
        support_die("%s does not come up", parts[p].name);
    }
    if (line)
        return;
    snprintf(url, sizeof(url), p == SIM ? "%s/_sim/calls" : "%s/readyz",
             p == SIM ? h->sim_url : house_hub_url(h, p));
    if (!wait_until(answers(url) || !proc_alive(h->procs[p]), START_MS) ||
        !proc_alive(h->procs[p])) {
        support_end(1);
        support_die("%s does not answer at %s", parts[p].name, url);
    }
}

void house_up(struct house *h, enum part p)
{
    if (p == REDIS)
        stores_up_redis(&h->stores);
    else if (p == PG)
        stores_up_pg(&h->stores);
    else if (!h->procs[p])
        start_program(h, p);
}

bool house_down(struct house *h, enum part p)
{
    if (!h->procs[p])
        return true;
    int status = proc_stop(h->procs[p], DRAIN_MS);
    h->procs[p] = proc_free(h->procs[p]);
    if (status != 0)
        printf("house: %s ended with status %d after SIGTERM\n", parts[p].name, status);
    return status == 0;
}

void house_kill(struct house *h, enum part p)
{
    pid_t child[64];
    if (p == REDIS)
        stores_kill_redis(&h->stores);
    if (p == PG)
        stores_kill_pg(&h->stores);
    if (p == REDIS || p == PG || !h->procs[p])
        return;
    size_t n = proc_children(proc_pid(h->procs[p]), child, COUNT(child));
    h->procs[p] = proc_free(h->procs[p]);
    for (size_t i = 0; i < n; i++)
        kill(child[i], SIGKILL);
    for (size_t i = 0; i < n; i++)
        waitpid(child[i], NULL, 0);
}

bool house_kill_child(struct house *h, enum part p)
{
    pid_t child[64];
    size_t n = h->procs[p] ? proc_children(proc_pid(h->procs[p]), child, COUNT(child)) : 0;
    return n > 0 && kill(child[(size_t)rand() % n], SIGKILL) == 0;
}

/* ---------------------------------------------------------------- the shop */

static void set_up_shop(struct house *h)
{
    snprintf(h->tenant, sizeof(h->tenant), "%s",
             house_cli_field(h, "id", "tenant", "add", "demo", "--json", NULL));
    snprintf(h->key, sizeof(h->key), "%s",
             house_cli_field(h, "key", "key", "add", "front", "--tenant", "demo", "--permissions",
                             "*", "--json", NULL));
    const char *const names[] = {"znet-a", "znet-b"}, *const kods[] = {"5551112233", "5554445566"};
    char *const ids[] = {h->znet_a, h->znet_b};
    for (size_t i = 0; i < COUNT(names); i++)
        snprintf(ids[i], sizeof(h->znet_a), "%s",
                 house_cli_field(
                     h, "id", "provider", "add", names[i], "--tenant", "demo", "--kind", "znet",
                     "--settings", "{\"breaker\":{\"open_ms\":1000,\"open_max_ms\":2000}}", "--url",
                     h->sim_url, "--kod", kods[i], "--sifre", "secret", "--json", NULL));
    pg_one(h->stores.database_url,
           "INSERT INTO products (id, tenant_id, name) VALUES (gen_random_uuid(), '%s', 'Goods')",
           h->tenant);
}

const char *house_package(struct house *h, const char *a, const char *b)
{
    static int number;
    const char *db = h->stores.database_url;
    const char *id = turn_copy(
        pg_one(db,
               "INSERT INTO packages (id, tenant_id, product_id, name) SELECT gen_random_uuid(), "
               "tenant_id, id, 'package %d' FROM products WHERE name = 'Goods' RETURNING id",
               ++number));
    const char *const kupurs[] = {a, b}, *const znets[] = {h->znet_a, h->znet_b};
    for (size_t i = 0; i < COUNT(kupurs) && kupurs[i]; i++)
        pg_one(db,
               "INSERT INTO package_mappings (tenant_id, package_id, integration_id, "
               "external_product, external_kupur) VALUES ('%s', '%s', '%s', '1', '%s')",
               h->tenant, id, znets[i], kupurs[i]);
    pg_one(db,
           "INSERT INTO package_routing (tenant_id, package_id, primary_id, fallback_id) "
           "VALUES ('%s', '%s', '%s', %s%s%s)",
           h->tenant, id, h->znet_a, b ? "'" : "", b ? h->znet_b : "NULL", b ? "'" : "");
    return id;
}

void house_open(struct house *h, const struct stores_opts *opts, const char *const *env)
{
    *h = (struct house){0};
    stores_start(&h->stores, opts);
    h->hub_port = free_port();
    h->sim_port = free_port();
    for (size_t i = 0; i < COUNT(h->more_hub_port); i++) {
        h->more_hub_port[i] = free_port();
        snprintf(h->more_hub_url[i], sizeof(h->more_hub_url[i]), "http://127.0.0.1:%d",
                 h->more_hub_port[i]);
    }
    snprintf(h->url, sizeof(h->url), "http://127.0.0.1:%d", h->hub_port);
    snprintf(h->sim_url, sizeof(h->sim_url), "http://127.0.0.1:%d", h->sim_port);
    make_env(h, env);
    if (house_cli(h, NULL, "db", "migrate", NULL) != 0) {
        support_end(1);
        support_die("mihwar db migrate failed");
    }
    house_up(h, SIM);
    set_up_shop(h);
    house_up(h, HUB);
}

void house_start(struct house *h, const struct stores_opts *opts, const char *const *env)
{
    house_open(h, opts, env);
    house_up(h, WORKER);
    house_up(h, BEAT);
    /* Single losses (a push that never left) are mended every second instead of every 30. */
    const char *mend = "UPDATE schedules SET every_ms = 1000, next_due_at = NULL WHERE name = "
                       "'reconcile' RETURNING id";
    if (!wait_until(pg_try(h->stores.database_url, NULL, "%s", mend) != NULL, START_MS))
        support_die("beat did not bring its schedules");
}

int house_stop(struct house *h)
{
    int failed = 0;
    failed += !house_down(h, BEAT);
    failed += !house_down(h, WORKER);
    for (enum part p = HUB; p <= HUB_C; p++)
        failed += !house_down(h, p);
    failed += !house_down(h, SIM);
    stores_stop(&h->stores);
    return failed;
}

/* ---------------------------------------------------------------- asking */

static struct web_reply call(const char *base, const char *key, const char *body, const char *path)
{
    _cleanup_(freep) char *url = xasprintf("%s%s", base, path);
    return web(.url = url, .bearer = key, .body = body);
}

/* The path is printed first. */
static struct web_reply get(const char *base, const char *key, const char *path, va_list ap)
{
    _cleanup_(freep) char *text = NULL;

    if (vasprintf(&text, path, ap) < 0)
        abort();
    return call(base, key, NULL, text);
}

struct web_reply house_get(struct house *h, const char *path, ...)
{
    va_list ap;
    va_start(ap, path);
    struct web_reply r = get(h->url, h->key, path, ap);
    va_end(ap);
    return r;
}

struct web_reply house_post(struct house *h, const char *path, const char *body)
{
    return call(h->url, h->key, body, path);
}

struct web_reply house_sim(struct house *h, const char *path, ...)
{
    va_list ap;
    va_start(ap, path);
    struct web_reply r = get(h->sim_url, NULL, path, ap);
    va_end(ap);
    return r;
}

const char *house_order(struct house *h, const char *package, const char *user, const char *more)
{
    _cleanup_(freep) char *body =
        xasprintf("{\"package_id\":\"%s\",\"user_identifier\":\"%s\"%s}", package, user, more);
    _cleanup_(web_reply_release) struct web_reply r = house_post(h, "/v1/orders", body);
    ck_assert_msg(r.status == 201, "%d %s %s", r.status, r.why, r.body);
    return turn_copy(web_text(&r, "id"));
}

const char *house_status(struct house *h, const char *order)
{
    const char *s = pg_try(h->stores.database_url, NULL,
                           "SELECT status FROM product_orders WHERE id = '%s'", order);
    return s ? s : "";
}

/* How many objects of an array have one of two fields equal to `want`. */
static int count(struct house *h, const char *path, const char *array, const char *only_endpoint,
                 const char *want)
{
    _cleanup_(web_reply_release) struct web_reply r = house_sim(h, "%s", path);
    const cJSON *e, *list = json_path(r.json, array);
    int n = 0;
    ck_assert_msg(list != NULL, "%s: %d %s", path, r.status, r.body);
    cJSON_ArrayForEach(e, list)
    {
        const char *player = cJSON_GetStringValue(cJSON_GetObjectItem(e, "player"));
        const char *ref = cJSON_GetStringValue(cJSON_GetObjectItem(e, "reference"));
        const char *endpoint = cJSON_GetStringValue(cJSON_GetObjectItem(e, "endpoint"));
        if (only_endpoint && (!endpoint || strcmp(endpoint, only_endpoint) != 0))
            continue;
        n += (player && strcmp(player, want) == 0) || (ref && strcmp(ref, want) == 0);
    }
    return n;
}

int house_delivered(struct house *h, const char *user)
{
    return count(h, "/_sim/ledger", "deliveries", NULL, user);
}

int house_calls(struct house *h, const char *endpoint, const char *user_or_ref)
{
    return count(h, "/_sim/calls", "calls", endpoint, user_or_ref);
}

/* ---------------------------------------------------------------- the command line */

static int cli_run(struct house *h, char **ret_out, va_list ap)
{
    const char *argv[40] = {built("ops/mihwar")};
    size_t n = 1;
    while (n + 1 < COUNT(argv) && (argv[n] = va_arg(ap, const char *)))
        n++;
    struct proc_opts o = {.name = "mihwar", .argv = argv, .env = h->env};
    return proc_run(&o, NULL, START_MS, ret_out, NULL);
}

int house_cli(struct house *h, char **ret_out, ...)
{
    va_list ap;
    va_start(ap, ret_out);
    int status = cli_run(h, ret_out, ap);
    va_end(ap);
    return status;
}

const char *house_cli_field(struct house *h, const char *path, ...)
{
    _cleanup_(freep) char *out = NULL;
    va_list ap;
    va_start(ap, path);
    int status = cli_run(h, &out, ap);
    va_end(ap);
    if (status != 0) {
        support_end(1);
        support_die("a mihwar command ended with %d: %s", status, out);
    }
    cJSON *json = cJSON_Parse(out);
    const cJSON *v = json_path(json, path);
    if (!cJSON_IsString(v))
        support_die("no %s in the answer of a mihwar command: %s", path, out);
    const char *text = turn_copy(v->valuestring);
    cJSON_Delete(json);
    return text;
}
