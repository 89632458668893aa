/* zdk.c - the ZDK family of card shops: GET /client/api/…, JSON, an api-token header.
 *
 *   profile                                              {"balance":"43.55","email":…}
 *   products                                             [{id,name,price,params,…}]
 *   newOrder/PRODUCT/params?order_uuid=&qty=&playerId=   {"status":"OK","data":{order_id,status,…}}
 *   check?orders=[A,B][&uuid=1]                          {"status":"OK","data":[…]}
 *
 * An id that is unknown has no row in check's answer.
 * The same order_uuid gives the first order again and charges once: here a client may send again
 * after a doubt. */
#include "base/clock.h"
#include "base/text.h"
#include "sim.h"
#include <event2/http.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const struct switch_row switches[] = {
    SIM_SWITCHES,
    {"auth", EP_ANY, "check", "check refuse", "codes", "refuse: every caller is a stranger"},
    {"denied", EP_ANY, "121", "120 121 122 123 empty html", "codes",
     "what a stranger is told: an error code, or less"},
    {"words", EP_PLACE | EP_STATUS, "vendor", "vendor plain done upper", "status",
     "accept reject wait; success failed pending; completed cancelled processing; DONE REJECTED "
     "WAIT"},
    {"top", EP_PLACE | EP_STATUS, "ok", "ok word none", "status",
     "the top-level status: OK, the order's word, or absent"},
    {"pin", EP_PLACE | EP_STATUS, "pin", "pin code voucher serial replay none", "replay_api",
     "where a finished order's PIN stands"},
    {"price", EP_BALANCE | EP_CATALOGUE | EP_PLACE | EP_STATUS, "string", "string number",
     "numbers", "how money is printed"},
    {"profile", EP_BALANCE, "plain", "plain wrapped", "shape", "wrapped in data"},
    {"catalogue", EP_CATALOGUE, "plain", "plain wrapped huge broken failed", "shape",
     "what the list looks like"},
    {"refuse", EP_PLACE, "none", "none 100 105 106 107 108 109 110 111 112 113 114 130 429 500",
     "codes", "the order is refused with that code, nothing is taken"},
    {"error_keys", EP_ANY, "code", "code error_code errorCode err_code", "codes",
     "the names of the error's fields"},
    {"duplicate", EP_PLACE, "merge", "merge silent refuse accept", "order_uuid",
     "a uuid that was used before: its order again (marked or not), refused, or taken again"},
    {"unknown", EP_STATUS, "absent", "absent error null", "not found",
     "a question about an order that is not there"},
    {"query", EP_STATUS, "answer", "answer refuse word", "status",
     "refuse: an error, although the order is known; word: a status that is none"},
};

static const struct product {
    const char *id, *name, *price, *category, *type, *qty_values, *params;
    bool available, direct;
} products[] = {
    {"101", "PUBG 60 UC", "0.95", "PUBG", "package", "null", "[\"playerId\"]", true, false},
    {"102", "PUBG 325 UC", "4.60", "PUBG", "package", "null", "[\"playerId\"]", true, false},
    {"103", "Likee diamonds", "0.012", "Likee", "amount", "{\"min\":10,\"max\":5000}",
     "[\"playerId\"]", true, true},
    {"104", "Jawaker tokens", "0.90", "Jawaker", "specificPackage", "[\"10\",\"20\"]",
     "[\"playerId\"]", true, true},
    {"105", "Sold out", "1.00", "PUBG", "package", "null", "[\"playerId\"]", false, false},
};

static void error_reply(const struct sim_call *c, struct buf *out, int code, const char *text)
{
    const char *key = sim_value(c, "error_keys");

    buf_printf(out,
               "{\"status\":\"%s\",\"%s\":%d,\"%s\":", !strcmp(key, "code") ? "ERROR" : "error",
               key, code,
               !strcmp(key, "error_code") ? "error"
               : !strcmp(key, "err_code") ? "msg"
                                          : "message");
    buf_json_str(out, text);
    buf_puts(out, "}");
}

static void put_money(const struct sim_call *c, struct buf *out, int64_t amount)
{
    const char *q = sim_is(c, "price", "number") ? "" : "\"";

    buf_puts(out, q);
    money_print(out, amount, amount % 100 ? 4 : 2, '.');
    buf_puts(out, q);
}

