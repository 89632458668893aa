/* test_token_cache.c - the memory of tokens when something changes, when nobody answers, and when too
 * much was refused. What it remembers when all is quiet is in test_secure.c. */
#include "base/text.h"
#include "secure/token.h"
#include "tests/support/fibers.h"
#include "unit.h"
#include <stdio.h>
#include <string.h>

static int64_t now_ms;
static int64_t now(void)
{
    return now_ms;
}

struct who {
    char name[16];
    int role;
};

/* A table of one row. */
static struct {
    char prefix[TOKEN_PREFIX_LEN + 1], text[TOKEN_TEXT_LEN + 1], hash[TOKEN_HASH_MAX];
    enum token_state state;
    int loads, role;
    rc trouble;
    bool deaf;
} table;

static bool sure(void *arg)
{
    (void)arg;
    return !table.deaf;
}

static rc load_row(struct cx *cx, void *arg, const char *prefix, struct token_row *row,
                   void *identity)
{
    struct who *w = identity;

    (void)arg;
    table.loads++;
    try(fiber_sleep(cx, 2)); /* a query parks */
    if (table.trouble)
        return fail_rc(cx, table.trouble, "the table is away");
    if (strcmp(prefix, table.prefix) != 0)
        return fail_rc(cx, E_NOT_FOUND, "no such row");
    row->state = table.state;
    strcpy(row->hash, table.hash);
    strcpy(w->name, "a shop");
    w->role = table.role;
    return OK;
}

/* Who is asked before Argon2, and what it says. */
struct judge {
    bool says;
    int asked, known;
};

static bool may_spend(void *arg, const char *prefix, bool known)
{
    struct judge *j = arg;

    ck_assert_uint_eq(strlen(prefix), TOKEN_PREFIX_LEN);
    j->asked++;
    j->known += known;
    return j->says;
}

static struct token_cache *make(struct cx *cx)
{
    memset(&table, 0, sizeof table);
    now_ms = 1000;
    token_make(&TOKEN_AGENT, table.prefix, table.text);
    ck_ok(token_hash(cx, &TOKEN_AGENT, table.text, table.hash));
    ck_assert(starts_with(table.hash, "$argon2id$v=19$m=1024,t=1,p=1$"));
    return token_cache_new(&(struct token_cache_opts){.kind = &TOKEN_AGENT,
                                                      .identity_size = sizeof(struct who),
                                                      .fresh_ms = 100,
                                                      .keep_ms = 1000,
                                                      .load = load_row,
                                                      .sure = sure,
                                                      .now_ms = now});
}

static void wrong_secret(char *text)
{
    strcpy(text, table.text);
    text[TOKEN_TEXT_LEN - 5] = text[TOKEN_TEXT_LEN - 5] == 'A' ? 'B' : 'A';
}

/* ---------------------------------------------------------------- why */

static rc states(struct cx *cx, void *arg)
{
    struct token_cache *c = make(cx);
    struct judge judge = {.says = true};
    struct token_ask ask = {.may_spend = may_spend, .arg = &judge};
    char text[TOKEN_TEXT_LEN + 1], prefix[TOKEN_PREFIX_LEN + 1];
    struct who w;

    (void)arg;
    ck_rc(token_identify(cx, c, "mwk_no", &ask, &w), E_UNAUTHENTICATED);
    ck_assert(ask.state == TOKEN_MALFORMED && !ask.prefix[0] && judge.asked == 0);
    token_make(&TOKEN_KEY, prefix, text); /* another kind */
    ck_rc(token_identify(cx, c, text, &ask, &w), E_UNAUTHENTICATED);
    ck_assert(ask.state == TOKEN_MALFORMED);
    token_make(&TOKEN_AGENT, prefix, text);
    ck_rc(token_identify(cx, c, text, &ask, &w), E_UNAUTHENTICATED);
    ck_assert(ask.state == TOKEN_UNKNOWN && !w.name[0] && judge.asked == 1 && judge.known == 0);
    ck_assert_str_eq(ask.prefix, prefix);
    wrong_secret(text);
    ck_rc(token_identify(cx, c, text, &ask, &w), E_UNAUTHENTICATED);
    ck_assert(ask.state == TOKEN_WRONG && judge.known == 1);
    ck_assert_str_eq(w.name, "a shop"); /* whose prefix it was */

    for (enum token_state s = TOKEN_EXPIRED; s <= TOKEN_DISABLED; s++) {
        table.state = s;
        ck_rc(token_identify(cx, c, table.text, &ask, &w), E_UNAUTHENTICATED);
        ck_assert(ask.state == s && judge.known == 1); /* as dear as an unknown one */
        ck_assert_str_eq(w.name, "a shop");
        ck_rc(token_identify(cx, c, table.text, &ask, &w), E_UNAUTHENTICATED);
        ck_assert(ask.state == s); /* remembered with its reason */
        token_cache_forget(c, NULL);
    }
    ck_assert_int_eq(judge.asked, 5);
    table.state = TOKEN_GOOD;
    ck_ok(token_identify(cx, c, table.text, &ask, &w));
    ck_assert(ask.state == TOKEN_GOOD && judge.known == 2);
    table.state = TOKEN_REVOKED; /* verified before: its refusal costs no less */
    now_ms += 100;
    ck_rc(token_identify(cx, c, table.text, &ask, &w), E_UNAUTHENTICATED);
    ck_assert(ask.state == TOKEN_REVOKED && judge.asked == 7);
    token_cache_free(c);
    return OK;
}

