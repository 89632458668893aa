/* znet.c - the ZNET dealer panel: GET /servis/NAME.php, answers in words and pipes.
 *
 *   bakiye_kontrol  OK|balance[|debt]
 *   pin_listesi     {"success":true,"result":[{…}],"error":null}
 *   pin_ekle        OK|cost|balance           or  3|text
 *   pin_kontrol     OK|1 2 3|pin|text         or  3|text
 *
 * Business errors come with HTTP 200. A stranger gets an empty body (or one of the other habits,
 * switch `denied`). The product of the rules is `kupur`; its tail after '~' may carry rules
 * ("60~place.fault=reset"). */
#include "base/text.h"
#include "sim.h"
#include <stdlib.h>
#include <string.h>

static const struct switch_row switches[] = {
    SIM_SWITCHES,
    {"auth", EP_ANY, "check", "check refuse", "Q1", "refuse: every caller is a stranger"},
    {"denied", EP_ANY, "empty", "empty login ip permission error html", "Q1",
     "what a stranger is told"},
    {"pin", EP_STATUS, "code", "code none", "Q4", "does a finished order carry a PIN?"},
    {"no_pin", EP_STATUS, "space", "empty space dash spaced", "Q4",
     "how an empty PIN field is printed"},
    {"reason_in_pin", EP_STATUS, "no", "no yes", "Q4",
     "a cancelled order's reason stands in the PIN field, the text is empty"},
    {"text", EP_STATUS, "plain", "plain empty pipe html long changing", "Q5 Q12",
     "the operator's text; changing: another one at each question"},
    {"encoding", EP_ANY, "utf8", "utf8 percent cp1254", "Q6 Q17", "how texts are encoded"},
    {"decimal", EP_BALANCE | EP_PLACE, "point", "point comma", "Q7", "decimal sign"},
    {"places", EP_BALANCE | EP_PLACE, "2", "2 4", "Q7", "decimal places"},
    {"cost", EP_PLACE, "plus", "plus minus", "Q7", "sign of the cost in the answer"},
    {"debt", EP_BALANCE, "none", "none $", "Q7", "third field of the balance"},
    {"refuse", EP_PLACE, "none",
     "none kupur kupur_ascii balance balance8 maintenance closed stock unavailable player",
     "Q8 Q13",
     "the order is refused with such words, nothing is taken (balance8 comes with code 8)"},
    {"duplicate", EP_PLACE, "code4", "code4 code8 code3 accept", "Q9",
     "a reference that was used before: refused so, or taken again"},
    {"unknown", EP_STATUS, "empty", "empty code3", "Q10",
     "a question about a reference nobody sent"},
    {"query", EP_STATUS, "answer", "answer refuse code9", "Q10",
     "refuse: 3|text, although the order is known; code9: a status that is none"},
    {"catalogue", EP_CATALOGUE, "plain",
     "plain numbers html colliding failed huge text broken array", "Q14",
     "what the list looks like"},
    {"case", EP_ANY, "upper", "upper lower mixed", "Q16", "OK, ok or Ok"},
};

static const struct product {
    const char *id, *adi, *oyun_id, *oyun_adi, *fiyat, *kupur, *oyun_bilgi_id;
    bool direct; /* loads the player's account: no PIN */
} products[] = {
    {"1", "PUBG Mobile 60 UC", "1", "PUBG", "10.12", "60", "1", false},
    {"2", "PUBG Mobile 325 UC", "1", "PUBG", "35.00", "325", "1", false},
    {"3", "PUBG Mobile 660 UC", "1", "PUBG", "69.50", "660", "1", false},
    {"4", "Free Fire 100 Elmas", "2", "Free Fire", "8.25", "100", "2", true},
    {"5", "Free Fire 530 Elmas", "2", "Free Fire", "40.00", "530", "2", true},
    {"6", "Razer Gold 50 TL", "3", "Razer", "48.75", "50", "3", false},
};

static const char *ok_word(const struct sim_call *c)
{
    return sim_is(c, "case", "lower") ? "ok" : sim_is(c, "case", "mixed") ? "Ok" : "OK";
}

