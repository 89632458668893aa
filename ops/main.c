/* main.c - mihwar: what operators see and mend with.
 *
 *   words -> row of verbs[] -> options held against it -> stores opened -> the verb, on a fiber
 *     -> exit status
 *
 * Exit status: 0 done, 1 refused or failed, 2 usage. */
#include "base/log.h"
#include "base/program.h"
#include "base/text.h"
#include "ops/help.h"
#include "ops/words.h"
#include "pg/migrate.h"
#include "rt/http.h"
#include "rt/loop.h"
#include "rt/offload.h"
#include "secure/seal.h"
#include <errno.h>
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* ------------------------------------------------------------------ the run */

/* The longest a verb may take, unless it says otherwise; stores have shorter deadlines of their
 * own. */
#define VERB_MS 600000
#define PING_MS 5000

struct run {
    struct ops *ops;
    int status;
};

/* A person waits: one who is not there is told of soon. */
static rc redis_answers(struct cx *cx, struct ops *o)
{
    _cleanup_(cx_deadline_restore) struct cx_deadline d = cx_deadline_within(cx, PING_MS);
    rc r = redis_cmd(cx, o->redis, NULL, "PING");

    return r == E_DEADLINE
               ? fail(cx, STORE_DOWN, "Redis does not answer at %s", o->settings->redis_url)
               : r;
}

static rc open_engine(struct cx *cx, struct ops *o)
{
    try(redis_new(cx, o->settings->redis_url, &o->redis));
    rc r = o->verb->needs & MAY_ASK_REDIS ? OK : redis_answers(cx, o);

    if (r == OK)
        o->engine = engine_new(o->redis, o->db);
    else if (!(o->verb->needs & NEEDS_REDIS))
        fprintf(stderr, "mihwar %s: %s; what it enqueues waits until beat finds it\n",
                o->verb->name, cx_words(cx, r));
    return o->verb->needs & NEEDS_REDIS ? r : OK;
}

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
    return needs & (NEEDS_REDIS | WANTS_REDIS | MAY_ASK_REDIS) ? open_engine(cx, o) : OK;
}

static rc run_verb(struct cx *cx, void *arg)
{
    struct run *run = arg;
    struct ops *o = run->ops;
    rc r = open_needs(cx, o);

    if (r == OK)
        r = o->verb->run(cx, o);
    if (fflush(stdout) != 0 || ferror(stdout))
        r = r != OK ? r : fail(cx, OS, "the answer cannot be written: %s", strerror(errno));
    if (r != OK) {
        const char *field = cx->err.code == r && *cx->err.pointer ? cx->err.pointer + 1 : "";
        fprintf(stderr, "mihwar %s: %s%s%s\n", o->verb->name, field, *field ? ": " : "",
                cx_words(cx, r));
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

/* What stands before the verb. The exit status when it is answered here, -1 to go on; *ret_i is
 * where the verb begins. */
static int read_globals(struct ops *o, int argc, char **argv, int *ret_i)
{
    int i = 1;

    for (; i < argc && starts_with(argv[i], "--"); i++) {
        if (strcmp(argv[i], "--json") == 0) {
            o->json = true;
        } else if (starts_with(argv[i], "--config=")) {
            o->config = argv[i] + 9;
        } else if (strcmp(argv[i], "--config") == 0) {
            if (i + 1 == argc) {
                fprintf(stderr, "mihwar: --config needs the name of a file\n");
                return 2;
            }
            o->config = argv[++i];
        } else if (strcmp(argv[i], "--version") == 0) {
            printf("mihwar %s\n", program_version());
            return 0;
        } else if (strcmp(argv[i], "--help") == 0) {
            return help_print(0, NULL);
        } else {
            return help_unknown(argc - i, argv + i);
        }
    }
    *ret_i = i;
    if (i == argc) {
        help_print(0, NULL);
        return 2;
    }
    if (strcmp(argv[i], "help") == 0)
        return help_print(argc - i - 1, argv + i + 1);
    if (strcmp(argv[i], "completion") == 0)
        return help_completion(i + 1 < argc ? argv[i + 1] : NULL);
    return -1;
}

static bool asks_for_help(int argc, char *const *argv)
{
    for (int i = 0; i < argc && strcmp(argv[i], "--") != 0; i++) {
        if (strcmp(argv[i], "--help") == 0)
            return true;
    }
    return false;
}

int main(int argc, char **argv)
{
    _cleanup_(cx_release) struct cx cx = CX_PLAIN("mihwar");
    struct settings settings = {0};
    struct ops o = {.settings = &settings, .config = getenv("MIHWAR_CONFIG")};
    int i = 1, used = 0, status = read_globals(&o, argc, argv, &i);
    rc r;

    if (status >= 0)
        return status;
    o.verb = verb_find(argc - i, argv + i, &used);
    if (!o.verb)
        return asks_for_help(argc - i, argv + i) ? help_print(1, argv + i)
                                                 : help_unknown(argc - i, argv + i);
    if (asks_for_help(argc - i, argv + i))
        return help_print(used, argv + i);
    r = words_read(&cx, &o, argc - i - used, argv + i + used);
    if (r == OK)
        r = settings_load(&cx, &settings, o.config);
    if (r == OK)
        r = settings_apply_log(&cx, &settings, "mihwar");
    if (r != OK) {
        fprintf(stderr, "mihwar: %s\n", cx_words(&cx, r));
        settings_release(&settings);
        return 2;
    }
    log_setup(NULL, LOG_WARN, LOG_LOGFMT); /* chatter stays away unless something is wrong */
    name_actor(&o);
    http_global_init();
    status = run_on_loop(&cx, &o);
    settings_release(&settings);
    return status;
}
