/* test_traces.c - an order's spans, from its POST to the provider, as a collector gets them. */
#include "tests/e2e/catcher.h"
#include "tests/e2e/e2e.h"

#define TRACE  "4bf92f3577b34da6a3ce929d0e0e4736"
#define UNSEEN "4bf92f3577b34da6a3ce929d0e0e4737"
#define CALLER "00f067aa0ba902b7"

static struct house h;
static struct catcher collector;

static void start(struct house *house, const struct stores_opts *opts, const char *const *env)
{
    char setting[128];

    (void)env;
    catcher_open(&collector);
    snprintf(setting, sizeof setting, "MIHWAR_OTLP_URL=http://127.0.0.1:%d/v1/traces",
             collector.port);
    house_start(house, opts, (const char *const[]){setting, "MIHWAR_HUB_PROCESSES=1", NULL});
}

/* ------------------------------------------------------------------ what the collector has */

static struct got {
    char trace[33], id[17], parent[17], name[64], service[32];
    int kind, status;
    char *attributes;
} spans[2000];
static size_t nspans;

static const char *text(const cJSON *o, const char *name)
{
    const cJSON *v = cJSON_GetObjectItemCaseSensitive(o, name);

    ck_assert_msg(cJSON_IsString(v), "a span without %s", name);
    return v->valuestring;
}

static void keep(const cJSON *s, const char *service)
{
    struct got *g = &spans[nspans++];

    ck_assert(nspans < COUNT(spans));
    snprintf(g->trace, sizeof g->trace, "%s", text(s, "traceId"));
    snprintf(g->id, sizeof g->id, "%s", text(s, "spanId"));
    snprintf(g->parent, sizeof g->parent, "%s", text(s, "parentSpanId"));
    snprintf(g->name, sizeof g->name, "%s", text(s, "name"));
    snprintf(g->service, sizeof g->service, "%s", service);
    g->kind = cJSON_GetObjectItem(s, "kind")->valueint;
    g->status = cJSON_GetObjectItem(cJSON_GetObjectItem(s, "status"), "code")->valueint;
    g->attributes = cJSON_PrintUnformatted(cJSON_GetObjectItem(s, "attributes"));
    int64_t from = atoll(text(s, "startTimeUnixNano")), to = atoll(text(s, "endTimeUnixNano"));
    ck_assert(from > INT64_C(1600000000000000000) && to >= from);
    ck_assert(strlen(g->trace) == 32 && strlen(g->id) == 16);
}

/* One batch, if one comes within a second. */
static void collect(void)
{
    _cleanup_(caught_release) struct caught k;
    const cJSON *s;

    if (!catcher_take(&collector, 200, 1000, &k))
        return;
    ck_assert(strncmp(k.head, "POST /v1/traces ", 16) == 0);
    ck_assert_str_eq(caught_header(&k, "Content-Type"), "application/json");
    cJSON *all = cJSON_Parse(k.body);
    ck_assert_msg(all != NULL, "%s", k.body);
    const cJSON *one = cJSON_GetArrayItem(cJSON_GetObjectItem(all, "resourceSpans"), 0);
    const cJSON *service = cJSON_GetArrayItem(
        cJSON_GetObjectItem(cJSON_GetObjectItem(one, "resource"), "attributes"), 0);
    const char *name = text(cJSON_GetObjectItem(service, "value"), "stringValue");
    one = cJSON_GetArrayItem(cJSON_GetObjectItem(one, "scopeSpans"), 0);
    cJSON_ArrayForEach(s, cJSON_GetObjectItem(one, "spans")) keep(s, name);
    cJSON_Delete(all);
}

/* A span of this name below that parent. */
static const struct got *find(const char *name, const char *parent)
{
    for (size_t i = 0; i < nspans; i++)
        if (strcmp(spans[i].trace, TRACE) == 0 && strcmp(spans[i].name, name) == 0 &&
            strcmp(spans[i].parent, parent) == 0)
            return &spans[i];
    return NULL;
}

