/* generic_config.c - one table of fields checks them all. */
#include "worker/providers/generic_config.h"
#include "base/text.h"
#include "worker/providers/transport.h"
#include <stdio.h>
#include <string.h>

/* ---------------------------------------------------------------- templates */

static const char *variable(const char *name, size_t n, const struct template_vars *v)
{
    const struct {
        const char *name, *value;
    } rows[] = {{"product", v->product}, {"kupur", v->kupur}, {"reference", v->reference},
                {"player", v->player},   {"extra", v->extra}, {"phone", v->phone}};

    for (size_t i = 0; i < COUNT(rows); i++) {
        if (strlen(rows[i].name) == n && strncmp(rows[i].name, name, n) == 0)
            return rows[i].value ? rows[i].value : "";
    }
    for (const cJSON *c = v->credentials ? v->credentials->child : NULL; c; c = c->next) {
        if (strlen(c->string) == n && strncmp(c->string, name, n) == 0 && cJSON_IsString(c))
            return c->valuestring;
    }
    return NULL;
}

bool template_expand(const char *text, const struct template_vars *v,
                     bool (*put)(struct buf *out, const char *s), struct buf *out, bool *ret_empty)
{
    bool any = false, full = false;
    char other[64];

    while (*text) {
        if (*text != '{') {
            buf_putc(out, *text++);
            continue;
        }
        size_t n = strcspn(++text, "|}"), m = 0;
        const char *value = variable(text, n, v);
        text += n;
        if (*text == '|') {
            m = strcspn(++text, "}");
            if (str_empty(value) && m < sizeof other) {
                memcpy(other, text, m);
                other[m] = 0;
                value = other;
            }
            text += m;
        }
        text += *text == '}';
        any = true;
        full |= !str_empty(value);
        if (put)
            put(out, value ? value : "");
        else
            buf_puts(out, value ? value : "");
    }
    *ret_empty = any && !full;
    return buf_ok(out);
}

static rc check_template(struct cx *cx, const char *text, const cJSON *credentials)
{
    const struct template_vars none = {.credentials = credentials};

    for (const char *p = text; (p = strchr(p, '{')); p++) {
        size_t n = strcspn(p + 1, "|}");
        if (!strchr(p, '}'))
            return fail(cx, INVALID_FIELD, "a template's { has no }");
        if (!variable(p + 1, n, &none))
            return fail(cx, INVALID_FIELD,
                        "{%.*s} is neither a variable (product, kupur, reference, player, extra, "
                        "phone) nor a credential",
                        (int)utf8_cut(p + 1, MIN(n, (size_t)40)), p + 1);
    }
    return OK;
}

/* ---------------------------------------------------------------- the table of fields */

enum type {
    WORD,      /* one of `words` */
    TEMPLATE,  /* text with variables */
    PATH_PART, /* the same, beginning with a slash */
    TEMPLATES, /* an object of them */
    PATHS,     /* a path, or a list of them */
    ONE_PATH,
    WORDS_MAP, /* an object whose values are of `words` */
    TEXT_MAP,  /* an object of strings */
};
struct field {
    const char *section, *name;
    enum type type;
    bool required;
    const char *words;
};
#define MEANINGS                                                                                   \
    "no_balance unavailable bad_product bad_player other access maintenance rate already_sent "    \
    "unclear"

