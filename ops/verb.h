/* verb.h - a verb of `mihwar` is a row: name, arguments, options, what it needs, its sentence of
 * help. The rows make the help, the completion, the man page and the audit rule; main.c finds the
 * row and opens what it needs.
 *
 *     mihwar order resolve ID --as completed --note "seen at the provider"
 *            '-----------' '' '--------------------------------------'
 *             name        args  options: "as= note="  (no "=": a switch)
 *
 * Answers go to stdout (tables for people, --json for programs), chatter and errors to stderr. */
#pragma once
#include "base/settings.h"
#include "pg/pg.h"
#include "queue/queue.h"

enum verb_needs {
    NEEDS_PG = 1,
    NEEDS_REDIS = 2,  /* and the engine; with NEEDS_PG the durable half as well */
    NEEDS_SEAL = 4,   /* the keys that open credentials and PINs */
    NEEDS_SCHEMA = 8, /* refuse on a schema that this program does not know */
    CHANGES = 16,     /* something is different afterwards: it leaves a line in the audit log */
    WANTS_REDIS =
        32, /* the engine when Redis answers; without it what is enqueued waits for beat */
    MAY_ASK_REDIS = 64 /* the engine, whether Redis answers or not: that is part of the answer */
};
#define NEEDS_STORES (NEEDS_PG | NEEDS_REDIS | NEEDS_SCHEMA)

#define ARGS_MAX 64
struct option_value {
    const char *name, *value; /* value "" for a switch */
};
struct ops {
    struct settings *settings;
    struct pg *db;
    struct redis *redis;
    struct engine *engine; /* NULL where Redis was only wanted, and did not answer */
    struct seal_keys *keys;
    bool json;
    const char *config; /* --config, NULL: not given */
    char actor[96];     /* "cli:name": who the audit log says it was */
    const struct verb *verb;
    int argc;
    const char *argv[ARGS_MAX];
    int noptions;
    struct option_value options[ARGS_MAX];
};

struct verb {
    const char *name; /* "order resolve" */
    int min_args, max_args;
    unsigned needs;
    const char *args;    /* "ID [ID…]" for the help */
    const char *options; /* "as= note= yes" */
    const char *help;
    rc (*run)(struct cx *cx, struct ops *o) MW_PARKS;
};
extern const struct verb verbs[];
extern const size_t verb_count;

/* What an option means, whichever verb takes it (options.c). */
struct option_row {
    const char *name, *value, *help; /* value: "DURATION"; "" for a switch */
};
extern const struct option_row option_rows[];
extern const size_t option_count;
/* The row of "tenant" (n = 6); NULL: there is none. */
const struct option_row *option_row(const char *name, size_t n);

/* The value of an option: NULL if it was not given, "" for a switch that was. */
const char *opt(const struct ops *o, const char *name);
/* The value of an option that must be there; USAGE. */
rc opt_needed(struct cx *cx, const struct ops *o, const char *name, const char **ret);
/* A whole number; `def` if it was not given; USAGE. */
rc opt_int(struct cx *cx, const struct ops *o, const char *name, int64_t min, int64_t max,
           int64_t def, int64_t *ret);
/* RFC 3339; 0 if it was not given; USAGE. */
rc opt_time(struct cx *cx, const struct ops *o, const char *name, int64_t *ret_ms);
/* "90s", "5m", "7d", longer than nothing; `def` if it was not given; USAGE. */
rc opt_duration(struct cx *cx, const struct ops *o, const char *name, int64_t def, int64_t *ret_ms);
/* The value, or what is in a file ("@PATH"; "@-": stdin) without the white space around it, so that
 * a secret need not stand on the command line. NULL if it was not given. In cx's arena. USAGE. */
rc opt_text(struct cx *cx, const struct ops *o, const char *name, const char **ret);
/* What a file holds ("-": stdin), trimmed; `what` is named in the error. USAGE when it cannot be read,
 * has more than max bytes, or is not UTF-8. */
rc text_of_file(struct cx *cx, const char *what, const char *path, size_t max, const char **ret);