/* UTF-8 -> windows-1254: Latin-1 but for six letters; what it has not becomes '?'. */
static void put_cp1254(struct buf *out, const char *s)
{
    static const struct {
        unsigned point;
        unsigned char byte;
    } letters[] = {{0x11e, 0xd0}, {0x11f, 0xf0}, {0x130, 0xdd},
                   {0x131, 0xfd}, {0x15e, 0xde}, {0x15f, 0xfe}};

    for (const unsigned char *p = (const unsigned char *)s; *p;) {
        unsigned point = *p;
        int len = *p < 0x80 ? 1 : *p < 0xe0 ? 2 : *p < 0xf0 ? 3 : 4;
        unsigned char byte;

        if (len == 2)
            point = (*p & 0x1fu) << 6 | (p[1] & 0x3fu);
        byte = len < 3 && point < 256 ? (unsigned char)point : '?';
        for (size_t i = 0; i < COUNT(letters); i++)
            if (len == 2 && letters[i].point == point)
                byte = letters[i].byte;
        buf_putc(out, (char)byte);
        p += len;
    }
}

static void put_percent(struct buf *out, const char *s)
{
    for (; *s; s++)
        if (*s == ' ')
            buf_putc(out, '+');
        else if (strchr("-_.|", *s) || (*s >= '0' && *s <= '9') || (*s >= 'A' && *s <= 'Z') ||
                 (*s >= 'a' && *s <= 'z'))
            buf_putc(out, *s);
        else
            buf_printf(out, "%%%02X", (unsigned)(unsigned char)*s);
}

static void put_text(const struct sim_call *c, struct buf *out, const char *s)
{
    if (sim_is(c, "encoding", "cp1254"))
        put_cp1254(out, s);
    else if (sim_is(c, "encoding", "percent"))
        put_percent(out, s);
    else
        buf_puts(out, s);
}

static void put_money(const struct sim_call *c, struct buf *out, int64_t amount)
{
    money_print(out, amount, (int)sim_number(c, "places"),
                sim_is(c, "decimal", "comma") ? ',' : '.');
}

static void refuse(const struct sim_call *c, struct buf *out, int code, const char *text)
{
    buf_printf(out, "%d|", code);
    put_text(c, out, text);
}

/* ---------------------------------------------------------------- who asks */

static bool parse(struct sim_call *c, const char *path)
{
    static const struct {
        const char *path;
        enum endpoint endpoint;
    } paths[] = {
        {"/servis/bakiye_kontrol.php", EP_BALANCE},
        {"/servis/pin_listesi.php", EP_CATALOGUE},
        {"/servis/pin_ekle.php", EP_PLACE},
        {"/servis/pin_kontrol.php", EP_STATUS},
    };
    const char *kod = sim_param(c, "kod");

    for (size_t i = 0; i < COUNT(paths); i++)
        if (!strcmp(path, paths[i].path))
            c->endpoint = paths[i].endpoint;
    if (!c->endpoint)
        return false;
    c->dealer = xstrdup(*kod ? kod : sim_param(c, "bayi_kodu"));
    if (c->endpoint == EP_PLACE) {
        c->ref = xstrdup(sim_param(c, "referans"));
        c->product = xstrdup(sim_param(c, "kupur"));
        c->player = xstrdup(sim_param(c, "oyuncu_bilgi"));
    } else if (c->endpoint == EP_STATUS)
        c->ref = xstrdup(sim_param(c, "tahsilat_api_islem_id"));
    return true;
}

static bool known(const struct sim_call *c)
{
    const char *sifre = sim_param(c, "sifre");

    if (sim_is(c, "auth", "refuse"))
        return false;
    if (!c->sim->login)
        return *c->dealer && *sifre;
    return !strcmp(c->dealer, c->sim->login) &&
           (!c->sim->password || !strcmp(sifre, c->sim->password));
}

static bool admit(struct sim_call *c, struct buf *out)
{
    if (known(c))
        return true;
    if (sim_is(c, "denied", "login")) {
        buf_printf(out, "%s|3|", ok_word(c));
        put_text(c, out, "bayikodu yada sifre  geçersiz"); /* two spaces: so it is */
        buf_puts(out, "|0.00");
    } else if (sim_is(c, "denied", "ip")) {
        buf_printf(out, "%s|3|", ok_word(c));
        put_text(c, out, "ip geçersiz");
        buf_puts(out, "|0.00");
    } else if (sim_is(c, "denied", "permission")) {
        buf_printf(out, "%s|3|", ok_word(c));
        put_text(c, out, "Yetki Yetersiz! Yukleme");
        buf_puts(out, "|0.00");
    } else if (sim_is(c, "denied", "error"))
        buf_puts(out, "ERROR|Invalid credentials");
    else if (sim_is(c, "denied", "html"))
        buf_puts(out, "<html><body>403</body></html>");
    return false;
}

