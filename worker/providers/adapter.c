/* adapter.c - which adapter a kind is, and errors that say where. */
#include "worker/providers/adapter.h"
#include "base/json.h"
#include <string.h>

#define SETTINGS_MAX KiB(64)

static rc parse_object(struct cx *cx, const char *what, const char *text, const cJSON **ret)
{
    cJSON *o;

    if (!text)
        return fail(cx, CONFIG, "the %s are not there", what);
    rc r = json_parse(cx, text, strlen(text), SETTINGS_MAX, &o);
    if (r != OK || !cJSON_IsObject(o))
        return fail(cx, CONFIG, "the %s are not a JSON object", what);
    *ret = o;
    return OK;
}

rc adapter_new(struct cx *cx, const struct integration *i, const struct settings *s,
               struct adapter *ret)
{
    const cJSON *settings = NULL, *credentials = NULL;

    *ret = (struct adapter){0};
    try(parse_object(cx, "settings", i->settings, &settings));
    try(parse_object(cx, "credentials", i->credentials, &credentials));
    rc r = i->kind == PROVIDER_ZNET ? znet_new(cx, i, s, settings, credentials, ret)
                                    : generic_new(cx, i, s, settings, credentials, ret);
    if (r == E_INVALID_FIELD)
        return fail(cx, CONFIG, "integration %s: settings %s: %s", i->name, cx->err.pointer,
                    cx->err.text);
    return r;
}

void adapter_free(struct adapter *a)
{
    if (a->self)
        a->ops->free(a->self);
    *a = (struct adapter){0};
}