static const struct got *wait_for(const char *name, const char *parent)
{
    const struct got *g;

    for (int i = 0; i < 60 && !find(name, parent); i++)
        collect();
    g = find(name, parent);
    ck_assert_msg(g != NULL, "no span %s below %s", name, parent);
    return g;
}

static void forget(void)
{
    for (size_t i = 0; i < nspans; i++)
        cJSON_free(spans[i].attributes);
    nspans = 0;
}

static char *place(const char *traceparent)
{
    const char *package = house_package(&h, "60", NULL);
    _cleanup_(freep) char *url = xasprintf("%s/v1/orders", h.url);
    _cleanup_(freep) char *header = xasprintf("traceparent: %s", traceparent);
    _cleanup_(freep) char *body =
        xasprintf("{\"package_id\":\"%s\",\"user_identifier\":\"traced\"}", package);
    _cleanup_(web_reply_release) struct web_reply made =
        web(.url = url, .bearer = h.key, .body = body,
            .headers = (const char *const[]){header, NULL});

    ck_assert_msg(made.status == 201, "%d %s", made.status, made.body);
    return xstrdup(web_text(&made, "id"));
}

/* ------------------------------------------------------------------ tests */

/* POST -> job.enqueue -> order.dispatch -> provider.place
 *                              `-> job.enqueue -> order.check -> provider.ask */
START_TEST(from_the_post_to_the_provider)
{
    _cleanup_(freep) char *unseen = place("00-" UNSEEN "-" CALLER "-00");
    _cleanup_(freep) char *order = place("00-" TRACE "-" CALLER "-01");

    const struct got *post = wait_for("orders_post", CALLER);
    ck_assert(post->kind == 2 && post->status == 1);
    ck_assert_str_eq(post->service, "mihwar-hub");
    ck_assert_msg(strstr(post->attributes, "\"201\"") && strstr(post->attributes, "/v1/orders"),
                  "%s", post->attributes);
    const struct got *enqueue = wait_for("job.enqueue", post->id);
    ck_assert_int_eq(enqueue->kind, 4);
    const struct got *dispatch = wait_for("order.dispatch", enqueue->id);
    ck_assert_int_eq(dispatch->kind, 5);
    ck_assert_str_eq(dispatch->service, "mihwar-worker");
    ck_assert_msg(strstr(dispatch->attributes, order) && strstr(dispatch->attributes, "completed"),
                  "%s", dispatch->attributes);
    const struct got *call = wait_for("provider.place", dispatch->id);
    ck_assert_int_eq(call->kind, 3);
    ck_assert_msg(strstr(call->attributes, "127.0.0.1:") && !strstr(call->attributes, "sifre"),
                  "%s", call->attributes);
    const struct got *again = wait_for("job.enqueue", dispatch->id);
    const struct got *check = wait_for("order.check", again->id);
    wait_for("provider.ask", check->id);

    ck_wait(strcmp(house_status(&h, unseen), "completed") == 0, 30000);
    for (int i = 0; i < 3; i++)
        collect();
    for (size_t i = 0; i < nspans; i++)
        ck_assert_str_ne(spans[i].trace, UNSEEN);
    forget();
}
END_TEST

/* Nobody collects any more: orders go on, and what is lost is counted. */
START_TEST(a_collector_that_is_gone)
{
    catcher_close(&collector);
    _cleanup_(freep) char *order = place("00-" TRACE "-" CALLER "-01");

    ck_wait(strcmp(house_status(&h, order), "completed") == 0, 30000);
    ck_wait(({
                _cleanup_(web_reply_release) struct web_reply r = house_get(&h, "/metrics");
                const char *hub = strstr(r.body, "\nmihwar_hub_spans_dropped_total "),
                           *worker = strstr(
                               r.body, "\nmihwar_spans_total{kind=\"worker\",end=\"dropped\"} ");
                hub &&atoi(strchr(hub + 1, ' ')) > 0 && worker &&atoi(strchr(worker + 1, ' ')) > 0;
            }),
            30000);
}
END_TEST

E2E(traces, start, {"from the POST to the provider", from_the_post_to_the_provider},
    {"a collector that is gone", a_collector_that_is_gone})
