/* cli.c - see cli.h. */
#include "tests/e2e/cli.h"
#include "base/json.h"
#include "base/text.h"
#include "ops/words.h"
#include <regex.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define RUN_MS 30000

enum { PEOPLE = 1, PROGRAMS = 2 };
static int done[128]; /* of verbs[]: in which shapes */
static char *secrets[16];

void cli_release(struct cli *c)
{
    free(c->out);
    free(c->err);
    cJSON_Delete(c->json);
    *c = (struct cli){0};
}

void cli_secret(const char *text)
{
    for (size_t i = 0; i < COUNT(secrets); i++) {
        if (!secrets[i]) {
            secrets[i] = xstrdup(text);
            return;
        }
    }
    support_die("too many secrets");
}

/* ---------------------------------------------------------------- masks */

static const struct {
    const char *pattern, *keep; /* characters that stay; the rest becomes 0 */
} masks[] = {
    {"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}", "-"},
    {"20[0-9]{2}-[0-9]{2}-[0-9]{2}T[0-9:]{8}[.][0-9]{3}Z", "-T:.Z"},
    {"mwk_[a-z0-9]{12}_[A-Za-z0-9_-]{20,}", "mwk_"},
    {":[0-9]{5} ", ": "},     /* a port */
    {"^[a-z0-9]{12}  ", " "}, /* a key's prefix */
    {"[0-9]{18}", ""},
    {"[0-9a-f]{64}", ""},
    {"[0-9a-f]{32}", ""}, /* a certificate's serial */
};

static void mask(char *text)
{
    for (size_t i = 0; i < COUNT(masks); i++) {
        regmatch_t m;
        regex_t re;
        char *at = text;
        ck_assert_int_eq(regcomp(&re, masks[i].pattern, REG_EXTENDED | REG_NEWLINE), 0);
        while (regexec(&re, at, 1, &m, at > text && at[-1] != '\n' ? REG_NOTBOL : 0) == 0) {
            for (char *p = at + m.rm_so; p < at + m.rm_eo; p++) {
                if (!strchr(masks[i].keep, *p))
                    *p = '0';
            }
            at += m.rm_eo;
        }
        regfree(&re);
    }
}

static char *read_file(const char *path)
{
    FILE *f = fopen(path, "re");
    char *text = NULL;
    size_t size = 0;

    if (f && getdelim(&text, &size, 0, f) < 0) {
        free(text);
        text = NULL;
    }
    if (f)
        fclose(f);
    return text;
}

static void compare(const char *name, const char *out)
{
    _cleanup_(freep) char *path = xasprintf("%s/tests/e2e/ops/%s.expect", SOURCE_ROOT, name);
    _cleanup_(freep) char *got = xstrdup(out);

    mask(got);
    if (getenv("MIHWAR_EXPECT_WRITE")) {
        FILE *f = fopen(path, "we");
        ck_assert_msg(f && fputs(got, f) >= 0 && fclose(f) == 0, "%s cannot be written", path);
        return;
    }
    _cleanup_(freep) char *want = read_file(path);
    ck_assert_msg(want && strcmp(want, got) == 0, "%s.expect says\n%s\nand it is\n%s", name,
                  want ? want : "(nothing)", got);
}

/* ---------------------------------------------------------------- the rules */

static bool has(const char *const *words, const char *word)
{
    for (; *words; words++) {
        if (strcmp(*words, word) == 0)
            return true;
    }
    return false;
}

static void check_secrets(const struct cli_run *r, const struct cli *c)
{
    for (size_t i = 0; !r->reveals && i < COUNT(secrets) && secrets[i]; i++)
        ck_assert_msg(!strstr(c->out, secrets[i]) && !strstr(c->err, secrets[i]),
                      "%s %s shows a secret:\n%s%s", r->words[0], r->words[1], c->out, c->err);
}

static void check_refused(const struct cli_run *r, const struct cli *c)
{
    size_t n = strlen(c->err);
    const char *line = c->err;

    for (const char *nl; (nl = strchr(line, '\n')) && nl[1]; line = nl + 1)
        ; /* warnings may come before it */
    ck_assert_msg(c->status == 1 || c->status == 2, "status %d: %s", c->status, c->err);
    ck_assert_msg(r->answers || *c->out == 0, "%s %s says on stdout: %s", r->words[0], r->words[1],
                  c->out);
    ck_assert_msg(n > 10 && c->err[n - 1] == '\n' && starts_with(line, "mihwar"), "stderr: %s",
                  c->err);
    ck_assert_msg(!strstr(c->err, "(null)"), "stderr: %s", c->err);
}

