/* settings.c - reading settings from a file (libinih) and the environment. */
#include "base/settings.h"
#include "base/log.h"
#include "base/text.h"
#include <ctype.h>
#include <ini.h>
#include <stdlib.h>
#include <string.h>

const struct setting_row setting_rows[] = {
#define SETTING(name, type, def, min, max, help)                                                   \
    {#name, SETTING_##type, offsetof(struct settings, name), def, min, max, help},
#include "base/settings.def"
#undef SETTING
};
const size_t setting_count = COUNT(setting_rows);

static const struct setting_row *find_row(const char *name)
{
    for (size_t i = 0; i < setting_count; i++) {
        if (strcmp(setting_rows[i].name, name) == 0)
            return &setting_rows[i];
    }
    return NULL;
}

static void *slot(struct settings *s, const struct setting_row *r)
{
    return (char *)s + r->offset;
}

static bool parse_bool(const char *v, bool *ret)
{
    static const char *const yes[] = {"true", "yes", "on", "1"}, *const no[] = {"false", "no", "off",
                                                                               "0"};
    for (size_t i = 0; i < COUNT(yes); i++) {
        if (strcasecmp(v, yes[i]) == 0 || strcasecmp(v, no[i]) == 0) {
            *ret = strcasecmp(v, yes[i]) == 0;
            return true;
        }
    }
    return false;
}

rc settings_set(struct cx *cx, struct settings *s, const char *name, const char *value,
                const char *source)
{
    const struct setting_row *r = find_row(name);
    int64_t n = 0;
    bool b;

    if (!r)
        return fail(cx, CONFIG, "%s: there is no setting '%s'", source, name);
    switch (r->type) {
    case SETTING_STR:
        if ((int64_t)strlen(value) > r->max)
            return fail(cx, CONFIG, "%s: '%s' is longer than %lld bytes", source, name,
                        (long long)r->max);
        freep(slot(s, r));
        *(char **)slot(s, r) = xstrdup(value);
        return OK;
    case SETTING_BOOL:
        if (!parse_bool(value, &b))
            return fail(cx, CONFIG, "%s: '%s' must be true or false", source, name);
        *(bool *)slot(s, r) = b;
        return OK;
    case SETTING_MS:
        if (!parse_duration_ms(value, &n) || n < r->min || n > r->max)
            return fail(cx, CONFIG,
                        "%s: '%s' must be a duration such as 250ms, 30s, 5m, 2h or 1d between "
                        "%lldms and %lldms",
                        source, name, (long long)r->min, (long long)r->max);
        break;
    case SETTING_INT:
    case SETTING_BYTES:
        if (!parse_int(value, r->min, r->max, &n))
            return fail(cx, CONFIG, "%s: '%s' must be a whole number between %lld and %lld", source,
                        name, (long long)r->min, (long long)r->max);
        break;
    }
    *(int64_t *)slot(s, r) = n;
    return OK;
}

struct reading {
    struct cx *cx;
    struct settings *s;
    const char *file;
    rc result;
};

static int on_pair(void *arg, const char *section, const char *name, const char *value)
{
    struct reading *rd = arg;

    (void)section; /* sections only group lines for the reader's eye */
    if (rd->result == OK)
        rd->result = settings_set(rd->cx, rd->s, name, value, rd->file);
    return rd->result == OK;
}

static rc read_environment(struct cx *cx, struct settings *s)
{
    char env[128];

    for (size_t i = 0; i < setting_count; i++) {
        snprintf(env, sizeof env, "MIHWAR_%s", setting_rows[i].name);
        for (char *p = env; *p; p++)
            *p = (char)toupper((unsigned char)*p);
        const char *v = getenv(env);
        if (v)
            try(settings_set(cx, s, setting_rows[i].name, v, env));
    }
    return OK;
}

rc settings_load(struct cx *cx, struct settings *s, const char *file)
{
    *s = (struct settings){0};
    for (size_t i = 0; i < setting_count; i++)
        try(settings_set(cx, s, setting_rows[i].name, setting_rows[i].def, "default"));
    if (file) {
        struct reading rd = {cx, s, file, OK};
        int line = ini_parse(file, on_pair, &rd);
        try(rd.result);
        if (line < 0)
            return fail(cx, CONFIG, "%s cannot be read", file);
        if (line > 0)
            return fail(cx, CONFIG, "%s: line %d is not 'name = value'", file, line);
    }
    return read_environment(cx, s);
}

rc settings_apply_log(struct cx *cx, const struct settings *s, const char *prog)
{
    enum log_level level;

    if (!log_level_from(s->log_level, &level))
        return fail(cx, CONFIG, "log_level must be debug, info, warn or error");
    if (strcmp(s->log_format, "json") != 0 && strcmp(s->log_format, "logfmt") != 0)
        return fail(cx, CONFIG, "log_format must be logfmt or json");
    log_setup(NULL, level, s->log_format[0] == 'j' ? LOG_JSON : LOG_LOGFMT);
    log_set_prog(prog);
    return OK;
}

void settings_release(struct settings *s)
{
    for (size_t i = 0; i < setting_count; i++) {
        if (setting_rows[i].type == SETTING_STR)
            freep(slot(s, &setting_rows[i]));
    }
    *s = (struct settings){0};
}

void settings_print_help(FILE *out)
{
    for (size_t i = 0; i < setting_count; i++)
        fprintf(out, "  %-22s %s (default: %s)\n", setting_rows[i].name, setting_rows[i].help,
                *setting_rows[i].def ? setting_rows[i].def : "none");
}
