/* workers.c - the register of worker processes, as it is shown. For operators' keys: a worker serves
 * all tenants. */
#include "queue/workers.h"
#include "hub/api/api.h"
#include "hub/hub.h"
#include <string.h>

rc workers_get(struct cx *cx, struct request *q)
{
    struct worker_info *w;
    bool first = true;
    size_t n;

    try(workers_list(cx, q->hub->engine, &w, &n));
    buf_puts(&q->out, "{\"data\":[");
    for (size_t i = 0; i < n; i++) {
        if (!w[i].silent && strcmp(w[i].kind, "worker") != 0)
            continue;
        buf_puts(&q->out, first ? "" : ",");
        worker_print(&q->out, &w[i]);
        first = false;
    }
    buf_puts(&q->out, "],\"next\":null}");
    return reply_json(cx, q, 200);
}