static void check_json(struct cli *c, const struct verb *v)
{
    bool lines = strcmp(v->name, "dlq export") == 0 || strcmp(v->name, "job tail") == 0;
    size_t n = strlen(c->out);

    ck_assert_msg((lines && n == 0) || (n > 1 && c->out[n - 1] == '\n'), "'%s'", c->out);
    if (lines) {
        for (char *copy = xstrdup(c->out), *save = NULL, *l = strtok_r(copy, "\n", &save);;
             l = strtok_r(NULL, "\n", &save)) {
            if (!l) {
                free(copy);
                break;
            }
            cJSON *one = cJSON_Parse(l);
            ck_assert_msg(cJSON_IsObject(one), "%s", l);
            cJSON_Delete(c->json);
            c->json = one;
        }
        return;
    }
    c->json = cJSON_ParseWithOpts(c->out, NULL, /* require_null_terminated= */ true);
    ck_assert_msg(c->json != NULL, "%s is no JSON: %s", v->name, c->out);
}

static int64_t audited(struct house *h)
{
    const char *n = pg_try(h->stores.database_url, NULL,
                           "SELECT count(*) FROM audit_log WHERE actor = 'cli:tester'");

    return n ? atoll(n) : -1;
}

static struct cli start(const struct cli_run *r)
{
    const char *argv[40] = {built("ops/mihwar")}, *env[60] = {"SUDO_USER=tester"};
    struct cli c = {0};
    size_t n = 1, e = 1;

    for (size_t i = 0; r->words[i]; i++)
        argv[n++] = r->words[i];
    for (size_t i = 0; r->h->env[i]; i++)
        env[e++] = r->h->env[i];
    for (size_t i = 0; r->env && r->env[i]; i++)
        env[e++] = r->env[i];
    const struct proc_opts o = {.name = "mihwar", .argv = argv, .env = env};
    c.status = proc_run(&o, r->in, RUN_MS, &c.out, &c.err);
    return c;
}

struct cli cli_do(const struct cli_run *r)
{
    const int64_t before = audited(r->h);
    struct cli c = start(r);
    int argc = 0, used;

    while (r->words[argc])
        argc++;
    const struct verb *v = verb_find(argc, (char *const *)r->words, &used);
    ck_assert_msg(v != NULL, "%s is no verb", r->words[0]);
    check_secrets(r, &c);
    if (c.status != 0) {
        check_refused(r, &c);
        return c;
    }
    bool json = has(r->words, "--json");
    done[v - verbs] |= json ? PROGRAMS : PEOPLE;
    if (json)
        check_json(&c, v);
    if (r->expect)
        compare(r->expect, c.out);
    if (before >= 0 && !r->env) {
        bool changed = audited(r->h) > before;
        ck_assert_msg(changed == ((v->needs & CHANGES) && !r->unchanged), "%s: %s in the audit log",
                      v->name, changed ? "a line" : "no line");
    }
    return c;
}

const char *cli_missing(void)
{
    static char text[2048];

    text[0] = 0;
    for (size_t i = 0; i < verb_count; i++) {
        if (done[i] != (PEOPLE | PROGRAMS))
            snprintf(text + strlen(text), sizeof text - strlen(text), "%s (%s); ", verbs[i].name,
                     done[i] == PEOPLE     ? "not with --json"
                     : done[i] == PROGRAMS ? "not for people"
                                           : "not at all");
    }
    return text;
}

/* ---------------------------------------------------------------- fields */

static bool is_of(const cJSON *v, char type)
{
    switch (type) {
    case 's':
        return cJSON_IsString(v);
    case 'n':
        return cJSON_IsNumber(v);
    case 'b':
        return cJSON_IsBool(v);
    case 'o':
        return cJSON_IsObject(v);
    default:
        return cJSON_IsArray(v);
    }
}

static void object_fields(const cJSON *o, const char *what)
{
    _cleanup_(freep) char *copy = xstrdup(what);
    int n = 0;

    for (char *save = NULL, *w = strtok_r(copy, " ", &save); w; w = strtok_r(NULL, " ", &save)) {
        char *type = strchr(w, ':');
        *type++ = 0;
        const cJSON *v = cJSON_GetObjectItemCaseSensitive(o, w);
        ck_assert_msg(v != NULL, "there is no field %s in %s", w, cJSON_PrintUnformatted(o));
        ck_assert_msg(is_of(v, type[0]) || (type[1] == '?' && cJSON_IsNull(v)),
                      "%s is not of type %s in %s", w, type, cJSON_PrintUnformatted(o));
        n++;
    }
    ck_assert_msg(n == cJSON_GetArraySize(o), "other fields in %s", cJSON_PrintUnformatted(o));
}

void cli_fields(const cJSON *json, const char *what)
{
    const cJSON *e;

    if (!cJSON_IsArray(json)) {
        object_fields(json, what);
        return;
    }
    ck_assert_int_gt(cJSON_GetArraySize(json), 0);
    cJSON_ArrayForEach(e, json) object_fields(e, what);
}

const char *cli_text(const struct cli *c, const char *path)
{
    const cJSON *v = json_path(c->json, path);

    ck_assert_msg(cJSON_IsString(v), "no text at %s in %s%s", path, c->out, c->err);
    return v->valuestring;
}
