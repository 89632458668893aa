/* main.c - mihwar: what operators see and mend with.
 *
 *   words -> row of verbs[] -> options checked against the row -> stores opened -> the verb on a
 * fiber -> exit status
 *
 * Exit status: 0 done, 1 refused or failed, 2 usage. */
#include "base/log.h"
#include "base/program.h"
#include "base/text.h"
#include "ops/help.h"
#include "ops/verb.h"
#include "pg/migrate.h"
#include "rt/http.h"
#include "rt/loop.h"
#include "rt/offload.h"
#include "secure/seal.h"
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

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

/* ------------------------------------------------------------------ the command line */

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

static rc take_option(struct cx *cx, struct ops *o, int argc, char **argv, int *i)
{
    char *word = argv[*i] + 2, *eq = strchr(word, '=');
    size_t n = eq ? (size_t)(eq - word) : strlen(word);
    bool takes_value;
    const char *value = eq ? eq + 1 : NULL;

    if (!known_option(o->verb->options, word, n, &takes_value))
        return fail(cx, USAGE, "'mihwar %s' does not take --%.*s; try 'mihwar help %s'",
                    o->verb->name, (int)n, word, o->verb->name);
    if (!takes_value && value)
        return fail(cx, USAGE, "--%.*s takes no value", (int)n, word);
    if (takes_value && !value) {
        if (*i + 1 >= argc)
            return fail(cx, USAGE, "--%.*s needs a value", (int)n, word);
        value = argv[++*i];
    }
    if (o->noptions == ARGS_MAX)
        return fail(cx, USAGE, "too many options");
    word[n] = 0;
    o->options[o->noptions++] = (struct option_value){word, value ? value : ""};
    return OK;
}

/* What follows the verb; --json and "--" are understood everywhere. */
static rc read_words(struct cx *cx, struct ops *o, int argc, char **argv)
{
    bool plain = false;

    for (int i = 0; i < argc; i++) {
        if (!plain && strcmp(argv[i], "--") == 0) {
            plain = true;
        } else if (!plain && strcmp(argv[i], "--json") == 0) {
            o->json = true;
        } else if (!plain && starts_with(argv[i], "--")) {
            try(take_option(cx, o, argc, argv, &i));
        } else if (o->argc == ARGS_MAX) {
            return fail(cx, USAGE, "too many arguments");
        } else {
            o->argv[o->argc++] = argv[i];
        }
    }
    if (o->argc < o->verb->min_args || o->argc > o->verb->max_args)
        return fail(cx, USAGE, "usage: mihwar %s %s", o->verb->name, o->verb->args);
    return OK;
}

/* One or two words name a verb; *ret_used says how many. */
static const struct verb *find_verb(int argc, char **argv, int *ret_used)
{
    char two[64];

    for (int words = MIN(argc, 2); words >= 1; words--) {
        snprintf(two, sizeof two, words == 2 ? "%s %s" : "%s", argv[0], words == 2 ? argv[1] : "");
        for (size_t i = 0; i < verb_count; i++) {
            if (strcmp(verbs[i].name, two) == 0) {
                *ret_used = words;
                return &verbs[i];
            }
        }
    }
    return NULL;
}

/* ------------------------------------------------------------------ the run */

#define VERB_MS                                                                                    \
    600000 /* the longest any verb may take; stores have shorter deadlines of their own */

struct run {
    struct ops *ops;
    int status;
};

static rc open_needs(struct cx *cx, struct ops *o)
{
    unsigned needs = o->verb->needs;

    if (needs & NEEDS_SEAL)
        try(seal_keys_load(cx, o->settings->seal_keys, &o->keys));
    if (needs & NEEDS_PG) {
        if (!*o->settings->database_url)
            return fail(cx, CONFIG,
                        "database_url is not set; set MIHWAR_DATABASE_URL or use --config FILE");
        try(pg_new(cx, o->settings->database_url, 2, &o->db));
    }
    if (needs & NEEDS_SCHEMA)
        try(migrate_check(cx, o->db));
    if (needs & NEEDS_REDIS) {
        try(redis_new(cx, o->settings->redis_url, &o->redis));
        o->engine = engine_new(o->redis, o->db);
    }
    return OK;
}

