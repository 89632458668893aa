/* control.c - /_sim/…: a test's hand on the simulator.
 *
 *   switch?[ENDPOINT.]NAME=VALUE[*N]&…[&product=|player=|ref=]
 *                            one rule per assignment; 400 names what is wrong
 *   switches                 the table, with the defaults that hold
 *   reset[?all=1]            rules and calls are forgotten; all: orders, ledger and money too
 *   ledger, orders, calls    JSON
 *   settle[?ref=&status=2|3&pin=&text=&kod=]
 *                            ends one order so, or every open one as it was to end
 *   dealer?kod=&balance=     sets (or only shows) a dealer's money */
#include "base/clock.h"
#include "base/text.h"
#include "sim.h"
#include <event2/http.h>
#include <event2/keyvalq_struct.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>

#define CALLS_KEPT 20000

/* The last calls, oldest overwritten first; the counts are of all. */
struct note {
    int64_t at_ms;
    enum endpoint endpoint;
    char *ref, *product, *player;
    const char *fault;
};
static struct note notes[CALLS_KEPT];
static size_t noted;
static int64_t counts[EP_ANY + 1];
static int in_flight, in_flight_max;

static void note_release(struct note *n)
{
    free(n->ref);
    free(n->product);
    free(n->player);
    *n = (struct note){0};
}

void control_note(const struct sim_call *c, const char *what)
{
    struct note *n = &notes[noted++ % CALLS_KEPT];

    note_release(n);
    *n = (struct note){
        .at_ms = c->at_ms,
        .endpoint = c->endpoint,
        .ref = xstrdup(c->ref),
        .product = xstrdup(c->product),
        .player = xstrdup(c->player), /* fault: the rules' word */
        .fault = what,
    };
    counts[c->endpoint]++;
}

void control_in_flight(int delta)
{
    in_flight += delta;
    in_flight_max = MAX(in_flight_max, in_flight);
}

void control_reset(void)
{
    for (size_t i = 0; i < CALLS_KEPT; i++)
        note_release(&notes[i]);
    noted = 0;
    memset(counts, 0, sizeof(counts));
    in_flight_max = in_flight;
}

static const char *param(const struct evkeyvalq *params, const char *name)
{
    const char *v = evhttp_find_header(params, name);

    return v ? v : "";
}

static bool complain(struct buf *out, int *ret_status, const char *text)
{
    buf_puts(out, "{\"error\":");
    buf_json_str(out, text);
    buf_puts(out, "}\n");
    *ret_status = 400;
    return true;
}

static bool serve_switch(struct sim *s, const struct evkeyvalq *params, struct buf *out,
                         int *ret_status)
{
    const char *product = param(params, "product");
    const struct rule_for who = {*product ? product : param(params, "kupur"),
                                 param(params, "player"), param(params, "ref")};
    const struct evkeyval *kv;
    char err[320];
    int n = 0;

    TAILQ_FOREACH(kv, params, next)
    {
        if (!strcmp(kv->key, "product") || !strcmp(kv->key, "kupur") ||
            !strcmp(kv->key, "player") || !strcmp(kv->key, "ref"))
            continue;
        if (!rules_add(s->rules, kv->key, kv->value, &who, err))
            return complain(out, ret_status, err);
        n++;
    }
    if (!n)
        return complain(out, ret_status, "no switch named");
    buf_printf(out, "{\"ok\":true,\"rules\":%d}\n", n);
    return true;
}

static bool serve_switches(struct sim *s, struct buf *out)
{
    buf_puts(out, "{\"switches\":[");
    for (size_t i = 0; i < rules_count(s->rules); i++) {
        const struct switch_row *row = rules_row(s->rules, i);
        const char *comma = "";

        buf_printf(out,
                   "%s{\"name\":\"%s\",\"quirk\":\"%s\",\"values\":\"%s\",\"default\":\"%s\","
                   "\"endpoints\":[",
                   i ? "," : "", row->name, row->quirk, row->values,
                   rules_default_value(s->rules, i));
        for (int e = 1; e < EP_ANY; e <<= 1)
            if (row->endpoints & e) {
                buf_printf(out, "%s\"%s\"", comma, endpoint_name((enum endpoint)e));
                comma = ",";
            }
        buf_puts(out, "],\"help\":");
        buf_json_str(out, row->help);
        buf_puts(out, "}");
    }
    buf_puts(out, "]}\n");
    return true;
}