static const struct field fields[] = {
    {NULL, "preset", WORD, false, "zdk"},
    {NULL, "reference", WORD, true, "uuid digits"},
    {NULL, "words", WORDS_MAP, true, "done pending failed"},
    {"auth", "kind", WORD, true, "none header query bearer"},
    {"auth", "name", TEMPLATE, false, NULL},
    {"auth", "value", TEMPLATE, false, NULL},
    {"auth", "params", TEMPLATES, false, NULL},
    {"place", "method", WORD, false, "GET POST"},
    {"place", "path", PATH_PART, true, NULL},
    {"place", "body", WORD, false, "form json"},
    {"place", "params", TEMPLATES, true, NULL},
    {"place", "format", WORD, false, "json pipe"},
    {"place", "at", ONE_PATH, false, NULL},
    {"place", "status", PATHS, false, NULL},
    {"place", "require", TEXT_MAP, false, NULL},
    {"place", "numeric", PATHS, false, NULL},
    {"check", "method", WORD, false, "GET POST"},
    {"check", "path", PATH_PART, true, NULL},
    {"check", "body", WORD, false, "form json"},
    {"check", "params", TEMPLATES, true, NULL},
    {"check", "format", WORD, false, "json pipe"},
    {"check", "at", ONE_PATH, false, NULL},
    {"check", "status", PATHS, false, NULL},
    {"check", "require", TEXT_MAP, false, NULL},
    {"check", "numeric", PATHS, false, NULL},
    {"fields", "status", PATHS, true, NULL},
    {"fields", "order_id", PATHS, false, NULL},
    {"fields", "cost", PATHS, false, NULL},
    {"fields", "balance", PATHS, false, NULL},
    {"fields", "pin", PATHS, false, NULL},
    {"fields", "note", PATHS, false, NULL},
    {"errors", "code", PATHS, false, NULL},
    {"errors", "message", PATHS, false, NULL},
    {"errors", "codes", WORDS_MAP, false, MEANINGS},
    {"balance", "method", WORD, false, "GET POST"},
    {"balance", "path", PATH_PART, true, NULL},
    {"balance", "body", WORD, false, "form json"},
    {"balance", "params", TEMPLATES, false, NULL},
    {"balance", "format", WORD, false, "json pipe"},
    {"balance", "require", TEXT_MAP, false, NULL},
    {"balance", "balance", PATHS, true, NULL},
    {"balance", "debt", PATHS, false, NULL},
    {"catalogue", "method", WORD, false, "GET POST"},
    {"catalogue", "path", PATH_PART, true, NULL},
    {"catalogue", "body", WORD, false, "form json"},
    {"catalogue", "params", TEMPLATES, false, NULL},
    {"catalogue", "at", PATHS, false, NULL},
    {"catalogue", "id", ONE_PATH, true, NULL},
    {"catalogue", "product", ONE_PATH, true, NULL},
    {"catalogue", "kupur", ONE_PATH, false, NULL},
    {"catalogue", "name", ONE_PATH, true, NULL},
    {"catalogue", "game", ONE_PATH, false, NULL},
    {"catalogue", "price", ONE_PATH, false, NULL},
    {"catalogue", "available", ONE_PATH, false, NULL},
};

static bool is_one_of(const char *words, const char *s)
{
    size_t n = strlen(s);

    if (!n || strchr(s, ' '))
        return false;
    for (const char *w = words; (w = strstr(w, s)); w += n) {
        if ((w == words || w[-1] == ' ') && (w[n] == ' ' || !w[n]))
            return true;
    }
    return false;
}

static rc check_text(struct cx *cx, const cJSON *v)
{
    if (!cJSON_IsString(v))
        return fail(cx, INVALID_FIELD, "must be a string");
    if (strlen(v->valuestring) > 1000)
        return fail(cx, INVALID_FIELD, "has more than 1000 bytes");
    for (const char *p = v->valuestring; *p; p++) {
        if ((unsigned char)*p < 0x20 || *p == 0x7f)
            return fail(cx, INVALID_FIELD, "contains a control character");
    }
    return OK;
}

static rc check_map(struct cx *cx, const struct field *f, const cJSON *v, const cJSON *credentials)
{
    if (!cJSON_IsObject(v))
        return fail(cx, INVALID_FIELD, "must be an object");
    for (const cJSON *c = v->child; c; c = c->next) {
        try(check_text(cx, c));
        if (f->type == TEMPLATES)
            try(check_template(cx, c->valuestring, credentials));
        if (f->type == WORDS_MAP && !is_one_of(f->words, c->valuestring))
            return fail(cx, INVALID_FIELD, "\"%.*s\" must be one of: %s",
                        (int)utf8_cut(c->string, 40), c->string, f->words);
    }
    return OK;
}

static rc check_value(struct cx *cx, const struct field *f, const cJSON *v,
                      const cJSON *credentials)
{
    if (f->type == PATHS && cJSON_IsArray(v)) {
        for (const cJSON *c = v->child; c; c = c->next)
            try(check_text(cx, c));
        return OK;
    }
    if (f->type == TEMPLATES || f->type == WORDS_MAP || f->type == TEXT_MAP)
        return check_map(cx, f, v, credentials);
    try(check_text(cx, v));
    if (f->type == WORD && !is_one_of(f->words, v->valuestring))
        return fail(cx, INVALID_FIELD, "must be one of: %s", f->words);
    if (f->type == PATH_PART && (v->valuestring[0] != '/' || strpbrk(v->valuestring, "?# ")))
        return fail(cx, INVALID_FIELD, "must begin with a slash and have no ?, # or space");
    if (f->type == TEMPLATE || f->type == PATH_PART)
        try(check_template(cx, v->valuestring, credentials));
    return OK;
}

static bool is_section(const char *name)
{
    for (size_t i = 0; i < COUNT(fields); i++) {
        if (fields[i].section && strcmp(fields[i].section, name) == 0)
            return true;
    }
    return false;
}