static rc spending(struct cx *cx, void *arg)
{
    struct token_cache *c = make(cx);
    struct judge judge = {.says = false};
    struct token_ask ask = {.may_spend = may_spend, .arg = &judge};
    struct who w;

    (void)arg;
    ck_rc(token_identify(cx, c, table.text, &ask, &w), E_RATE_LIMITED);
    ck_rc(token_identify(cx, c, table.text, &ask, &w), E_RATE_LIMITED); /* not remembered */
    ck_assert_int_eq(judge.asked, 2);
    judge.says = true;
    ck_ok(token_identify(cx, c, table.text, &ask, &w));
    judge.says = false;
    now_ms += 100;
    ck_ok(token_identify(cx, c, table.text, &ask, &w)); /* verified: nobody is asked */
    ck_assert_int_eq(judge.asked, 3);
    token_cache_free(c);
    return OK;
}

struct call {
    struct token_cache *c;
    struct judge judge;
    rc result;
};

static rc one(struct cx *cx, void *arg)
{
    struct call *a = arg;
    struct token_ask ask = {.may_spend = may_spend, .arg = &a->judge};
    struct who w;

    a->result = token_identify(cx, a->c, table.text, &ask, &w);
    return OK;
}

/* The one who leads is not let: those who wait are judged by themselves. */
static rc not_let(struct cx *cx, void *arg)
{
    struct token_cache *c = make(cx);
    struct call calls[6];
    struct fiber *f[COUNT(calls)];
    rc r;

    (void)arg;
    for (size_t i = 0; i < COUNT(calls); i++) {
        calls[i] = (struct call){.c = c, .judge.says = i == 3};
        f[i] = fiber_spawn(&(struct fiber_opts){.name = "caller"}, one, &calls[i]);
    }
    for (size_t i = 0; i < COUNT(calls); i++)
        try(fiber_join(cx, f[i], &r));
    ck_rc(calls[0].result, E_RATE_LIMITED);
    ck_ok(calls[3].result);
    for (size_t i = 0; i < COUNT(calls); i++)
        ck_assert(calls[i].result == OK ||
                  (calls[i].result == E_RATE_LIMITED && calls[i].judge.asked == 1));
    ck_assert_int_eq(table.loads, 2); /* who is not let does not look for the row again */
    token_cache_free(c);
    return OK;
}

/* ---------------------------------------------------------------- doubt */

static rc doubts(struct cx *cx, void *arg)
{
    struct token_cache *c = make(cx);
    struct judge judge = {.says = true};
    struct token_ask ask = {.may_spend = may_spend, .arg = &judge};
    struct who w;

    (void)arg;
    ck_ok(token_identify(cx, c, table.text, &ask, &w));
    table.role = 7;
    ck_ok(token_identify(cx, c, table.text, &ask, &w));
    ck_assert(w.role == 0 && table.loads == 1);
    token_cache_doubt(c, true);
    ck_ok(token_identify(cx, c, table.text, &ask, &w));
    ck_assert(w.role == 7 && table.loads == 2 && judge.asked == 1); /* no Argon2 for it */
    table.deaf = true;
    table.role = 8;
    ck_ok(token_identify(cx, c, table.text, &ask, &w));
    ck_assert(w.role == 8 && table.loads == 3);
    table.deaf = false;
    ck_ok(token_identify(cx, c, table.text, &ask, &w));
    ck_assert_int_eq(table.loads, 3);

    char text[TOKEN_TEXT_LEN + 1];
    wrong_secret(text);
    ck_rc(token_identify(cx, c, text, NULL, &w), E_UNAUTHENTICATED);
    ck_assert_int_eq(table.loads, 4);
    token_cache_doubt(c, false);
    ck_rc(token_identify(cx, c, text, NULL, &w), E_UNAUTHENTICATED);
    ck_assert_int_eq(table.loads, 5); /* refusals are forgotten, too */
    token_cache_free(c);
    return OK;
}

static rc keeps(struct cx *cx, void *arg)
{
    struct token_cache *c = make(cx);
    struct who w;

    (void)arg;
    ck_ok(token_identify(cx, c, table.text, NULL, &w));
    table.trouble = E_STORE_DOWN;
    now_ms += 999;
    ck_ok(token_identify(cx, c, table.text, NULL, &w));
    ck_assert_str_eq(w.name, "a shop");
    ck_ok(token_identify(cx, c, table.text, NULL, &w));
    ck_assert_int_eq(table.loads, 2); /* asked again once in a second, not for each */
    now_ms += 1;
    ck_rc(token_identify(cx, c, table.text, NULL, &w), E_STORE_DOWN);
    table.trouble = OK;
    ck_ok(token_identify(cx, c, table.text, NULL, &w));
    table.trouble = E_STORE_DOWN;
    token_cache_doubt(c, false);
    ck_ok(token_identify(cx, c, table.text, NULL, &w));
    token_cache_doubt(c, true);
    ck_rc(token_identify(cx, c, table.text, NULL, &w), E_STORE_DOWN);
    table.trouble = OK;
    ck_ok(token_identify(cx, c, table.text, NULL, &w));
    table.trouble = E_PG;
    now_ms += 100;
    ck_rc(token_identify(cx, c, table.text, NULL, &w), E_PG);
    token_cache_free(c);
    return OK;
}

FIBER_TEST(reasons_are_told_apart, states)
FIBER_TEST(spending_is_asked_for, spending)
FIBER_TEST(who_waits_is_judged_by_itself, not_let)
FIBER_TEST(changes_are_read, doubts)
FIBER_TEST(known_tokens_go_on, keeps)

UNIT(token_cache, {"reasons", reasons_are_told_apart}, {"spending", spending_is_asked_for},
     {"waiting", who_waits_is_judged_by_itself}, {"doubt", changes_are_read},
     {"go on", known_tokens_go_on})
