/* test_cert_names.c - the memory of names: what is asked for once, forgotten, kept while nobody answers.
 * The table of names and the clock are the test's own. */
#include "hub/cert_names.h"
#include "tests/support/fibers.h"
#include "unit.h"
#include <stdio.h>
#include <string.h>

static int64_t now_ms;
static int64_t now(void)
{
    return now_ms;
}

static struct {
    int loads;
    uint64_t permissions;
    bool disabled, deaf;
    rc trouble;
} table;

static bool sure(void *arg)
{
    (void)arg;
    return !table.deaf;
}

/* Everybody whose name begins with "known". */
static rc load(struct cx *cx, void *arg, const char *name, struct identity *ret, bool *ret_enabled)
{
    (void)arg;
    table.loads++;
    try(fiber_sleep(cx, 5)); /* a query parks */
    if (table.trouble)
        return fail_rc(cx, table.trouble, "the table is away");
    if (strncmp(name, "known", 5) != 0)
        return fail_rc(cx, E_NOT_FOUND, "nobody");
    *ret = (struct identity){.kind = IDENTITY_CERT, .permissions = table.permissions};
    snprintf(ret->name, sizeof ret->name, "%s", name);
    *ret_enabled = !table.disabled;
    return OK;
}

static struct cert_names *make(size_t max)
{
    memset(&table, 0, sizeof table);
    now_ms = 1000;
    return cert_names_new(&(struct cert_names_opts){
        .load = load, .max = max, .fresh_ms = 100, .keep_ms = 1000, .sure = sure, .now_ms = now});
}

/* The state, or -code. */
static int ask(struct cx *cx, struct cert_names *c, const char *name)
{
    struct identity who;
    enum name_state state;
    rc r = cert_names_find(cx, c, name, &who, &state);

    if (r == OK && state != NAME_UNKNOWN)
        ck_assert_str_eq(who.name, name);
    return r == OK ? (int)state : -(int)r;
}

static rc remembers(struct cx *cx, void *arg)
{
    struct cert_names *c = make(0);

    (void)arg;
    for (int i = 0; i < 3; i++) {
        ck_assert_int_eq(ask(cx, c, "known"), NAME_GOOD);
        ck_assert_int_eq(ask(cx, c, "stranger"), NAME_UNKNOWN);
    }
    ck_assert_int_eq(table.loads, 2); /* nobody is remembered, too */
    now_ms += 100;
    ck_assert_int_eq(ask(cx, c, "known"), NAME_GOOD);
    ck_assert_int_eq(ask(cx, c, "stranger"), NAME_UNKNOWN);
    ck_assert_int_eq(table.loads, 4);

    table.disabled = true;
    cert_names_doubt(c, true);
    ck_assert_int_eq(ask(cx, c, "known"), NAME_DISABLED);
    ck_assert_int_eq(ask(cx, c, "known"), NAME_DISABLED);
    ck_assert_int_eq(table.loads, 5);
    table.deaf = true; /* nobody would tell us: look each time */
    table.disabled = false;
    ck_assert_int_eq(ask(cx, c, "known"), NAME_GOOD);
    ck_assert_int_eq(ask(cx, c, "known"), NAME_GOOD);
    ck_assert_int_eq(table.loads, 7);
    cert_names_free(c);
    return OK;
}

static rc keeps(struct cx *cx, void *arg)
{
    struct cert_names *c = make(0);

    (void)arg;
    ck_assert_int_eq(ask(cx, c, "known"), NAME_GOOD);
    table.trouble = E_STORE_DOWN;
    now_ms += 999;
    ck_assert_int_eq(ask(cx, c, "known"), NAME_GOOD);
    ck_assert_int_eq(ask(cx, c, "known"), NAME_GOOD);
    ck_assert_int_eq(table.loads, 2); /* asked again once, not for each */
    ck_assert_int_eq(ask(cx, c, "stranger"), -(int)E_STORE_DOWN);
    now_ms += 1; /* long enough */
    ck_assert_int_eq(ask(cx, c, "known"), -(int)E_STORE_DOWN);
    table.trouble = OK;
    ck_assert_int_eq(ask(cx, c, "known"), NAME_GOOD);

    cert_names_doubt(c, false); /* heard nothing, lost nothing */
    table.trouble = E_STORE_DOWN;
    ck_assert_int_eq(ask(cx, c, "known"), NAME_GOOD);
    cert_names_doubt(c, true); /* something has changed, and nobody can say what */
    ck_assert_int_eq(ask(cx, c, "known"), -(int)E_STORE_DOWN);
    table.trouble = E_PG; /* other failures are failures */
    ck_assert_int_eq(ask(cx, c, "known"), -(int)E_PG);
    table.trouble = OK;
    table.disabled = true;
    ck_assert_int_eq(ask(cx, c, "known"), NAME_DISABLED);
    table.trouble = E_STORE_DOWN;
    now_ms += 200;
    ck_assert_int_eq(ask(cx, c, "known"), -(int)E_STORE_DOWN); /* only what was good goes on */
    cert_names_free(c);
    return OK;
}

