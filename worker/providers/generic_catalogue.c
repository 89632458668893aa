/* generic_catalogue.c - a configured provider's list of goods. */
#include "base/text.h"
#include "worker/providers/catalogue.h"
#include "worker/providers/generic_parse.h"
#include "worker/providers/ptext.h"
#include <string.h>

static const char *text_of(struct cx *cx, const cJSON *o, const cJSON *path)
{
    const cJSON *v = path ? json_path(o, path->valuestring) : NULL;
    const char *s = v ? json_text(cx, v) : NULL;

    return s ? str_trim(arena_strdup(&cx->arena, s)) : "";
}

/* The list under the first of the paths that leads to one. */
static const cJSON *find_list(const cJSON *root, const cJSON *at)
{
    if (!at)
        return cJSON_IsArray(root) ? root : NULL;
    for (const cJSON *p = cJSON_IsArray(at) ? at->child : at; p;
         p = cJSON_IsArray(at) ? p->next : NULL) {
        const cJSON *v = json_path(root, p->valuestring);
        if (cJSON_IsArray(v))
            return v;
    }
    return NULL;
}

static bool read_row(struct cx *cx, const cJSON *c, const cJSON *o, struct catalogue_row *ret)
{
    const char *price = text_of(cx, o, cJSON_GetObjectItemCaseSensitive(c, "price"));
    const char *available = text_of(cx, o, cJSON_GetObjectItemCaseSensitive(c, "available"));

    *ret = (struct catalogue_row){
        .id = text_of(cx, o, cJSON_GetObjectItemCaseSensitive(c, "id")),
        .product = text_of(cx, o, cJSON_GetObjectItemCaseSensitive(c, "product")),
        .kupur = text_of(cx, o, cJSON_GetObjectItemCaseSensitive(c, "kupur")),
        .name = ptext_plain(&cx->arena, text_of(cx, o, cJSON_GetObjectItemCaseSensitive(c, "name")),
                            200),
        .game = ptext_plain(&cx->arena, text_of(cx, o, cJSON_GetObjectItemCaseSensitive(c, "game")),
                            200),
        .price = ptext_decimal(&cx->arena, price, strlen(price)),
        .available = strcmp(available, "false") != 0 && strcmp(available, "0") != 0,
    };
    if (!*ret->id || strlen(ret->id) > 120 || !*ret->product || strlen(ret->product) > 120 ||
        strlen(ret->kupur) > 120 || !*ret->name)
        return false;
    ret->raw = json_print(cx, o);
    return true;
}

void generic_parse_catalogue(struct cx *cx, const cJSON *config, const struct http_response *h,
                             struct catalogue_answer *ret)
{
    const cJSON *c = cJSON_GetObjectItemCaseSensitive(config, "catalogue"), *list = NULL;
    struct balance_answer plain;
    cJSON *root = NULL;

    *ret = (struct catalogue_answer){0};
    generic_parse_balance(cx, config, h, &plain); /* what is no list reads as it does there */
    ret->answer = plain.answer;
    ret->answer.kind = plain.ok ? ANSWER_UNCLEAR : plain.answer.kind;
    if (h->outcome != HTTP_ANSWERED || h->status < 200 || h->status > 299)
        return;
    if (json_parse(cx, buf_str(&h->body), h->body.len, CATALOGUE_MAX, &root) == OK)
        list = find_list(root, cJSON_GetObjectItemCaseSensitive(c, "at"));
    if (!list)
        return;
    catalogue_read(cx, list, read_row, c, h->took_ms, ret);
}
