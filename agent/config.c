/* config.c - see config.h. libinih reads the lines; the tables here say what they mean. */
#include "agent/config.h"
#include "agent/hub_url.h"
#include "base/buf.h"
#include "base/json.h"
#include "base/log.h"
#include "base/program.h"
#include "base/text.h"
#include <ctype.h>
#include <errno.h>
#include <ini.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define LINE_MAX_    KiB(8)
#define NAME_MAX_    40      /* of a command: libinih keeps 50 bytes of a section's name */
#define METADATA_MAX KiB(16) /* a hub takes no more */
#define TOKEN_MAX    256
#define VALUE_MAX    4096
#define COMMANDS_MAX 256

enum type { TEXT, PATH, NUMBER, DURATION, BYTES };

struct row {
    const char *name;
    enum type type;
    size_t offset;
    const char *def; /* NULL: none */
    int64_t min, max;
};

static const struct row agent_rows[] = {
    {"agent_id", TEXT, offsetof(struct config, agent_id), NULL, 1, 255},
    {"ca", PATH, offsetof(struct config, ca), NULL, 1, VALUE_MAX},
    {"cert", PATH, offsetof(struct config, cert), NULL, 1, VALUE_MAX},
    {"concurrency", NUMBER, offsetof(struct config, concurrency), "4", 1, 1000},
    {"key", PATH, offsetof(struct config, key), NULL, 1, VALUE_MAX},
    {"log_format", TEXT, offsetof(struct config, log_format), "logfmt", 1, 16},
    {"log_level", TEXT, offsetof(struct config, log_level), "info", 1, 16},
    {"reconnect_max", DURATION, offsetof(struct config, reconnect_max_ms), "1m", 100, 86400000},
    {"reconnect_min", DURATION, offsetof(struct config, reconnect_min_ms), "1s", 10, 3600000},
    {"state_dir", PATH, offsetof(struct config, state_dir), "/var/lib/mihwar-agent", 1, VALUE_MAX},
    {"stop_grace", DURATION, offsetof(struct config, stop_grace_ms), "10s", 0, 600000},
    {"superseded_wait", DURATION, offsetof(struct config, superseded_wait_ms), "5m", 100, 86400000},
    {"token_file", PATH, offsetof(struct config, token_file), NULL, 1, VALUE_MAX},
    {"type", TEXT, offsetof(struct config, type), NULL, 1, 64},
    {"version", TEXT, offsetof(struct config, version), NULL, 1, 64},
};

static const struct row command_rows[] = {
    {"args", TEXT, offsetof(struct config_command, args), "no", 1, 8},
    {"kill_after", DURATION, offsetof(struct config_command, kill_after_ms), "5s", 0, 600000},
    {"output_max", BYTES, offsetof(struct config_command, output_max), "65536", 0, 262144},
    {"program", PATH, offsetof(struct config_command, program), NULL, 1, VALUE_MAX},
    {"time_limit", DURATION, offsetof(struct config_command, time_limit_ms), "30s", 10, 86400000},
};

/* ---------------------------------------------------------------- one value */

static rc set(struct cx *cx, void *object, const struct row *r, const char *value)
{
    void *slot = (char *)object + r->offset;
    int64_t n = (int64_t)strlen(value);

    switch (r->type) {
    case PATH:
        if (*value != '/')
            return fail(cx, CONFIG, "'%s' must be an absolute path", r->name);
        /* fall through */
    case TEXT:
        if (n < r->min || n > r->max || !utf8_valid(value, (size_t)n))
            return fail(cx, CONFIG, "'%s' must have %lld to %lld bytes of UTF-8", r->name,
                        (long long)r->min, (long long)r->max);
        freep(slot);
        *(char **)slot = xstrdup(value);
        return OK;
    case DURATION:
        if (!parse_duration_ms(value, &n) || n < r->min || n > r->max)
            return fail(
                cx, CONFIG,
                "'%s' must be a duration such as 250ms, 30s or 5m between %lldms and %lldms",
                r->name, (long long)r->min, (long long)r->max);
        break;
    case NUMBER:
    case BYTES:
        if (!parse_int(value, r->min, r->max, &n))
            return fail(cx, CONFIG, "'%s' must be a whole number between %lld and %lld", r->name,
                        (long long)r->min, (long long)r->max);
        break;
    }
    *(int64_t *)slot = n;
    return OK;
}

static rc set_by_name(struct cx *cx, void *object, const struct row *rows, size_t n,
                      const char *name, const char *value)
{
    for (size_t i = 0; i < n; i++) {
        if (strcmp(rows[i].name, name) == 0)
            return set(cx, object, &rows[i], value);
    }
    return fail(cx, CONFIG, "there is no '%s' in this section", name);
}

static rc set_defaults(struct cx *cx, void *object, const struct row *rows, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        if (rows[i].def)
            try(set(cx, object, &rows[i], rows[i].def));
    }
    return OK;
}