/* ---------------------------------------------------------------- the four calls */

static void balance(struct sim_call *c, struct buf *out)
{
    buf_printf(out, "%s|", ok_word(c));
    put_money(c, out, book_balance(c->sim->book, c->dealer));
    if (!sim_is(c, "debt", "none")) {
        buf_puts(out, "|");
        put_money(c, out, money_read(sim_value(c, "debt")));
    }
}

static void put_row(struct buf *out, const char *id, const char *adi, const struct product *p,
                    bool numbers)
{
    const char *q = numbers ? "" : "\"";

    buf_printf(out, "{\"id\":%s%s%s,\"adi\":", q, id, q);
    buf_json_str(out, adi);
    buf_printf(
        out, ",\"aciklama\":\"Oyun otomatik olarak yuklenir.%s \",\"oyun_id\":%s%s%s,\"oyun_adi\":",
        p->adi, q, p->oyun_id, q);
    buf_json_str(out, p->oyun_adi);
    buf_printf(out, ",\"fiyat\":%s%s%s,\"kupur\":\"%s\",\"oyun_bilgi_id\":%s%s%s%s}", q, p->fiyat,
               q, p->kupur, q, p->oyun_bilgi_id, q, numbers ? ",\"para_birimi\":\"TRY\"" : "");
}

static void catalogue(struct sim_call *c, struct buf *out)
{
    bool numbers = sim_is(c, "catalogue", "numbers"), array = sim_is(c, "catalogue", "array");

    if (sim_is(c, "catalogue", "failed")) {
        buf_puts(out, "{\"success\":false,\"result\":null,\"error\":\"Yetkisiz erişim\"}");
        return;
    }
    if (sim_is(c, "catalogue", "text")) {
        refuse(c, out, 3, "Yetkisiz erisim");
        return;
    }
    buf_puts(out, array ? "[" : "{\"success\":true,\"result\":[");
    for (size_t i = 0; i < COUNT(products); i++) {
        const struct product *p = &products[i];
        _cleanup_(freep) char *name = sim_is(c, "catalogue", "html")
                                          ? xasprintf("- <b>%s</b>&nbsp;&amp; bonus.", p->adi)
                                          : xstrdup(p->adi);

        buf_puts(out, i ? "," : "");
        put_row(out, p->id, name, p, numbers);
    }
    if (sim_is(c, "catalogue",
               "colliding")) { /* as in the vendor's own sample: two products, one pair */
        buf_puts(out, ",");
        put_row(out, "7", "PUBG Mobile 60 UC (TR)", &products[1], false);
    }
    if (sim_is(c, "catalogue", "huge"))
        for (int i = 0; i < 20000; i++) {
            _cleanup_(freep) char *n = xasprintf("%d", 1000 + i), *kupur = xasprintf("h%d", i);
            struct product p = products[(size_t)i % COUNT(products)];

            p.kupur = kupur;
            buf_puts(out, ",");
            put_row(out, n, p.adi, &p, false);
        }
    if (sim_is(c, "catalogue", "broken"))
        buf_puts(out, " {\"id\":\"8\"");
    buf_puts(out, array ? "]" : "],\"error\":null}");
}

static const struct product *find_product(const struct sim_call *c)
{
    for (size_t i = 0; i < COUNT(products); i++)
        if (sim_names(c, products[i].kupur) &&
            !strcmp(sim_param(c, "oyun"), products[i].oyun_bilgi_id))
            return &products[i];
    return NULL;
}

static bool refused(struct sim_call *c, struct buf *out)
{
    static const struct {
        const char *word;
        int code;
        const char *text;
    } refusals[] = {
        {"kupur", 3, "Kupur Bilgisi Bulunamadı"},
        {"kupur_ascii", 3, "Kupur Bilgisi Bulunamadi"},
        {"balance", 3, "Bakiye Yetersiz"},
        {"balance8", 8, "Bağlantı hatası veya yetersiz bakiye"},
        {"maintenance", 3, "Sistem bakımda"},
        {"closed", 3, "Bu ürün kapalı"},
        {"stock", 3, "Stok yok"},
        {"unavailable", 3, "Product unavailable"},
        {"player", 3, "Oyuncu bilgisi hatalı"},
    };

    for (size_t i = 0; i < COUNT(refusals); i++)
        if (sim_is(c, "refuse", refusals[i].word)) {
            refuse(c, out, refusals[i].code, refusals[i].text);
            return true;
        }
    return false;
}