static const struct field *find_field(const char *section, const char *name)
{
    for (size_t i = 0; i < COUNT(fields); i++) {
        if (str_eq(fields[i].section, section) && strcmp(fields[i].name, name) == 0)
            return &fields[i];
    }
    return NULL;
}

static rc at_fault(struct cx *cx, const char *section, const char *name)
{
    char words[sizeof cx->err.text], pointer[sizeof cx->err.pointer];

    memcpy(words, cx->err.text, sizeof words);
    snprintf(pointer, sizeof pointer, "%s%s/%.*s", section ? "/" : "", section ? section : "",
             (int)utf8_cut(name, 40), name);
    return fail_at(cx, INVALID_FIELD, pointer, "%s", words);
}

static rc check_object(struct cx *cx, const char *section, const cJSON *o, const cJSON *credentials)
{
    static const char *const common[] = {COMMON_SETTINGS};

    for (const cJSON *v = o->child; v; v = v->next) {
        const struct field *f = find_field(section, v->string);
        size_t i = 0;
        if (!section && is_section(v->string)) {
            if (!cJSON_IsObject(v)) {
                (void)fail(cx, INVALID_FIELD, "must be an object");
                return at_fault(cx, NULL, v->string);
            }
            try(check_object(cx, v->string, v, credentials));
            continue;
        }
        if (!f) {
            while (!section && i < COUNT(common) && strcmp(common[i], v->string) != 0)
                i++;
            if (!section && i < COUNT(common))
                continue; /* read by others */
            (void)fail(cx, INVALID_FIELD, "there is no setting of this name");
            return at_fault(cx, section, v->string);
        }
        if (check_value(cx, f, v, credentials) != OK)
            return at_fault(cx, section, v->string);
    }
    return OK;
}

static rc check_required(struct cx *cx, const cJSON *config)
{
    for (size_t i = 0; i < COUNT(fields); i++) {
        const struct field *f = &fields[i];
        const cJSON *o = f->section ? cJSON_GetObjectItemCaseSensitive(config, f->section) : config;
        if (f->required && !cJSON_GetObjectItemCaseSensitive(o, f->name)) {
            (void)fail(cx, INVALID_FIELD, "is required (or name a preset)");
            return at_fault(cx, f->section, f->name);
        }
    }
    const cJSON *auth = cJSON_GetObjectItemCaseSensitive(config, "auth");
    const char *kind = cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(auth, "kind"));
    if (strcmp(kind, "header") == 0 && !cJSON_GetObjectItemCaseSensitive(auth, "name"))
        return fail_at(cx, INVALID_FIELD, "/auth/name", "is required for kind header");
    if (strcmp(kind, "query") == 0 && !cJSON_GetObjectItemCaseSensitive(auth, "params"))
        return fail_at(cx, INVALID_FIELD, "/auth/params", "is required for kind query");
    if ((strcmp(kind, "header") == 0 || strcmp(kind, "bearer") == 0) &&
        !cJSON_GetObjectItemCaseSensitive(auth, "value"))
        return fail_at(cx, INVALID_FIELD, "/auth/value", "is required for kinds header and bearer");
    return OK;
}

/* over's fields laid over base's; objects are merged, null removes. */
static void lay_over(cJSON *base, const cJSON *over)
{
    for (const cJSON *v = over->child; v; v = v->next) {
        cJSON *old = cJSON_GetObjectItemCaseSensitive(base, v->string);
        if (cJSON_IsNull(v))
            cJSON_DeleteItemFromObjectCaseSensitive(base, v->string);
        else if (cJSON_IsObject(old) && cJSON_IsObject(v))
            lay_over(old, v);
        else if (old)
            cJSON_ReplaceItemInObjectCaseSensitive(base, v->string, cJSON_Duplicate(v, true));
        else
            cJSON_AddItemToObject(base, v->string, cJSON_Duplicate(v, true));
    }
}

rc generic_config_read(struct cx *cx, const cJSON *settings, const cJSON *credentials, cJSON **ret)
{
    const char *name, *text = "{}";
    cJSON *config;

    for (const cJSON *c = credentials->child; c; c = c->next) {
        if (!cJSON_IsString(c) || !*c->valuestring)
            return fail(cx, INVALID_FIELD, "the credential \"%.*s\" is not a text",
                        (int)utf8_cut(c->string, 40), c->string);
    }
    try(json_str_opt(cx, settings, "preset", 20, &name));
    if (name)
        text = generic_preset(name);
    if (!text)
        return fail_at(cx, INVALID_FIELD, "/preset",
                       "there is no preset of this name; there is: zdk");
    try(json_parse(cx, text, strlen(text), KiB(64), &config));
    lay_over(config, settings);
    try(check_object(cx, NULL, config, credentials));
    try(check_required(cx, config));
    *ret = config;
    return OK;
}