/* ---------------------------------------------------------------- who asks */

/* "[ID_1,ID_2]" or "ID_1,ID_2": the next id, NULL at the end. */
static const char *next_id(char **list)
{
    char *id;

    do
        id = strsep(list, "[], \"");
    while (id && !*id);
    return id;
}

static struct order *by_order_id(struct book *b, const char *id)
{
    int64_t seq = starts_with(id, "ID_") ? strtoll(id + 3, NULL, 16) : 0;

    for (struct order *o = book_orders(b); o; o = o->next)
        if (o->seq == seq)
            return o;
    return NULL;
}

static struct order *find_order(struct sim_call *c, const char *id)
{
    const struct ref *r = book_find(c->sim->book, c->dealer, id);

    if (!strcmp(sim_param(c, "uuid"), "1"))
        return r ? r->order : NULL;
    return by_order_id(c->sim->book, id);
}

static bool parse(struct sim_call *c, const char *path)
{
    static const char place[] = "/client/api/newOrder/";
    const char *token = evhttp_find_header(evhttp_request_get_input_headers(c->req), "api-token");

    c->dealer = xstrdup(token ? token : "");
    if (!strcmp(path, "/client/api/profile"))
        c->endpoint = EP_BALANCE;
    else if (!strcmp(path, "/client/api/products") || starts_with(path, "/client/api/content/"))
        c->endpoint = EP_CATALOGUE;
    else if (!strcmp(path, "/client/api/check")) {
        _cleanup_(freep) char *list = xstrdup(sim_param(c, "orders"));
        char *rest = list;
        const char *id = next_id(&rest);
        const struct order *o = id ? find_order(c, id) : NULL;

        c->endpoint = EP_STATUS;
        c->ref = xstrdup(o ? o->ref : id ? id : "");
    } else if (starts_with(path, place)) {
        const char *id = path + sizeof(place) - 1, *end = strrchr(id, '/');

        if (!end || strcmp(end, "/params") != 0)
            return false;
        c->endpoint = EP_PLACE;
        c->product = xstrndup(id, (size_t)(end - id));
        c->ref = xstrdup(sim_param(c, "order_uuid"));
        for (size_t i = 0; i < 3 && str_empty(c->player); i++) {
            free(c->player);
            c->player = xstrdup(sim_param(c, (const char *[]){"playerId", "playerID", "phone"}[i]));
        }
    } else
        return false;
    return true;
}

static bool admit(struct sim_call *c, struct buf *out)
{
    bool known = !sim_is(c, "auth", "refuse") &&
                 (c->sim->login ? !strcmp(c->dealer, c->sim->login) : *c->dealer != 0);

    if (known)
        return true;
    if (!*c->dealer || sim_is(c, "denied", "120"))
        error_reply(c, out, 120, "Api Token is required!");
    else if (sim_is(c, "denied", "html"))
        buf_puts(out, "<html><body>403</body></html>");
    else if (sim_is(c, "denied", "121"))
        error_reply(c, out, 121, "Token error");
    else if (sim_is(c, "denied", "122"))
        error_reply(c, out, 122, "Not allowed to use API");
    else if (sim_is(c, "denied", "123"))
        error_reply(c, out, 123, "IP not allowed");
    return false;
}

/* ---------------------------------------------------------------- the four calls */

static void profile(struct sim_call *c, struct buf *out)
{
    bool wrapped = sim_is(c, "profile", "wrapped");

    buf_puts(out, wrapped ? "{\"status\":\"OK\",\"data\":{\"balance\":" : "{\"balance\":");
    put_money(c, out, book_balance(c->sim->book, c->dealer));
    buf_puts(out, ",\"email\":\"dealer@example.invalid\"}");
    buf_puts(out, wrapped ? "}" : "");
}

static void put_product(const struct sim_call *c, struct buf *out, const char *id,
                        const struct product *p)
{
    buf_printf(out, "{\"id\":%s,\"name\":", id);
    buf_json_str(out, p->name);
    buf_puts(out, ",\"price\":");
    put_money(c, out, money_read(p->price));
    buf_printf(out,
               ",\"params\":%s,\"category_name\":\"%s\",\"available\":%s,\"qty_values\":%s,"
               "\"product_type\":\"%s\","
               "\"parent_id\":0,\"base_price\":\"%s\",\"category_img\":null}",
               p->params, p->category, p->available ? "true" : "false", p->qty_values, p->type,
               p->price);
}

