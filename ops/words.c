/* words.c - words into a verb, its options and its arguments.
 *
 *     order resolve 0197… --as failed --note=gone --json
 *     '-----------' '---' '---------------------' '----'
 *         row        argument     options          everywhere
 *
 * An option is written "--name value" or "--name=value"; after "--" everything is an argument. */
#include "ops/words.h"
#include "base/clock.h"
#include "base/text.h"
#include <errno.h>
#include <stdio.h>
#include <string.h>

const struct verb *verb_find(int argc, char *const *argv, int *ret_used)
{
    char name[96];

    for (int words = MIN(argc, VERB_WORDS); words >= 1; words--) {
        words_join(words, argv, name, sizeof name);
        for (size_t i = 0; i < verb_count; i++) {
            if (strcmp(verbs[i].name, name) == 0) {
                *ret_used = words;
                return &verbs[i];
            }
        }
    }
    return NULL;
}

void words_join(int n, char *const *argv, char *out, size_t size)
{
    size_t len = 0;

    out[0] = 0;
    for (int i = 0; i < n && len < size; i++)
        len += (size_t)snprintf(out + len, size - len, "%s%s", i ? " " : "", argv[i]);
}

/* "as= note= yes": does the row know this option, and does it take a value? */
static bool known_option(const char *options, const char *name, size_t n, bool *takes_value)
{
    for (const char *p = options; *p;) {
        size_t len = strcspn(p, " ");
        *takes_value = len > 0 && p[len - 1] == '=';
        if (len - *takes_value == n && strncmp(p, name, n) == 0)
            return true;
        p += len;
        p += *p == ' ';
    }
    return false;
}

static rc take_option(struct cx *cx, struct ops *o, int argc, char *const *argv, int *i)
{
    const char *word = argv[*i] + 2, *eq = strchr(word, '=');
    int n = (int)(eq ? (size_t)(eq - word) : strlen(word));
    const char *value = eq ? eq + 1 : NULL;
    bool takes_value, config = n == 6 && strncmp(word, "config", 6) == 0;

    if (config)
        takes_value = true;
    else if (!known_option(o->verb->options, word, (size_t)n, &takes_value))
        return fail(cx, USAGE, "'mihwar %s' does not take --%.*s; try 'mihwar help %s'",
                    o->verb->name, n, word, o->verb->name);
    if (!takes_value && value)
        return fail(cx, USAGE, "--%.*s takes no value", n, word);
    if (takes_value && !value) {
        if (*i + 1 >= argc)
            return fail(cx, USAGE, "--%.*s needs a value", n, word);
        value = argv[++*i];
    }
    if (config) {
        o->config = value;
        return OK;
    }
    const char *name = arena_strndup(&cx->arena, word, (size_t)n);
    if (opt(o, name))
        return fail(cx, USAGE, "--%s is given twice", name);
    if (o->noptions == ARGS_MAX)
        return fail(cx, USAGE, "too many options");
    o->options[o->noptions++] = (struct option_value){name, value ? value : ""};
    return OK;
}

rc words_read(struct cx *cx, struct ops *o, int argc, char *const *argv)
{
    bool plain = false;

    for (int i = 0; i < argc; i++) {
        if (!utf8_valid(argv[i], strlen(argv[i])))
            return fail(cx, USAGE, "word %d after '%s' is not valid UTF-8", i + 1, o->verb->name);
    }
    for (int i = 0; i < argc; i++) {
        if (!plain && strcmp(argv[i], "--") == 0) {
            plain = true;
        } else if (!plain && strcmp(argv[i], "--json") == 0) {
            o->json = true;
        } else if (!plain && starts_with(argv[i], "--")) {
            try(take_option(cx, o, argc, argv, &i));
        } else if (o->argc == ARGS_MAX) {
            return fail(cx, USAGE, "at most %d arguments at once", ARGS_MAX);
        } else {
            o->argv[o->argc++] = argv[i];
        }
    }
    if (o->argc < o->verb->min_args || o->argc > o->verb->max_args)
        return fail(cx, USAGE, "usage: mihwar %s%s%s; try 'mihwar help %s'", o->verb->name,
                    *o->verb->args ? " " : "", o->verb->args, o->verb->name);
    return OK;
}

/* ------------------------------------------------------------------ what a verb asks for */

const char *opt(const struct ops *o, const char *name)
{
    for (int i = 0; i < o->noptions; i++) {
        if (strcmp(o->options[i].name, name) == 0)
            return o->options[i].value;
    }
    return NULL;
}

rc opt_needed(struct cx *cx, const struct ops *o, const char *name, const char **ret)
{
    *ret = opt(o, name);
    if (!*ret || !**ret)
        return fail(cx, USAGE, "'mihwar %s' needs --%s VALUE; try 'mihwar help %s'", o->verb->name,
                    name, o->verb->name);
    return OK;
}

rc opt_int(struct cx *cx, const struct ops *o, const char *name, int64_t min, int64_t max,
           int64_t def, int64_t *ret)
{
    const char *s = opt(o, name);

    *ret = def;
    if (s && !parse_int(s, min, max, ret))
        return fail(cx, USAGE, "--%s must be a whole number from %lld to %lld", name,
                    (long long)min, (long long)max);
    return OK;
}

rc opt_time(struct cx *cx, const struct ops *o, const char *name, int64_t *ret_ms)
{
    const char *s = opt(o, name);

    *ret_ms = 0;
    if (s && !clock_parse(s, ret_ms))
        return fail(cx, USAGE, "--%s must be a time such as 2026-01-05T10:11:12Z", name);
    return OK;
}

rc opt_duration(struct cx *cx, const struct ops *o, const char *name, int64_t def, int64_t *ret_ms)
{
    const char *s = opt(o, name);

    *ret_ms = def;
    if (s && (!parse_duration_ms(s, ret_ms) || *ret_ms == 0))
        return fail(cx, USAGE, "--%s must be a duration such as 30s, 5m, 2h or 7d", name);
    return OK;
}

rc text_of_file(struct cx *cx, const char *what, const char *path, size_t max, const char **ret)
{
    _cleanup_(buf_release) struct buf b = BUF(max);
    FILE *f = strcmp(path, "-") == 0 ? stdin : fopen(path, "re");
    char chunk[4096];
    size_t n;

    if (!f)
        return fail(cx, USAGE, "%s: %s cannot be read: %s", what, path, strerror(errno));
    while ((n = fread(chunk, 1, sizeof chunk, f)) > 0)
        buf_append(&b, chunk, n);
    explicit_bzero(chunk, sizeof chunk);
    int error = ferror(f) ? errno : 0;
    if (f != stdin)
        fclose(f);
    if (error)
        return fail(cx, USAGE, "%s: %s cannot be read: %s", what, path, strerror(error));
    if (!buf_ok(&b))
        return fail(cx, USAGE, "%s: %s is larger than %zu KiB", what, path, max / 1024);
    if (memchr(buf_str(&b), 0, b.len) || !utf8_valid(buf_str(&b), b.len))
        return fail(cx, USAGE, "%s: %s is not UTF-8 text", what, path);
    *ret = arena_strdup(&cx->arena, str_trim(b.p ? b.p : (char[]){0}));
    if (b.p)
        explicit_bzero(b.p, b.len);
    return OK;
}

rc opt_text(struct cx *cx, const struct ops *o, const char *name, const char **ret)
{
    const char *value = opt(o, name);

    *ret = value;
    if (!value || value[0] != '@')
        return OK;
    return text_of_file(cx, arena_printf(&cx->arena, "--%s", name), value + 1, KiB(256), ret);
}