struct call {
    struct cert_names *c;
    int state;
};

static rc one(struct cx *cx, void *arg)
{
    struct call *a = arg;

    a->state = ask(cx, a->c, "known");
    return OK;
}

static rc crowd(struct cx *cx, void *arg)
{
    struct cert_names *c = make(0);
    struct call calls[40];
    struct fiber *f[COUNT(calls)];
    rc r;

    (void)arg;
    for (size_t i = 0; i < COUNT(calls); i++) {
        calls[i] = (struct call){c, -1};
        f[i] = fiber_spawn(&(struct fiber_opts){.name = "caller"}, one, &calls[i]);
    }
    try(fiber_sleep(cx, 1));
    fiber_cancel(f[0]); /* who leads gives up: another one leads */
    for (size_t i = 0; i < COUNT(calls); i++) {
        try(fiber_join(cx, f[i], &r));
        ck_assert_int_eq(calls[i].state, i == 0 ? -(int)E_CANCELLED : (int)NAME_GOOD);
    }
    ck_assert_int_eq(table.loads, 2);

    /* a change while a row is read: what was read serves those who asked, and nobody later */
    now_ms += 100;
    f[0] = fiber_spawn(&(struct fiber_opts){.name = "caller"}, one, &calls[0]);
    try(fiber_sleep(cx, 1));
    cert_names_doubt(c, true);
    try(fiber_join(cx, f[0], &r));
    ck_assert_int_eq(ask(cx, c, "known"), NAME_GOOD);
    ck_assert_int_eq(table.loads, 4);
    cert_names_free(c);
    return OK;
}

static rc bounded(struct cx *cx, void *arg)
{
    struct cert_names *c = make(4);
    char name[32];

    (void)arg;
    for (int i = 0; i < 4; i++) {
        snprintf(name, sizeof name, "known %d", i);
        ck_assert_int_eq(ask(cx, c, name), NAME_GOOD);
    }
    for (int i = 0; i < 20; i++) { /* guesses push each other out, and nobody else */
        snprintf(name, sizeof name, "stranger %d", i);
        ck_assert_int_eq(ask(cx, c, name), NAME_UNKNOWN);
    }
    table.loads = 0;
    ck_assert_int_eq(ask(cx, c, "known 0"), NAME_GOOD);
    ck_assert_int_eq(ask(cx, c, "known 3"), NAME_GOOD);
    ck_assert_int_eq(ask(cx, c, "stranger 19"), NAME_UNKNOWN);
    ck_assert_int_eq(table.loads, 0);
    ck_assert_int_eq(ask(cx, c, "known 4"), NAME_GOOD); /* the least recently used goes: 1 */
    ck_assert_int_eq(ask(cx, c, "known 0"), NAME_GOOD);
    ck_assert_int_eq(table.loads, 1);
    ck_assert_int_eq(ask(cx, c, "known 1"), NAME_GOOD);
    ck_assert_int_eq(table.loads, 2);
    cert_names_free(c);
    return OK;
}

FIBER_TEST(names_are_remembered, remembers)
FIBER_TEST(known_names_go_on, keeps)
FIBER_TEST(one_load_for_many, crowd)
FIBER_TEST(the_memory_is_bounded, bounded)

UNIT(cert_names, {"remembered", names_are_remembered}, {"go on", known_names_go_on},
     {"one load for many", one_load_for_many}, {"bounded", the_memory_is_bounded})