static bool listed(const char *ids, const char *id)
{
    _cleanup_(freep) char *list = xstrdup(ids);
    char *rest = list;

    for (const char *i = next_id(&rest); i; i = next_id(&rest))
        if (!strcmp(i, id))
            return true;
    return !*ids;
}

static void catalogue(struct sim_call *c, struct buf *out)
{
    bool wrapped = sim_is(c, "catalogue", "wrapped");
    const char *comma = "";

    if (sim_is(c, "catalogue", "failed")) {
        error_reply(c, out, 130, "Site under maintenance");
        return;
    }
    buf_puts(out, wrapped ? "{\"data\":[" : "[");
    for (size_t i = 0; i < COUNT(products); i++) {
        if (!listed(sim_param(c, "products_id"), products[i].id))
            continue;
        buf_puts(out, comma);
        put_product(c, out, products[i].id, &products[i]);
        comma = ",";
    }
    if (sim_is(c, "catalogue", "huge"))
        for (int i = 0; i < 20000; i++) {
            char id[16];

            snprintf(id, sizeof(id), "%d", 1000 + i);
            buf_puts(out, ",");
            put_product(c, out, id, &products[(size_t)i % COUNT(products)]);
        }
    if (sim_is(c, "catalogue", "broken"))
        buf_puts(out, ",{\"id\":");
    buf_puts(out, wrapped ? "]}" : "]");
}

static const char *status_word(const struct sim_call *c, int status)
{
    static const struct {
        const char *words, *by_status[4];
    } tables[] = {
        {"vendor", {"", "wait", "accept", "reject"}},
        {"plain", {"", "pending", "success", "failed"}},
        {"done", {"", "processing", "completed", "cancelled"}},
        {"upper", {"", "WAIT", "DONE", "REJECTED"}},
    };

    for (size_t i = 0; i < COUNT(tables); i++)
        if (sim_is(c, "words", tables[i].words))
            return tables[i].by_status[status];
    return "";
}

/* Fields that newOrder and check have in common. */
static void put_order(const struct sim_call *c, struct buf *out, const struct order *o,
                      const char *word)
{
    const char *pin = sim_value(c, "pin");
    bool has_pin = o->status == 2 && *o->pin, place = c->endpoint == EP_PLACE;

    buf_printf(out,
               "{\"order_id\":\"ID_%08" PRIx64 "\",\"quantity\":%" PRId64
               ",\"status\":\"%s\",\"price\":",
               o->seq, o->quantity, word);
    put_money(c, out, o->cost);
    buf_puts(out, ",\"data\":{\"playerId\":");
    buf_json_str(out, o->player);
    buf_puts(out, "},\"replay_api\":");
    if (o->status == 1)
        buf_puts(out, "null");
    else {
        buf_puts(out, place ? "[{\"replay\":[" : "[");
        buf_json_str(out, has_pin && !strcmp(pin, "replay") ? o->pin : o->text);
        buf_puts(out, place ? "]}]" : "]");
    }
    if (has_pin && strcmp(pin, "replay") != 0 && strcmp(pin, "none") != 0) {
        buf_printf(out, ",\"%s\":", pin);
        buf_json_str(out, o->pin);
    }
    buf_puts(out, "}");
}

static void put_head(const struct sim_call *c, struct buf *out, const char *word)
{
    buf_puts(out, "{");
    if (sim_is(c, "top", "ok"))
        buf_puts(out, "\"status\":\"OK\",");
    else if (sim_is(c, "top", "word"))
        buf_printf(out, "\"status\":\"%s\",", word);
}

static const struct product *find_product(const struct sim_call *c)
{
    for (size_t i = 0; i < COUNT(products); i++)
        if (sim_names(c, products[i].id))
            return &products[i];
    return NULL;
}

