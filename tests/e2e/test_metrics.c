/* test_metrics.c - what /metrics says of a house at work: well formed, true, and named in
 * docs/metrics.md. */
#include "tests/e2e/e2e.h"
#include <ctype.h>

static struct house h;

/* ------------------------------------------------------------------ a judge of the text format */

#define FAMILIES_MAX 256
struct page {
    char *text;
    size_t n, nlines;
    struct {
        char name[80], type[16];
        bool help, typed, done; /* done: another family began behind it */
    } families[FAMILIES_MAX];
    char *lines[20000]; /* samples without their values */
};
static struct page page;

static size_t family_of(const char *name, size_t len)
{
    for (size_t i = 0; i < page.n; i++)
        if (strlen(page.families[i].name) == len && strncmp(page.families[i].name, name, len) == 0)
            return i;
    ck_assert(page.n < FAMILIES_MAX && len < sizeof page.families[0].name);
    snprintf(page.families[page.n].name, len + 1, "%s", name);
    return page.n++;
}

static void judge_comment(const char *line)
{
    bool help = strncmp(line, "# HELP ", 7) == 0;

    ck_assert_msg(help || strncmp(line, "# TYPE ", 7) == 0, "%s", line);
    const char *name = line + 7, *end = strchr(name, ' ');
    ck_assert_msg(end && end[1], "%s", line);
    size_t f = family_of(name, (size_t)(end - name));
    ck_assert_msg(!page.families[f].done, "%s: its family was there before", line);
    if (help) {
        ck_assert_msg(!page.families[f].help && !page.families[f].typed, "again: %s", line);
        page.families[f].help = true;
    } else {
        ck_assert_msg(page.families[f].help && !page.families[f].typed, "again: %s", line);
        page.families[f].typed = true;
        snprintf(page.families[f].type, sizeof page.families[f].type, "%s", end + 1);
        ck_assert_msg(strcmp(end + 1, "gauge") == 0 || strcmp(end + 1, "counter") == 0 ||
                          strcmp(end + 1, "histogram") == 0,
                      "%s", line);
    }
    for (size_t i = 0; i < f; i++)
        page.families[i].done = true;
}

/* Behind the labels; values may hold anything but an unescaped quote or a line's end. */
static const char *judge_labels(const char *line, const char *p)
{
    if (*p != '{')
        return p;
    do {
        for (p++; islower((unsigned char)*p) || *p == '_'; p++)
            ;
        ck_assert_msg(p[0] == '=' && p[1] == '"', "%s", line);
        for (p += 2; *p && *p != '"'; p++) {
            ck_assert_msg(*p != '\\' || (p[1] && strchr("\\\"n", p[1])), "%s", line);
            p += *p == '\\';
        }
        ck_assert_msg(*p++ == '"', "%s", line);
    } while (*p == ',');
    ck_assert_msg(*p == '}', "%s", line);
    return p + 1;
}

static void judge_sample(char *line)
{
    const char *p = line;
    size_t len, f = page.n - 1;

    ck_assert_msg(page.n > 0, "%s: no family", line);
    for (; isalnum((unsigned char)*p) || *p == '_'; p++)
        ;
    len = strlen(page.families[f].name);
    ck_assert_msg(strncmp(line, page.families[f].name, len) == 0, "%s: not of family %s", line,
                  page.families[f].name);
    bool histogram = strcmp(page.families[f].type, "histogram") == 0;
    _cleanup_(freep) char *suffix = xstrndup(line + len, (size_t)(p - line) - len);
    bool fits = histogram ? strcmp(suffix, "_bucket") == 0 || strcmp(suffix, "_sum") == 0 ||
                                strcmp(suffix, "_count") == 0
                          : *suffix == 0;
    ck_assert_msg(fits, "%s: not of a %s", line, page.families[f].type);
    char *value = line + (judge_labels(line, p) - line), *end;
    ck_assert_msg(*value == ' ', "%s", line);
    *value++ = 0;
    double v = strtod(value, &end);
    ck_assert_msg(*value && *end == 0 && (v >= 0 || v < 0), "%s: '%s' is no number", line, value);
    for (size_t i = 0; i < page.nlines; i++)
        ck_assert_msg(strcmp(page.lines[i], line) != 0, "twice: %s", line);
    ck_assert(page.nlines < COUNT(page.lines));
    page.lines[page.nlines++] = line;
}

