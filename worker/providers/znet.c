/* znet.c - speaking ZNET: GET BASE/servis/NAME.php with everything in the query, the password too.
 *
 * So no URL of these ever reaches a log, an error or an event: transport and http.c keep theirs to themselves, and what the panel
 * writes back is searched for kod and sifre before it is kept.
 *
 *   settings  phone         musteri_tel where neither order nor extra_field has one (default: sent empty)
 *             extra_field   "apply" (default; domain/orders/extra_field.h) or "ignore" */
#include "domain/orders/extra_field.h"
#include "rt/frame.h"
#include "worker/providers/adapter.h"
#include "worker/providers/ptext.h"
#include "worker/providers/transport.h"
#include "worker/providers/znet_parse.h"
#include <stdlib.h>
#include <string.h>

#define TARGET_MAX KiB(14)

struct znet {
    struct arena arena; /* what follows lives here */
    struct transport transport;
    const char *kod, *sifre, *phone;
    bool apply_extra;
};

struct param {
    const char *name, *value;
};

/* "/servis/pin_ekle.php?kod=…&sifre=…&…"; in cx's arena. */
static const char *target(struct cx *cx, const struct znet *z, const char *page,
                          const struct param *params)
{
    _cleanup_(buf_release) struct buf b = BUF(TARGET_MAX);

    buf_printf(&b, "/servis/%s.php?kod=", page);
    http_escape(&b, z->kod);
    buf_puts(&b, "&sifre=");
    http_escape(&b, z->sifre);
    for (; params && params->name; params++) {
        buf_printf(&b, "&%s=", params->name);
        http_escape(&b, params->value);
    }
    return buf_ok(&b) ? arena_strdup(&cx->arena, buf_str(&b)) : NULL;
}

static const char *redacted(struct cx *cx, const struct znet *z, const char *s)
{
    const char *const secrets[] = {z->sifre, z->kod, NULL};

    return s ? ptext_redact(&cx->arena, s, secrets) : NULL;
}

static void hide_credentials(struct cx *cx, const struct znet *z, struct answer *a)
{
    a->verbatim = redacted(cx, z, a->verbatim);
    a->note = redacted(cx, z, a->note);
}

static rc call(struct cx *cx, const struct znet *z, enum purpose purpose, const char *page,
               const struct param *params, struct http_response *r)
{
    const char *t = target(cx, z, page, params);

    *r = (struct http_response){0};
    if (!t)
        return fail(cx, INVALID_FIELD,
                    "the order's fields are too long for a request to the provider");
    return transport_call(cx, &z->transport,
                          &(struct transport_call){.purpose = purpose, .target = t}, r);
}

static rc place(struct cx *cx, void *self, const struct place_request *q, struct answer *ret)
{
    const struct znet *z = self;
    struct http_response r;
    const char *player = q->user_identifier, *phone = NULL;

    if (z->apply_extra)
        extra_apply(cx, q->user_identifier, q->extra_field, &player, &phone);
    if (q->phone)
        phone = q->phone;
    if (!phone)
        phone = z->phone;
    const struct param params[] = {{"oyun", q->product},       {"kupur", q->kupur},
                                   {"referans", q->reference}, {"musteri_tel", phone},
                                   {"oyuncu_bilgi", player},   {NULL, NULL}};
    rc result = call(cx, z, TO_PLACE, "pin_ekle", params, &r);
    if (result == OK) {
        znet_parse_place(&cx->arena, &r, ret);
        hide_credentials(cx, z, ret);
    }
    http_response_release(&r);
    return result;
}

static rc balance(struct cx *cx, void *self, struct balance_answer *ret)
{
    const struct znet *z = self;
    struct http_response r;
    rc result = call(cx, z, TO_ASK, "bakiye_kontrol", NULL, &r);

    if (result == OK) {
        znet_parse_balance(&cx->arena, &r, ret);
        hide_credentials(cx, z, &ret->answer);
    }
    http_response_release(&r);
    return result;
}

/* Silence means an unknown reference, or that this account is not let in. The balance page tells which. */
static MW_OWN_FRAME rc read_silence(struct cx *cx, void *self, struct answer *ret)
{
    struct balance_answer b;

    try(balance(cx, self, &b));
    if (b.ok)
        ret->note = "no answer for this reference, though the account is let in: the panel does "
                    "not seem to know it";
    else
        *ret = b.answer;
    return OK;
}

static rc status(struct cx *cx, void *self, const char *reference, struct answer *ret)
{
    const struct znet *z = self;
    const struct param params[] = {{"tahsilat_api_islem_id", reference}, {NULL, NULL}};
    struct http_response r;
    rc result = call(cx, z, TO_ASK, "pin_kontrol", params, &r);

    if (result == OK) {
        znet_parse_status(&cx->arena, &r, ret);
        hide_credentials(cx, z, ret);
    }
    http_response_release(&r);
    if (result == OK && ret->kind == ANSWER_UNKNOWN_REFERENCE && strcmp(ret->row, "empty") == 0)
        return read_silence(cx, self, ret);
    return result;
}

static rc catalogue(struct cx *cx, void *self, struct catalogue_answer *ret)
{
    const struct znet *z = self;
    struct http_response r;
    rc result = call(cx, z, TO_LIST, "pin_listesi", NULL, &r);

    if (result == OK) {
        znet_parse_catalogue(cx, &r, ret);
        hide_credentials(cx, z, &ret->answer);
    }
    http_response_release(&r);
    return result;
}

static void znet_free(void *self)
{
    struct znet *z = self;

    explicit_bzero((char *)(uintptr_t)z->sifre, strlen(z->sifre));
    arena_release(&z->arena);
    free(z);
}

static const struct provider_ops ops = {
    .kind = "znet",
    .place = place,
    .status = status,
    .balance = balance,
    .catalogue = catalogue,
    .free = znet_free,
};

static rc read_credential(struct cx *cx, const struct integration *i, const cJSON *o,
                          const char *name, const char **ret)
{
    if (json_str(cx, o, name, 200, ret) != OK)
        return fail(cx, CONFIG, "integration %s: the credentials need \"%s\"", i->name, name);
    return OK;
}

rc znet_new(struct cx *cx, const struct integration *i, const struct settings *s,
            const cJSON *settings, const cJSON *credentials, struct adapter *ret)
{
    static const char *const names[] = {COMMON_SETTINGS, "phone", "extra_field", NULL};
    const char *kod, *sifre, *phone, *extra;
    struct transport t;

    try(json_only(cx, settings, names));
    try(transport_read(cx, i->base_url, settings, s, &t));
    try(json_str_opt(cx, settings, "phone", 20, &phone));
    try(json_str_opt(cx, settings, "extra_field", 20, &extra));
    if (extra && strcmp(extra, "apply") != 0 && strcmp(extra, "ignore") != 0)
        return fail_at(cx, INVALID_FIELD, "/extra_field", "must be \"apply\" or \"ignore\"");
    try(read_credential(cx, i, credentials, "kod", &kod));
    try(read_credential(cx, i, credentials, "sifre", &sifre));

    struct znet *z = xcalloc(1, sizeof *z);
    z->transport = t;
    z->transport.base_url = arena_strdup(&z->arena, i->base_url);
    z->kod = arena_strdup(&z->arena, kod);
    z->sifre = arena_strdup(&z->arena, sifre);
    z->phone = arena_strdup(&z->arena, phone ? phone : "");
    z->apply_extra = !extra || strcmp(extra, "apply") == 0;
    *ret = (struct adapter){.ops = &ops, .self = z};
    return OK;
}
