/* config.h - the agent's INI file: who it is, where its hubs are, and what they may ask of it.
 *
 *      [agent]            url, agent_id, token_file, …        the table in config.c
 *      [metadata]         any name = text                     what requests can be matched with
 *      [command reboot]   program, argument, time_limit, …    one section for each command that is allowed
 *
 * Command get_status is built in. mihwar-agent.ini.sample shows each name. */
#pragma once
#include "base/cx.h"

#define CONFIG_URLS_MAX 8

struct config_command {
    char *name;
    char *program; /* absolute path */
    char **argv;   /* program, arguments, NULL */
    size_t argc;
    char *
        args; /* "no": the payload must be empty; "stdin": the payload is the program's input, as JSON */
    int64_t time_limit_ms, kill_after_ms;
    int64_t output_max;
};

struct config {
    char *urls[CONFIG_URLS_MAX]; /* tried in turn */
    size_t url_count;
    char *agent_id, *type, *version;
    char *token_file, *ca, *cert, *key; /* NULL: none */
    char *state_dir;
    char *log_level, *log_format;
    int64_t concurrency;
    int64_t reconnect_min_ms, reconnect_max_ms, superseded_wait_ms, stop_grace_ms;
    char *metadata; /* a JSON object, with type in it */
    struct config_command *commands;
    size_t command_count;
};

/* CONFIG: "FILE:12: what is wrong". The rest of the world (token, certificates, programs) is not looked at. */
rc config_load(struct cx *cx, const char *file, struct config *ret);
void config_release(struct config *c); /* for _cleanup_ */
/* Can it be worked with: the token can be read, the programs can be run? CONFIG. */
rc config_check(struct cx *cx, const struct config *c);
/* The token in token_file: its first line. out holds n bytes. CONFIG. Read at each connection: a new token needs no restart. */
rc config_token(struct cx *cx, const struct config *c, char *out, size_t n);
const struct config_command *config_command(const struct config *c, const char *name);
