/* adapter.h - the adapters there are: an integration's kind, settings and credentials made into something that can be asked. */
#pragma once
#include "base/settings.h"
#include "domain/shop/integrations.h"
#include "worker/providers/provider.h"

struct adapter {
    const struct provider_ops *ops;
    void *self;           /* freed with ops->free */
    bool uuid_references; /* UUIDs; else digits */
};

/* Everything that can be judged without a call is judged here. i->credentials must be opened. Errors: CONFIG, naming the setting or
 * credential at fault ("settings /place/path: …"), without its value. */
rc adapter_new(struct cx *cx, const struct integration *i, const struct settings *s,
               struct adapter *ret);
void adapter_free(struct adapter *a); /* zeroed afterwards */

/* One kind each; settings and credentials are parsed objects (cx's arena). */
rc znet_new(struct cx *cx, const struct integration *i, const struct settings *s,
            const cJSON *settings, const cJSON *credentials, struct adapter *ret);
rc generic_new(struct cx *cx, const struct integration *i, const struct settings *s,
               const cJSON *settings, const cJSON *credentials, struct adapter *ret);