static rc run_verb(struct cx *cx, void *arg)
{
    struct run *run = arg;
    struct ops *o = run->ops;
    rc r = open_needs(cx, o);

    if (r == OK)
        r = o->verb->run(cx, o);
    fflush(stdout);
    if (r != OK) {
        fprintf(stderr, "mihwar %s: %s\n", o->verb->name, cx_words(cx, r));
        run->status = error_info(r)->exit_status;
    }
    o->engine = engine_free(o->engine);
    o->redis = redis_free(o->redis);
    o->db = pg_free(o->db);
    o->keys = seal_keys_free(o->keys);
    loop_stop();
    return OK;
}

static int run_on_loop(struct cx *cx, struct ops *o)
{
    struct run run = {.ops = o};
    rc r = loop_init(cx);

    if (r != OK) {
        fprintf(stderr, "mihwar: %s\n", cx_words(cx, r));
        return 1;
    }
    http_init(/* max_host_connections= */ 4);
    fiber_detach(fiber_spawn(&(struct fiber_opts){.name = o->verb->name, .timeout_ms = VERB_MS},
                             run_verb, &run));
    loop_run();
    http_free();
    offload_free();
    loop_free();
    return run.status;
}

static void name_actor(struct ops *o)
{
    const char *user = getenv("SUDO_USER");
    struct passwd *pw = user ? NULL : getpwuid(getuid());

    snprintf(o->actor, sizeof o->actor, "cli:%s", user ? user : pw ? pw->pw_name : "unknown");
}

int main(int argc, char **argv)
{
    _cleanup_(cx_release) struct cx cx = CX_PLAIN("mihwar");
    struct settings settings = {0};
    struct ops o = {.settings = &settings};
    const char *file = getenv("MIHWAR_CONFIG");
    int i = 1, used = 0, status;
    rc r;

    for (; i < argc && starts_with(argv[i], "--"); i++) {
        if (strcmp(argv[i], "--json") == 0)
            o.json = true;
        else if (strcmp(argv[i], "--config") == 0 && i + 1 < argc)
            file = argv[++i];
        else if (strcmp(argv[i], "--version") == 0)
            return printf("mihwar %s\n", program_version()) < 0;
        else if (strcmp(argv[i], "--help") == 0)
            return help_print(NULL, NULL);
        else
            return help_usage(argv[i]);
    }
    if (i == argc)
        return help_print(NULL, NULL), 2;
    if (strcmp(argv[i], "help") == 0)
        return help_print(argv[i + 1], i + 2 < argc ? argv[i + 2] : NULL);
    if (strcmp(argv[i], "completion") == 0)
        return help_completion(argv[i + 1]);
    o.verb = find_verb(argc - i, argv + i, &used);
    if (!o.verb)
        return help_usage(argv[i]);
    for (int k = i + used; k < argc; k++) {
        if (strcmp(argv[k], "--help") == 0)
            return help_print(argv[i], used == 2 ? argv[i + 1] : NULL);
    }
    r = read_words(&cx, &o, argc - i - used, argv + i + used);
    if (r == OK)
        r = settings_load(&cx, &settings, file);
    if (r == OK)
        r = settings_apply_log(&cx, &settings, "mihwar");
    if (r != OK) {
        fprintf(stderr, "mihwar: %s\n", cx_words(&cx, r));
        settings_release(&settings);
        return 2;
    }
    log_setup(NULL, LOG_WARN,
              LOG_LOGFMT); /* chatter stays out of the way unless something is wrong */
    name_actor(&o);
    http_global_init();
    status = run_on_loop(&cx, &o);
    settings_release(&settings);
    return status;
}