static bool duplicate(struct sim_call *c, struct buf *out)
{
    const struct ref *r = book_find(c->sim->book, c->dealer, c->ref);

    if (!r || !r->order || sim_is(c, "duplicate", "accept"))
        return false;
    if (sim_is(c, "duplicate", "code4")) {
        _cleanup_(freep) char *text = xasprintf("Daha Önce Gönderilmiş (%d)", (int)r->order->seq);

        refuse(c, out, 4, text);
    } else if (sim_is(c, "duplicate", "code8"))
        refuse(c, out, 8, "Bu İşlem Daha Önce Gönderildi");
    else
        refuse(c, out, 3, "Tekil numara çakışması.");
    return true;
}

static void place(struct sim_call *c, struct buf *out)
{
    const struct product *p = find_product(c);

    if (!*c->ref || !*c->player) {
        refuse(c, out, 3, "Eksik parametre");
        return;
    }
    if (!p) {
        refuse(c, out, 3, "Kupur Bilgisi Bulunamadı");
        return;
    }
    if (duplicate(c, out) || refused(c, out))
        return;
    const struct order want =
        sim_order(c, "musteri_tel", money_read(p->fiyat), /* quantity= */ 1, p->direct);
    if (book_balance(c->sim->book, c->dealer) < want.cost) {
        refuse(c, out, 3, "Bakiye Yetersiz");
        return;
    }
    book_accept(c->sim->book, &want);
    buf_printf(out, "%s|", ok_word(c));
    put_money(c, out, sim_is(c, "cost", "minus") ? -want.cost : want.cost);
    buf_puts(out, "|");
    put_money(c, out, book_balance(c->sim->book, c->dealer));
}

static void put_note(const struct sim_call *c, struct buf *out, const struct order *o)
{
    _cleanup_(freep) char *text = NULL;

    if (sim_is(c, "text", "empty"))
        return;
    if (sim_is(c, "text", "pipe"))
        text = xasprintf("%s | not: a | b", o->text);
    else if (sim_is(c, "text", "html"))
        text = xasprintf("<b>%s</b>&nbsp;<script>alert(1)</script>", o->text);
    else if (sim_is(c, "text", "changing"))
        text = xasprintf("%s (%d)", o->text, (int)o->polls);
    else if (sim_is(c, "text", "long")) {
        text = xmalloc(20001);
        memset(text, 'u', 20000);
        text[20000] = 0;
    }
    put_text(c, out, text ? text : o->text);
}

static void status(struct sim_call *c, struct buf *out)
{
    const struct ref *r = book_find(c->sim->book, c->dealer, c->ref);
    struct order *o = r ? r->order : NULL;
    const char *none = sim_is(c, "no_pin", "empty")    ? ""
                       : sim_is(c, "no_pin", "dash")   ? "-"
                       : sim_is(c, "no_pin", "spaced") ? " - "
                                                       : " ";

    if (!o) {
        if (sim_is(c, "unknown", "code3"))
            refuse(c, out, 3, "Kayıt Bulunamadı");
        return;
    }
    if (sim_is(c, "query", "refuse")) {
        refuse(c, out, 3, "Hatalı işlem");
        return;
    }
    book_polled(o);
    buf_printf(out, "%s|%d|", ok_word(c), sim_is(c, "query", "code9") ? 9 : o->status);
    if (o->status == 3 && sim_is(c, "reason_in_pin", "yes")) {
        put_text(c, out, "Oyuncu bulunamadı");
        buf_puts(out, "|");
        return;
    }
    buf_puts(out, o->status == 2 && *o->pin && sim_is(c, "pin", "code") ? o->pin : none);
    buf_puts(out, "|");
    put_note(c, out, o);
}

int main(int argc, char **argv)
{
    static const struct sim_protocol znet = {
        .name = "znet",
        .switches = switches,
        .nswitches = COUNT(switches),
        .parse = parse,
        .admit = admit,
        .balance = balance,
        .catalogue = catalogue,
        .place = place,
        .status = status,
        .content_type = "text/html; charset=UTF-8",
    };

    return sim_main(argc, argv, &znet);
}
