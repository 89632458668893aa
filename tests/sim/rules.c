/* rules.c - which switch holds for which call. */
#include "rules.h"
#include "base/text.h"
#include <assert.h>
#include <limits.h>
#include <search.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct rule {
    size_t row;
    int endpoints;
    int left;          /* INT_MAX: for ever */
    const char *value; /* a word of ours */
    char *product, *player, *ref;
};
struct rules {
    const struct switch_row *rows;
    size_t n;
    const char *defaults[RULES_MAX];
    void *words; /* tsearch tree of every value ever given: calls under way keep pointing at them */
    struct rule *list;
    size_t count, room;
};

static const struct {
    enum endpoint e;
    const char *name;
} endpoints[] = {
    {EP_BALANCE, "balance"},
    {EP_CATALOGUE, "catalogue"},
    {EP_PLACE, "place"},
    {EP_STATUS, "status"},
};

const char *endpoint_name(enum endpoint e)
{
    for (size_t i = 0; i < COUNT(endpoints); i++)
        if (endpoints[i].e == e)
            return endpoints[i].name;
    return "none";
}

static int word_cmp(const void *a, const void *b)
{
    return strcmp(a, b);
}

static const char *intern(struct rules *r, const char *word)
{
    char *fresh = xstrdup(word), *found = *(char **)tsearch(fresh, &r->words, word_cmp);

    if (found != fresh)
        free(fresh);
    return found;
}

struct rules *rules_new(const struct switch_row *rows, size_t n)
{
    struct rules *r = xcalloc(1, sizeof(*r));

    assert(n <= RULES_MAX);
    r->rows = rows;
    r->n = n;
    for (size_t i = 0; i < n; i++)
        r->defaults[i] = rows[i].def;
    return r;
}

void rules_clear(struct rules *r)
{
    for (size_t i = 0; i < r->count; i++) {
        free(r->list[i].product);
        free(r->list[i].player);
        free(r->list[i].ref);
    }
    r->count = 0;
}

struct rules *rules_free(struct rules *r)
{
    if (!r)
        return NULL;
    rules_clear(r);
    tdestroy(r->words, free);
    free(r->list);
    free(r);
    return NULL;
}

int rules_index(const struct rules *r, const char *name)
{
    for (size_t i = 0; i < r->n; i++)
        if (!strcmp(r->rows[i].name, name))
            return (int)i;
    return -1;
}

size_t rules_count(const struct rules *r)
{
    return r->n;
}

const struct switch_row *rules_row(const struct rules *r, size_t i)
{
    return &r->rows[i];
}

const char *rules_default_value(const struct rules *r, size_t i)
{
    return r->defaults[i];
}

static bool value_fits(const char *allowed, const char *value)
{
    _cleanup_(freep) char *words = xstrdup(allowed);
    char *save = NULL;
    int64_t number;

    for (char *w = strtok_r(words, " ", &save); w; w = strtok_r(NULL, " ", &save)) {
        if (!strcmp(w, value) || !strcmp(w, "?"))
            return true;
        if (!strcmp(w, "#") && parse_int(value, -1, INT64_MAX / 2, &number))
            return true;
        if (!strcmp(w, "$") && decimal_valid(value, 4))
            return true;
    }
    return false;
}

/* "[endpoint.]name" and "value[*N]" -> a rule without its filter. */
static bool rule_read(struct rules *r, const char *name, const char *value, struct rule *out,
                      char err[320])
{
    const char *dot = strchr(name, '.'), *star = strrchr(value, '*');
    int64_t times = INT_MAX;
    int only = EP_ANY, row;

    if (dot) {
        only = EP_NONE;
        for (size_t i = 0; i < COUNT(endpoints); i++)
            if (!strncmp(name, endpoints[i].name, (size_t)(dot - name)) &&
                !endpoints[i].name[dot - name])
                only = (int)endpoints[i].e;
        name = dot + 1;
    }
    row = rules_index(r, name);
    if (row < 0 || !(only & r->rows[row].endpoints)) {
        snprintf(err, 320, "no switch '%s'%s", name, dot ? " at that endpoint" : "");
        return false;
    }
    if (star && !parse_int(star + 1, 1, INT_MAX - 1, &times))
        star = NULL;
    _cleanup_(freep) char *word = star ? xstrndup(value, (size_t)(star - value)) : xstrdup(value);
    if (!value_fits(r->rows[row].values, word)) {
        snprintf(err, 320, "switch '%s' takes: %s", name, r->rows[row].values);
        return false;
    }
    *out = (struct rule){
        .row = (size_t)row,
        .endpoints = only & r->rows[row].endpoints,
        .left = star ? (int)times : INT_MAX,
        .value = intern(r, word),
    };
    return true;
}