static void unset(void *object, const struct row *rows, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        if (rows[i].type == TEXT || rows[i].type == PATH)
            freep((char *)object + rows[i].offset);
    }
}

/* ---------------------------------------------------------------- sections */

struct reading {
    struct cx *cx;
    struct config *config;
    cJSON *metadata;
};

static rc add_url(struct cx *cx, struct config *c, const char *value)
{
    struct hub_url u;

    if (c->url_count == CONFIG_URLS_MAX)
        return fail(cx, CONFIG, "more than %d hubs", CONFIG_URLS_MAX);
    try(hub_url_parse(cx, value, &u));
    c->urls[c->url_count++] = xstrdup(value);
    return OK;
}

static rc add_argument(struct cx *cx, struct config_command *command, const char *value)
{
    if (command->argc == 64)
        return fail(cx, CONFIG, "more than 64 arguments");
    command->argv = xrealloc(command->argv, (command->argc + 3) * sizeof *command->argv);
    command->argv[++command->argc] = xstrdup(value);
    return OK;
}

static bool name_ok(const char *s, size_t max, const char *punctuation)
{
    size_t n = strlen(s);

    for (const char *p = s; *p; p++) {
        if (!isascii((unsigned char)*p) ||
            (!isalnum((unsigned char)*p) && !strchr(punctuation, *p)))
            return false;
    }
    return n > 0 && n <= max;
}

static rc command_of(struct cx *cx, struct config *c, const char *name, struct config_command **ret)
{
    for (size_t i = 0; i < c->command_count; i++) {
        *ret = &c->commands[i];
        if (strcmp((*ret)->name, name) == 0)
            return OK;
    }
    if (!name_ok(name, NAME_MAX_, "_.:-"))
        return fail(cx, CONFIG,
                    "the name of a command has 1 to %d letters, digits, '_', '.', ':' or '-'",
                    NAME_MAX_);
    if (strcmp(name, "get_status") == 0)
        return fail(cx, CONFIG, "get_status is built in");
    if (c->command_count == COMMANDS_MAX)
        return fail(cx, CONFIG, "more than %d commands", COMMANDS_MAX);
    c->commands = xrealloc(c->commands, (c->command_count + 1) * sizeof *c->commands);
    *ret = &c->commands[c->command_count++];
    **ret = (struct config_command){.name = xstrdup(name), .argv = xcalloc(2, sizeof(char *))};
    return set_defaults(cx, *ret, command_rows, COUNT(command_rows));
}

static rc take(struct cx *cx, struct reading *g, const char *section, const char *name,
               const char *value)
{
    struct config *c = g->config;
    struct config_command *command = NULL;

    if (strcmp(section, "agent") == 0)
        return strcmp(name, "url") == 0
                   ? add_url(cx, c, value)
                   : set_by_name(cx, c, agent_rows, COUNT(agent_rows), name, value);
    if (strcmp(section, "metadata") == 0) {
        if (!utf8_valid(value, strlen(value)) || cJSON_HasObjectItem(g->metadata, name))
            return fail(cx, CONFIG, "metadata '%s' stands there twice, or is not UTF-8", name);
        cJSON_AddStringToObject(g->metadata, name, value);
        return OK;
    }
    if (!starts_with(section, "command "))
        return fail(cx, CONFIG,
                    "there is no section [%s]: [agent], [metadata] and [command NAME] are known",
                    section);
    try(command_of(cx, c, section + strlen("command "), &command));
    return strcmp(name, "argument") == 0
               ? add_argument(cx, command, value)
               : set_by_name(cx, command, command_rows, COUNT(command_rows), name, value);
}

static int on_pair(void *arg, const char *section, const char *name, const char *value)
{
    struct reading *g = arg;

    return take(g->cx, g, section, name, value) == OK;
}

/* ---------------------------------------------------------------- the whole */

static rc complete(struct cx *cx, struct config *c, cJSON *metadata)
{
    enum log_level level;
    struct hub_url u;

    if (!c->url_count)
        return fail(cx, CONFIG, "[agent] needs 'url': where the hub is");
    if (!c->agent_id || !name_ok(c->agent_id, 255, "._:-") || !isalnum((unsigned char)*c->agent_id))
        return fail(cx, CONFIG, "[agent] needs 'agent_id': letters, digits, '.', '_', ':' and '-'");
    if (!c->token_file)
        return fail(cx, CONFIG, "[agent] needs 'token_file': the file with the agent's token");
    if (!c->cert != !c->key)
        return fail(cx, CONFIG, "'cert' and 'key' belong together");
    if (!log_level_from(c->log_level, &level))
        return fail(cx, CONFIG, "'log_level' is debug, info, warn or error");
    if (!str_eq(c->log_format, "logfmt") && !str_eq(c->log_format, "json"))
        return fail(cx, CONFIG, "'log_format' is logfmt or json");
    if (c->reconnect_min_ms > c->reconnect_max_ms)
        return fail(cx, CONFIG, "'reconnect_min' is longer than 'reconnect_max'");
    for (size_t i = 0; i < c->url_count; i++) {
        try(hub_url_parse(cx, c->urls[i], &u));
        if (u.tls && !c->ca)
            return fail(cx, CONFIG, "%s needs 'ca': whose certificate the hub must have",
                        c->urls[i]);
    }
    for (size_t i = 0; i < c->command_count; i++) {
        struct config_command *command = &c->commands[i];
        if (!command->program)
            return fail(cx, CONFIG, "[command %s] needs 'program'", command->name);
        if (!str_eq(command->args, "no") && !str_eq(command->args, "stdin"))
            return fail(cx, CONFIG, "[command %s]: 'args' is 'no' or 'stdin'", command->name);
        command->argv[0] = xstrdup(command->program);
        command->argv[command->argc + 1] = NULL;
    }
    if (!c->version)
        c->version = xstrdup(program_version());
    if (c->type)
        cJSON_AddStringToObject(metadata, "type", c->type);
    return OK;
}