static const char *refusal(int code)
{
    static const struct {
        int code;
        const char *text;
    } texts[] = {
        {100, "Insufficient balance"},
        {105, "Quantity not available"},
        {106, "Quantity not allowed"},
        {107, "Player id is blocked"},
        {108, "Two-factor authentication required"},
        {109, "Product not found"},
        {110, "Product not available now"},
        {111, "Try again after one minute"},
        {112, "Quantity too small"},
        {113, "Quantity too large"},
        {114, "Unknown error"},
        {130, "Site under maintenance"},
        {429, "Too many requests"},
        {500, "Unknown error"},
    };

    for (size_t i = 0; i < COUNT(texts); i++)
        if (texts[i].code == code)
            return texts[i].text;
    return "Unknown error";
}

/* 0: the quantity suits the product. */
static int quantity_code(const struct product *p, int64_t qty)
{
    if (!strcmp(p->type, "amount"))
        return qty < 10 ? 112 : qty > 5000 ? 113 : 0;
    if (!strcmp(p->type, "specificPackage"))
        return qty == 10 || qty == 20 ? 0 : 106;
    return qty == 1 ? 0 : 106;
}

static void put_placed(const struct sim_call *c, struct buf *out, const struct order *o,
                       const char *more)
{
    const char *word = status_word(c, o->status);

    put_head(c, out, word);
    buf_puts(out, "\"data\":");
    put_order(c, out, o, word);
    buf_printf(out, "%s}", more);
}

static void place(struct sim_call *c, struct buf *out)
{
    static int64_t anonymous;
    const struct product *p = find_product(c);
    const struct ref *r = *c->ref ? book_find(c->sim->book, c->dealer, c->ref) : NULL;
    const char *qty = sim_param(c, "qty");
    int64_t n = 1;
    int code = 0;

    if (r && r->order && !sim_is(c, "duplicate", "accept")) {
        if (sim_is(c, "duplicate", "refuse"))
            error_reply(c, out, 114, "order_uuid was used before");
        else
            put_placed(c, out, r->order,
                       sim_is(c, "duplicate", "merge") ? ",\"duplicate\":true" : "");
        return;
    }
    if (!sim_is(c, "refuse", "none"))
        code = (int)sim_number(c, "refuse");
    else if (!p)
        code = 109;
    else if (!p->available)
        code = 110;
    else if (!*c->player || (*qty && !parse_int(qty, 1, 1000000, &n)))
        code = 114;
    else
        code = quantity_code(p, n);
    if (!code && book_balance(c->sim->book, c->dealer) < money_read(p->price) * n)
        code = 100;
    if (code) {
        error_reply(c, out, code, refusal(code));
        return;
    }
    if (!*c->ref) { /* nobody can ask about it by uuid; it is an order all the same */
        free(c->ref);
        c->ref = xasprintf("anonymous-%" PRId64 "-%" PRId64, clock_ms(), ++anonymous);
    }
    const struct order want = sim_order(c, "extra", money_read(p->price) * n, n, p->direct);
    put_placed(c, out, book_accept(c->sim->book, &want), "");
}

static void check(struct sim_call *c, struct buf *out)
{
    _cleanup_(freep) char *list = xstrdup(sim_param(c, "orders"));
    char *rest = list;
    const char *comma = "";

    if (sim_is(c, "query", "refuse")) {
        error_reply(c, out, 500, "Unknown error");
        return;
    }
    _cleanup_(buf_release) struct buf rows = BUF(MiB(16));
    for (const char *id = next_id(&rest); id; id = next_id(&rest)) {
        struct order *o = find_order(c, id);

        if (!o && sim_is(c, "unknown", "error")) {
            error_reply(c, out, 114, "Order not found");
            return;
        }
        if (!o && !sim_is(c, "unknown", "null"))
            continue;
        buf_puts(&rows, comma);
        comma = ",";
        if (!o) {
            buf_puts(&rows, "null");
            continue;
        }
        book_polled(o);
        put_order(c, &rows, o, sim_is(c, "query", "word") ? "strange" : status_word(c, o->status));
    }
    put_head(c, out, "ok");
    buf_printf(out, "\"data\":[%s]}", buf_str(&rows));
}

int main(int argc, char **argv)
{
    static const struct sim_protocol zdk = {
        .name = "zdk",
        .switches = switches,
        .nswitches = COUNT(switches),
        .parse = parse,
        .admit = admit,
        .balance = profile,
        .catalogue = catalogue,
        .place = place,
        .status = check,
        .content_type = "application/json",
    };

    return sim_main(argc, argv, &zdk);
}