static bool split(const char *assignment, char **ret_name, const char **ret_value, char err[320])
{
    const char *eq = strchr(assignment, '=');

    if (!eq) {
        snprintf(err, 320, "'%s' is not NAME=VALUE", assignment);
        return false;
    }
    *ret_name = xstrndup(assignment, (size_t)(eq - assignment));
    *ret_value = eq + 1;
    return true;
}

bool rules_add(struct rules *r, const char *name, const char *value, const struct rule_for *who,
               char err[320])
{
    struct rule rule;

    if (!rule_read(r, name, value, &rule, err))
        return false;
    if (who && !str_empty(who->product))
        rule.product = xstrdup(who->product);
    if (who && !str_empty(who->player))
        rule.player = xstrdup(who->player);
    if (who && !str_empty(who->ref))
        rule.ref = xstrdup(who->ref);
    if (r->count == r->room) {
        r->room = r->room ? 2 * r->room : 16;
        r->list = xrealloc(r->list, r->room * sizeof(*r->list));
    }
    r->list[r->count++] = rule;
    return true;
}

bool rules_add_text(struct rules *r, const char *assignment, const struct rule_for *who,
                    char err[320])
{
    _cleanup_(freep) char *name = NULL;
    const char *value;

    return split(assignment, &name, &value, err) && rules_add(r, name, value, who, err);
}

bool rules_default(struct rules *r, const char *assignment, char err[320])
{
    _cleanup_(freep) char *name = NULL;
    const char *value;
    struct rule rule;

    if (!split(assignment, &name, &value, err) || !rule_read(r, name, value, &rule, err))
        return false;
    r->defaults[rule.row] = rule.value;
    return true;
}

static bool matches(const char *filter, const char *what)
{
    return !filter || (what && !strcmp(filter, what));
}

void rules_apply(struct rules *r, enum endpoint e, const struct rule_for *who, const char *tail,
                 int nth, const char *values[RULES_MAX])
{
    _cleanup_(freep) char *words = xstrdup(tail);
    char *save = NULL, err[320];
    struct rule *heard[RULES_MAX] = {0}, rule;

    for (size_t i = 0; i < r->n; i++)
        values[i] = r->defaults[i];
    for (size_t i = 0; i < r->count; i++) {
        struct rule *x = &r->list[i];

        if (!(x->endpoints & (int)e) || !x->left || !matches(x->product, who->product) ||
            !matches(x->player, who->player) || !matches(x->ref, who->ref))
            continue;
        values[x->row] = x->value;
        heard[x->row] = x;
    }
    for (size_t i = 0; i < r->n; i++)
        if (heard[i] && heard[i]->left != INT_MAX)
            heard[i]->left--; /* only the rule that was heard is used up */
    /* a tail that cannot be read is none: its product is unknown to the protocol (rules_tail_ok) */
    for (char *w = strtok_r(words, ";", &save); w; w = strtok_r(NULL, ";", &save)) {
        _cleanup_(freep) char *name = NULL;
        const char *value;

        if (split(w, &name, &value, err) && rule_read(r, name, value, &rule, err) &&
            (rule.endpoints & (int)e) && nth <= rule.left)
            values[rule.row] = rule.value;
    }
}

bool rules_tail_ok(struct rules *r, const char *tail)
{
    _cleanup_(freep) char *words = xstrdup(tail);
    char *save = NULL, err[320];
    struct rule rule;

    for (char *w = strtok_r(words, ";", &save); w; w = strtok_r(NULL, ";", &save)) {
        _cleanup_(freep) char *name = NULL;
        const char *value;

        if (!split(w, &name, &value, err) || !rule_read(r, name, value, &rule, err))
            return false;
    }
    return true;
}