static bool serve_settle(struct sim *s, const struct evkeyvalq *params, struct buf *out,
                         int *ret_status)
{
    const char *ref = param(params, "ref"), *kod = param(params, "kod"),
               *status = param(params, "status");
    struct order *o;
    int n = 0;

    if (!*ref) {
        buf_printf(out, "{\"ok\":true,\"settled\":%d}\n", book_settle_all(s->book));
        return true;
    }
    for (o = book_orders(s->book); o; o = o->next) {
        if (strcmp(o->ref, ref) != 0 || (*kod && strcmp(o->dealer, kod) != 0))
            continue;
        book_end(o,
                 *status      ? atoi(status)
                 : o->cancels ? 3
                              : 2,
                 evhttp_find_header(params, "pin"), evhttp_find_header(params, "text"));
        n++;
    }
    if (!n)
        return complain(out, ret_status, "no such order");
    buf_printf(out, "{\"ok\":true,\"settled\":%d}\n", n);
    return true;
}

static bool serve_calls(struct buf *out)
{
    size_t from = noted > CALLS_KEPT ? noted - CALLS_KEPT : 0;

    buf_printf(out,
               "{\"balance\":%" PRId64 ",\"catalogue\":%" PRId64 ",\"place\":%" PRId64
               ",\"status\":%" PRId64 ",\"in_flight\":%d,\"in_flight_max\":%d,\"calls\":[",
               counts[EP_BALANCE], counts[EP_CATALOGUE], counts[EP_PLACE], counts[EP_STATUS],
               in_flight, in_flight_max);
    for (size_t i = from; i < noted; i++) {
        const struct note *n = &notes[i % CALLS_KEPT];

        buf_printf(out,
                   "%s{\"at_ms\":%" PRId64 ",\"endpoint\":\"%s\",\"fault\":\"%s\",\"reference\":",
                   i > from ? "," : "", n->at_ms, endpoint_name(n->endpoint), n->fault);
        buf_json_str(out, n->ref);
        buf_puts(out, ",\"product\":");
        buf_json_str(out, n->product);
        buf_puts(out, ",\"player\":");
        buf_json_str(out, n->player);
        buf_puts(out, "}");
    }
    buf_puts(out, "]}\n");
    return true;
}

static bool serve_dealer(struct sim *s, const struct evkeyvalq *params, struct buf *out,
                         int *ret_status)
{
    const char *kod = param(params, "kod"), *balance = param(params, "balance");
    int64_t b;

    if (!*kod)
        return complain(out, ret_status, "kod is missing");
    if (*balance) {
        if (!decimal_valid(balance, 4))
            return complain(out, ret_status, "balance is no decimal");
        book_set_balance(s->book, kod, money_read(balance));
    }
    b = book_balance(s->book, kod);
    buf_puts(out, "{\"kod\":");
    buf_json_str(out, kod);
    buf_puts(out, ",\"balance\":\"");
    money_print(out, b, 2, '.');
    buf_puts(out, "\"}\n");
    return true;
}

bool control_serve(struct sim *s, const char *path, const struct evkeyvalq *params, struct buf *out,
                   int *ret_status)
{
    if (!strcmp(path, "switch"))
        return serve_switch(s, params, out, ret_status);
    if (!strcmp(path, "switches"))
        return serve_switches(s, out);
    if (!strcmp(path, "settle"))
        return serve_settle(s, params, out, ret_status);
    if (!strcmp(path, "calls"))
        return serve_calls(out);
    if (!strcmp(path, "dealer"))
        return serve_dealer(s, params, out, ret_status);
    if (!strcmp(path, "ledger")) {
        book_ledger_json(s->book, out);
        return true;
    }
    if (!strcmp(path, "orders")) {
        book_orders_json(s->book, out);
        return true;
    }
    if (!strcmp(path, "reset")) {
        rules_clear(s->rules);
        control_reset();
        if (!strcmp(param(params, "all"), "1"))
            book_reset(s->book);
        buf_puts(out, "{\"ok\":true}\n");
        return true;
    }
    return false;
}
