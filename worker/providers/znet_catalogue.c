/* znet_catalogue.c - pin_listesi.php: {"success":true,"result":[{...}],"error":null}.
 *
 * All values are strings, numbers among them; names carry HTML. What orders a row is the pair (oyun_bilgi_id, kupur), and the
 * pair is not unique: the vendor's own sample has two products under one. Such rows are marked ambiguous, so that nobody is
 * sent the other product. */
#include "base/text.h"
#include "worker/providers/catalogue.h"
#include "worker/providers/ptext.h"
#include "worker/providers/znet_parse.h"
#include <stdlib.h>
#include <string.h>

static const char *text_of(struct cx *cx, const cJSON *o, const char *name)
{
    const char *s = json_text(cx, cJSON_GetObjectItemCaseSensitive(o, name));

    return s ? str_trim(arena_strdup(&cx->arena, s)) : "";
}

static int by_pair(const void *a, const void *b)
{
    const struct catalogue_row *const *x = a, *const *y = b;
    int d = strcmp((*x)->product, (*y)->product);

    return d ? d : strcmp((*x)->kupur, (*y)->kupur);
}

static void mark_ambiguous(struct cx *cx, struct catalogue_row *rows, size_t n)
{
    struct catalogue_row **sorted = arena_alloc(&cx->arena, (n + 1) * sizeof *sorted);

    for (size_t i = 0; i < n; i++)
        sorted[i] = &rows[i];
    qsort(sorted, n, sizeof *sorted, by_pair);
    for (size_t i = 1; i < n; i++) {
        if (by_pair(&sorted[i - 1], &sorted[i]) == 0)
            sorted[i - 1]->ambiguous = sorted[i]->ambiguous = true;
    }
}

static bool id_fits(const char *s)
{
    return *s && strlen(s) <= 120;
}

static bool read_row(struct cx *cx, const cJSON *config, const cJSON *o, struct catalogue_row *ret)
{
    struct arena *a = &cx->arena;
    const char *id = text_of(cx, o, "id"), *price = text_of(cx, o, "fiyat");
    const char *game = text_of(cx, o, "oyun_bilgi_id"), *kupur = text_of(cx, o, "kupur");

    *ret = (struct catalogue_row){
        .id = id,
        .product = game,
        .kupur = kupur,
        .name = ptext_plain(a, text_of(cx, o, "adi"), 200),
        .game = ptext_plain(a, text_of(cx, o, "oyun_adi"), 200),
        .price = ptext_decimal(a, price, strlen(price)),
        .available = true, /* what is not sold is not listed */
    };
    if (!id_fits(id) || !id_fits(game) || !id_fits(kupur) || !*ret->name)
        return false;
    ret->raw = json_print(cx, o);
    return true;
}

void znet_parse_catalogue(struct cx *cx, const struct http_response *h,
                          struct catalogue_answer *ret)
{
    struct balance_answer plain;
    cJSON *root = NULL;

    *ret = (struct catalogue_answer){0};
    /* Everything that is no JSON reads as it does at the balance page: empty, HTML, "3|Yetkisiz erisim". */
    znet_parse_balance(&cx->arena, h, &plain);
    ret->answer = plain.answer;
    if (h->outcome != HTTP_ANSWERED || h->status < 200 || h->status > 299)
        return;
    const char *body = buf_str(&h->body);
    size_t len = h->body.len;
    if (len >= 3 && memcmp(body, "\xef\xbb\xbf", 3) == 0)
        body += 3, len -= 3;
    if (!utf8_valid(body, len)) {
        body = ptext_utf8(&cx->arena, body, len);
        len = strlen(body);
    }
    if (json_parse(cx, body, len, CATALOGUE_MAX, &root) != OK)
        return;
    const cJSON *list = cJSON_GetObjectItemCaseSensitive(root, "result");
    if (!cJSON_IsTrue(cJSON_GetObjectItemCaseSensitive(root, "success")) || !cJSON_IsArray(list)) {
        const char *error = json_text(cx, cJSON_GetObjectItemCaseSensitive(root, "error"));
        ret->answer.row = "success_false";
        if (error)
            ret->answer.note = ptext_clean(&cx->arena, error, strlen(error), ANSWER_NOTE_MAX);
        return;
    }
    catalogue_read(cx, list, read_row, NULL, h->took_ms, ret);
    mark_ambiguous(cx, ret->rows, ret->n);
}
