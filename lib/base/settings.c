/* settings.c - reading settings from a file and the environment.
 *
 * The file's form is that of an ini file. libinih is not used: Debian builds it for lines of 200
 * bytes, and seal_keys or a connection string with several hosts is longer. */
#include "base/settings.h"
#include "base/log.h"
#include "base/text.h"
#include <ctype.h>
#include <errno.h>
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
    static const char *const yes[] = {"true", "yes", "on", "1"}, *const no[] = {"false", "no",
                                                                                "off", "0"};
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

/* One line, changed in place. Empty lines, comments (# or ; at the beginning) and [sections] only
 * serve the eye. */
static rc read_line(struct cx *cx, struct settings *s, char *line, const char *source)
{
    char *name = str_trim(line), *equals = strchr(name, '=');

    if (*name == 0 || *name == '#' || *name == ';' || *name == '[')
        return OK;
    if (!equals)
        return fail(cx, CONFIG, "%s: not 'name = value'", source);
    *equals = 0;
    name = str_trim(name);
    return settings_set(cx, s, name, str_trim(equals + 1), source);
}

static void fclosep(FILE **f)
{
    if (*f)
        fclose(*f);
}

static rc read_file(struct cx *cx, struct settings *s, const char *file)
{
    _cleanup_(fclosep) FILE *f = fopen(file, "re");
    _cleanup_(freep) char *line = NULL;
    char source[160];
    size_t size = 0;

    if (!f)
        return fail(cx, CONFIG, "%s cannot be read: %s", file, strerror(errno));
    for (int n = 1; getline(&line, &size, f) >= 0; n++) {
        snprintf(source, sizeof source, "%s:%d", file, n);
        try(read_line(cx, s, line, source));
    }
    if (ferror(f))
        return fail(cx, CONFIG, "%s cannot be read: %s", file, strerror(errno));
    return OK;
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
    if (file)
        try(read_file(cx, s, file));
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

static size_t value_size(const struct setting_row *r)
{
    return r->type == SETTING_STR    ? sizeof(char *)
           : r->type == SETTING_BOOL ? sizeof(bool)
                                     : sizeof(int64_t);
}

static bool value_same(struct settings *a, struct settings *b, const struct setting_row *r)
{
    if (r->type == SETTING_STR)
        return strcmp(*(char **)slot(a, r), *(char **)slot(b, r)) == 0;
    return memcmp(slot(a, r), slot(b, r), value_size(r)) == 0;
}

static void value_swap(struct settings *a, struct settings *b, const struct setting_row *r)
{
    char kept[sizeof(int64_t)];

    memcpy(kept, slot(a, r), value_size(r));
    memcpy(slot(a, r), slot(b, r), value_size(r));
    memcpy(slot(b, r), kept, value_size(r));
}

int settings_adopt(struct settings *live, struct settings *fresh,
                   bool (*may_change)(const char *name))
{
    int n = 0;

    for (size_t i = 0; i < setting_count; i++) {
        const struct setting_row *r = &setting_rows[i];
        if (value_same(live, fresh, r))
            continue;
        if (may_change(r->name)) { /* the name only: values may be secrets */
            value_swap(live, fresh, r);
            log_ev(LOG_INFO, "settings.changed", kv_str("name", r->name));
            n++;
        } else {
            log_ev(LOG_WARN, "settings.need_restart", kv_str("name", r->name));
        }
    }
    return n;
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
