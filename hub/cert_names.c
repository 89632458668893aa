/* cert_names.c - entries by name in two lists (for somebody, for nobody), loads under way in a third. */
#include "hub/cert_names.h"
#include "base/clock.h"
#include "base/text.h"
#include "rt/waitq.h"
#include "secure/identity.h"
#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>

#define BUCKETS   2048
#define NAMES_MAX 4096
#define AWAY_MS   1000 /* a store that is away is asked again once in this */

TAILQ_HEAD(entry_list, entry);
LIST_HEAD(bucket, entry);
struct entry {
    LIST_ENTRY(entry) chain;
    TAILQ_ENTRY(entry) age; /* of its list: least recently used first */
    char name[IDENTITY_MAX + 1];
    enum name_state state;
    int64_t fresh_until_ms, keep_until_ms;
    struct identity who;
};
struct entries {
    struct entry_list list;
    size_t n, max;
};

LIST_HEAD(load_list, load);
struct load {
    LIST_ENTRY(load) link;
    const char *name; /* of the one who leads, until it is done */
    size_t users;
    bool done;
    rc code;
    char words[160];
    enum name_state state;
    struct identity who;
    struct waitq q;
};

struct cert_names {
    struct cert_names_opts o;
    struct bucket buckets[BUCKETS];
    struct entries somebody, nobody;
    struct load_list loads;
    uint64_t doubts; /* a load that began before the last one is not remembered */
    int64_t away_until_ms;
};

static struct bucket *bucket_of(struct cert_names *c, const char *name)
{
    size_t h = 5381;

    for (const char *p = name; *p; p++)
        h = h * 33 + (unsigned char)*p;
    return &c->buckets[h % BUCKETS];
}

static struct entry *find(struct cert_names *c, const char *name)
{
    struct entry *e;

    LIST_FOREACH(e, bucket_of(c, name), chain)
    {
        if (strcmp(e->name, name) == 0)
            return e;
    }
    return NULL;
}

static struct entries *entries_of(struct cert_names *c, enum name_state state)
{
    return state == NAME_UNKNOWN ? &c->nobody : &c->somebody;
}

static void drop(struct cert_names *c, struct entry *e)
{
    struct entries *of = entries_of(c, e->state);

    LIST_REMOVE(e, chain);
    TAILQ_REMOVE(&of->list, e, age);
    of->n--;
    free(e);
}

static void remember(struct cert_names *c, const struct load *l)
{
    struct entries *of = entries_of(c, l->state);
    struct entry *e = find(c, l->name);
    int64_t now = c->o.now_ms();

    if (e)
        drop(c, e);
    if (of->n == of->max)
        drop(c, TAILQ_FIRST(&of->list));
    e = xcalloc(1, sizeof *e);
    snprintf(e->name, sizeof e->name, "%s", l->name);
    e->state = l->state;
    e->who = l->who;
    e->fresh_until_ms = now + c->o.fresh_ms;
    e->keep_until_ms = l->state == NAME_GOOD ? now + c->o.keep_ms : INT64_MIN;
    LIST_INSERT_HEAD(bucket_of(c, l->name), e, chain);
    TAILQ_INSERT_TAIL(&of->list, e, age);
    of->n++;
}

static bool kept(const struct cert_names *c, const struct entry *e)
{
    return e && c->o.now_ms() < e->keep_until_ms;
}

static bool usable(const struct cert_names *c, const struct entry *e)
{
    if (c->o.now_ms() < e->fresh_until_ms && (!c->o.sure || c->o.sure(c->o.arg)))
        return true;
    return c->o.now_ms() < c->away_until_ms && kept(c, e);
}

static rc use(struct cert_names *c, struct entry *e, struct identity *ret,
              enum name_state *ret_state)
{
    struct entries *of = entries_of(c, e->state);

    TAILQ_REMOVE(&of->list, e, age);
    TAILQ_INSERT_TAIL(&of->list, e, age);
    *ret = e->who;
    *ret_state = e->state;
    return OK;
}

/* ---------------------------------------------------------------- one load */