static rc read_ini(struct cx *cx, const char *file, struct reading *g)
{
    ini_use_stack = false; /* lines as long as they need to be */
    ini_allow_realloc = true;
    ini_max_line = (int)LINE_MAX_;
    ini_allow_multiline = false;
    ini_allow_inline_comments = false; /* a ';' may stand in an argument */
    ini_stop_on_first_error = true;

    int line = ini_parse(file, on_pair, g);
    if (line < 0)
        return fail(cx, CONFIG, "%s cannot be read: %s", file, strerror(errno));
    if (line == 0)
        return OK;
    char words[sizeof cx->err.text];
    snprintf(words, sizeof words, "%s",
             cx->err.code == E_CONFIG ? cx->err.text : "neither [section] nor 'name = value'");
    return fail(cx, CONFIG, "%s:%d: %s", file, line, words);
}

static void delete_json(cJSON **o)
{
    cJSON_Delete(*o);
}

rc config_load(struct cx *cx, const char *file, struct config *ret)
{
    _cleanup_(delete_json) cJSON *metadata = cJSON_CreateObject();
    _cleanup_(config_release) struct config c = {0};

    cx->err.code = OK;
    try(set_defaults(cx, &c, agent_rows, COUNT(agent_rows)));
    try(read_ini(cx, file, &(struct reading){cx, &c, metadata}));
    try(complete(cx, &c, metadata));
    c.metadata = xstrdup(json_print(cx, metadata));
    if (strlen(c.metadata) > METADATA_MAX)
        return fail(cx, CONFIG, "the metadata is longer than %zu bytes", METADATA_MAX);
    *ret = c;
    c = (struct config){0};
    return OK;
}

void config_release(struct config *c)
{
    for (size_t i = 0; i < c->url_count; i++)
        free(c->urls[i]);
    for (size_t i = 0; i < c->command_count; i++) {
        struct config_command *command = &c->commands[i];
        for (size_t a = 0; a <= command->argc; a++)
            free(command->argv[a]);
        free(command->argv);
        free(command->name);
        unset(command, command_rows, COUNT(command_rows));
    }
    free(c->commands);
    free(c->metadata);
    unset(c, agent_rows, COUNT(agent_rows));
    *c = (struct config){0};
}

rc config_check(struct cx *cx, const struct config *c)
{
    char token[TOKEN_MAX];
    struct stat st;

    try(config_token(cx, c, token, sizeof token));
    explicit_bzero(token, sizeof token);
    if (stat(c->token_file, &st) == 0 && (st.st_mode & (S_IRGRP | S_IROTH)))
        log_ev(LOG_WARN, "token.readable", kv_str("file", c->token_file),
               kv_str("hint", "others can read it: chmod 600"));
    for (size_t i = 0; i < c->command_count; i++) {
        if (access(c->commands[i].program, X_OK) < 0)
            return fail(cx, CONFIG, "[command %s]: %s cannot be run: %s", c->commands[i].name,
                        c->commands[i].program, strerror(errno));
    }
    return OK;
}

static void fclosep(FILE **f)
{
    if (*f)
        fclose(*f);
}

rc config_token(struct cx *cx, const struct config *c, char *out, size_t n)
{
    _cleanup_(fclosep) FILE *f = fopen(c->token_file, "re");

    if (!f || !fgets(out, (int)n, f))
        return fail(cx, CONFIG, "the token in %s cannot be read: %s", c->token_file,
                    f ? "it is empty" : strerror(errno));
    const char *token = str_trim(out);
    memmove(out, token, strlen(token) + 1);
    if (!name_ok(out, n, "_-"))
        return fail(cx, CONFIG, "the first line of %s is not a token", c->token_file);
    return OK;
}

const struct config_command *config_command(const struct config *c, const char *name)
{
    for (size_t i = 0; i < c->command_count; i++) {
        if (strcmp(c->commands[i].name, name) == 0)
            return &c->commands[i];
    }
    return NULL;
}