/* Fetches, judges, keeps. */
static void scrape(void)
{
    _cleanup_(web_reply_release) struct web_reply r = house_get(&h, "/metrics");
    char *save = NULL;

    ck_assert_int_eq(r.status, 200);
    free(page.text);
    page = (struct page){.text = xstrdup(r.body)};
    ck_assert_int_eq(page.text[strlen(page.text) - 1], '\n');
    for (char *line = strtok_r(page.text, "\n", &save); line; line = strtok_r(NULL, "\n", &save)) {
        if (*line == '#')
            judge_comment(line);
        else
            judge_sample(line);
    }
    for (size_t i = 0; i < page.n; i++)
        ck_assert_msg(page.families[i].typed, "%s has no type", page.families[i].name);
}

/* The value of a sample as it stands in a fresh scrape; -1: it is not there. */
static double value_of(const char *sample)
{
    scrape();
    for (size_t i = 0; i < page.nlines; i++)
        if (strcmp(page.lines[i], sample) == 0)
            return strtod(page.lines[i] + strlen(page.lines[i]) + 1, NULL);
    return -1;
}

static void post_job(const char *body)
{
    _cleanup_(web_reply_release) struct web_reply r = house_post(&h, "/v1/jobs", body);

    ck_assert_msg(r.status == 201, "%d %s", r.status, r.body);
}

/* ------------------------------------------------------------------ tests */

START_TEST(what_was_done_is_counted)
{
    static const struct {
        const char *sample;
        double want;
    } wanted[] = {
        {"mihwar_queue_done_total{queue=\"default\"}", 3},
        {"mihwar_queue_died_total{queue=\"default\"}", 1},
        {"mihwar_queue_enqueued_total{queue=\"default\"}", 4},
        {"mihwar_queue_dead{queue=\"default\"}", 1},
        {"mihwar_queue_ready{queue=\"default\"}", 0},
        {"mihwar_task_attempts_total{queue=\"default\",task=\"mihwar.noop\",outcome=\"completed\"}",
         2},
        {"mihwar_task_attempts_total{queue=\"default\",task=\"mihwar.echo\",outcome=\"dead\"}", 1},
        {"mihwar_task_seconds_count{queue=\"default\",task=\"mihwar.sleep\"}", 1},
        {"mihwar_task_seconds_bucket{queue=\"default\",task=\"mihwar.sleep\",le=\"0.01\"}", 0},
        {"mihwar_task_seconds_bucket{queue=\"default\",task=\"mihwar.sleep\",le=\"+Inf\"}", 1},
        {"mihwar_queue_wait_seconds_count{queue=\"default\"}", 4},
        {"mihwar_processes{kind=\"worker\",state=\"up\"}", 2},
        {"mihwar_processes{kind=\"beat\",state=\"up\"}", 1},
        {"mihwar_queue_workers{queue=\"default\"}", 2},
        {"mihwar_queue_slots{queue=\"default\"}", 200},
        {"mihwar_queue_workers_needed{queue=\"default\"}", 0},
        {"mihwar_collector_up{of=\"queues\"}", 1},
        {"mihwar_collector_up{of=\"tasks\"}", 1},
        {"mihwar_collector_up{of=\"workers\"}", 1},
        {"mihwar_collector_up{of=\"providers\"}", 1},
    };

    post_job("{\"task\":\"mihwar.noop\"}");
    post_job("{\"task\":\"mihwar.noop\",\"durable\":false}");
    post_job("{\"task\":\"mihwar.sleep\",\"args\":{\"ms\":50}}");
    post_job("{\"task\":\"mihwar.echo\",\"args\":{\"fail\":\"invalid_field\"}}");
    for (size_t i = 0; i < COUNT(wanted); i++)
        ck_wait(value_of(wanted[i].sample) == wanted[i].want, 30000);
    ck_assert(value_of("mihwar_process_cpu_seconds_total{kind=\"worker\"}") > 0);
    ck_assert(value_of("mihwar_process_resident_bytes{kind=\"worker\"}") > 1e6);
    ck_wait(value_of("mihwar_process_cpu_seconds_total{kind=\"beat\"}") > 0, 30000);
    ck_assert(value_of("mihwar_process_resident_bytes{kind=\"beat\"}") > 1e6);
}
END_TEST