static rc load(struct cx *cx, struct cert_names *c, struct load *l)
{
    uint64_t doubts = c->doubts;
    bool enabled = true;

    rc r = c->o.load(cx, c->o.arg, l->name, &l->who, &enabled); /* parks */
    if (r != OK && r != E_NOT_FOUND)
        return r;
    c->away_until_ms = INT64_MIN;
    l->state = r == E_NOT_FOUND ? NAME_UNKNOWN : enabled ? NAME_GOOD : NAME_DISABLED;
    if (doubts == c->doubts)
        remember(c, l);
    return OK;
}

static void unuse(struct load *l)
{
    if (--l->users == 0)
        free(l);
}

static rc lead(struct cx *cx, struct cert_names *c, const char *name, struct identity *ret,
               enum name_state *ret_state)
{
    struct load *l = xcalloc(1, sizeof *l);

    l->users = 1;
    l->name = name;
    LIST_INSERT_HEAD(&c->loads, l, link);
    rc r = l->code = load(cx, c, l);
    l->done = true;
    LIST_REMOVE(l, link);
    if (r != OK)
        snprintf(l->words, sizeof l->words, "%s", cx_words(cx, r));
    *ret = l->who;
    *ret_state = l->state;
    waitq_wake_all(&l->q);
    unuse(l);
    return r;
}

/* *ret_again: the one who led gave up for reasons of its own; somebody else has to. */
static rc follow(struct cx *cx, struct load *l, struct identity *ret, enum name_state *ret_state,
                 bool *ret_again)
{
    rc r = OK;

    l->users++;
    while (!l->done && r == OK)
        r = waitq_wait(cx, &l->q);
    if (l->done) {
        *ret_again = l->code == E_DEADLINE || l->code == E_CANCELLED;
        *ret = l->who;
        *ret_state = l->state;
        r = *ret_again || l->code == OK ? OK : fail_rc(cx, l->code, "%s", l->words);
    }
    unuse(l);
    return r;
}

rc cert_names_find(struct cx *cx, struct cert_names *c, const char *name, struct identity *ret,
                   enum name_state *ret_state)
{
    bool again = true;
    rc r = OK;

    while (again && r == OK) {
        struct entry *e = find(c, name);
        struct load *l;

        if (e && usable(c, e))
            return use(c, e, ret, ret_state);
        LIST_FOREACH(l, &c->loads, link)
        {
            if (strcmp(l->name, name) == 0)
                break;
        }
        again = false;
        r = l ? follow(cx, l, ret, ret_state, &again) : lead(cx, c, name, ret, ret_state);
    }
    if (r == E_STORE_DOWN && kept(c, find(c, name))) {
        c->away_until_ms = c->o.now_ms() + AWAY_MS;
        return use(c, find(c, name), ret, ret_state);
    }
    return r;
}

/* ---------------------------------------------------------------- life */

void cert_names_doubt(struct cert_names *c, bool changed)
{
    struct entry *e;

    c->doubts++;
    while ((e = TAILQ_FIRST(&c->nobody.list)))
        drop(c, e);
    TAILQ_FOREACH(e, &c->somebody.list, age)
    {
        e->fresh_until_ms = INT64_MIN;
        if (changed)
            e->keep_until_ms = INT64_MIN;
    }
}

struct cert_names *cert_names_new(const struct cert_names_opts *o)
{
    struct cert_names *c = xcalloc(1, sizeof *c);

    c->o = *o;
    if (!c->o.now_ms)
        c->o.now_ms = clock_mono_ms;
    TAILQ_INIT(&c->somebody.list);
    TAILQ_INIT(&c->nobody.list);
    c->somebody.max = o->max ? o->max : NAMES_MAX;
    c->nobody.max = MAX((size_t)1, c->somebody.max / 4);
    return c;
}

struct cert_names *cert_names_free(struct cert_names *c)
{
    struct entry *e;

    if (!c)
        return NULL;
    assert(LIST_EMPTY(&c->loads));
    cert_names_doubt(c, true);
    while ((e = TAILQ_FIRST(&c->somebody.list)))
        drop(c, e);
    free(c);
    return NULL;
}