START_TEST(breakers_are_shown)
{
    _cleanup_(freep) char *sample =
        xasprintf("mihwar_provider_breaker{tenant=\"%s\",provider=\"znet-a\"}", h.tenant);

    ck_assert(value_of(sample) == 0);
    ck_assert_int_eq(house_cli(&h, NULL, "provider", "breaker", "znet-a", "open", NULL), 0);
    ck_wait(value_of(sample) == 1, 10000);
    ck_assert_int_eq(house_cli(&h, NULL, "provider", "breaker", "znet-a", "close", NULL), 0);
    ck_wait(value_of(sample) == 0, 10000);

    /* those of keys, too */
    ck_assert_int_eq(house_cli(&h, NULL, "limit", "set", "watched", "znet:7", "--concurrency", "2",
                               "--breaker", "50", NULL),
                     0);
    ck_wait(value_of("mihwar_limit_breaker{queue=\"watched\",key=\"znet:7\"}") == 0, 10000);
    ck_assert_int_eq(house_cli(&h, NULL, "limit", "breaker", "watched", "znet:7", "open", NULL), 0);
    ck_wait(value_of("mihwar_limit_breaker{queue=\"watched\",key=\"znet:7\"}") == 1, 10000);
    ck_assert(value_of("mihwar_limit_held{queue=\"watched\",key=\"znet:7\"}") == 0);
}
END_TEST

/* Every family is a row of docs/metrics.md, and the other way round. */
START_TEST(the_docs_name_every_family)
{
    char *docs = NULL;
    size_t size = 0;
    FILE *f = fopen(SOURCE_ROOT "/docs/metrics.md", "re");

    ck_assert(f && getdelim(&docs, &size, 0, f) > 0);
    fclose(f);
    scrape();
    for (size_t i = 0; i < page.n; i++) {
        _cleanup_(freep) char *row =
            xasprintf("\n| `%s` | %s |", page.families[i].name, page.families[i].type);
        ck_assert_msg(strstr(docs, row) != NULL, "docs/metrics.md lacks the row:%s", row);
    }
    for (char *at = docs; (at = strstr(at, "\n| `mihwar_"));) {
        char *name = at + 4, *end = strchr(name, '`');
        bool there = strncmp(end, "` | gauge, mTLS", 15) == 0; /* only with that door */
        for (size_t i = 0; i < page.n && !there; i++)
            there = strlen(page.families[i].name) == (size_t)(end - name) &&
                    strncmp(page.families[i].name, name, (size_t)(end - name)) == 0;
        ck_assert_msg(there, "/metrics lacks %.*s", (int)(end - name), name);
        at = end;
    }
    free(docs);
}
END_TEST

START_TEST(a_store_that_is_away_costs_only_its_part)
{
    house_kill(&h, REDIS);
    ck_wait(value_of("mihwar_collector_up{of=\"queues\"}") == 0, 30000);
    ck_assert(value_of("mihwar_hub_requests_in_flight") >= 0);
    house_up(&h, REDIS);
    ck_wait(value_of("mihwar_collector_up{of=\"queues\"}") == 1, 30000);
    free(page.text);
    page.text = NULL;
}
END_TEST

E2E(metrics, house_start, {"what was done is counted", what_was_done_is_counted},
    {"breakers are shown", breakers_are_shown},
    {"the docs name every family", the_docs_name_every_family},
    {"a store that is away costs only its part", a_store_that_is_away_costs_only_its_part})
