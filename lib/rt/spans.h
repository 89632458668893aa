/* spans.h - what was done in a trace, sent as OTLP/HTTP JSON when otlp_url is set.
 *
 *   span_begin ... span_end --> queue (bounded) --> a fiber --> POST otlp_url, a batch at a time
 *
 * Without otlp_url, and in a trace that is not sampled, a span costs a look at a flag. Nothing waits for
 * the exporter: what does not fit into the queue, or is not taken, is dropped and counted.
 *
 *     struct span s;
 *     span_begin(cx, &s, SPAN_CLIENT, "provider.place");       cx->span is now its id
 *     rc r = call(cx);
 *     span_end(cx, &s, r == OK, SPAN_FACTS({"outcome", "answered"}));
 *
 * Spans nest; each is ended on the fiber that began it. Facts are copied; no secrets. */
#pragma once
#include "base/cx.h"

enum span_kind { SPAN_INTERNAL = 1, SPAN_SERVER, SPAN_CLIENT, SPAN_PRODUCER, SPAN_CONSUMER };

struct span {
    bool live;
    enum span_kind kind;
    const char *name;
    char parent[17];
    int64_t start_us;
};
struct span_fact {
    const char *name, *value; /* value NULL: left out */
};
#define SPAN_FACTS(...)                                                                            \
    (const struct span_fact[])                                                                     \
    {                                                                                              \
        __VA_ARGS__,                                                                               \
        {                                                                                          \
            NULL, NULL                                                                             \
        }                                                                                          \
    }

/* Per process, after loop_init; http_init must have been called. url "": off. service: "mihwar-hub".
 * percent: of the traces that begin here, so many are sampled; of those that come from outside, the
 * caller decides. count is told of
 * each batch. */
void spans_init(const char *url, const char *service, int64_t percent,
                void (*count)(int64_t sent, int64_t dropped, void *arg), void *arg);
void spans_free(void);
bool spans_on(void);
/* The context begins a trace if it has none; then it is decided whether it is sampled. */
void spans_root(struct cx *cx);

/* name must live until span_end. */
void span_begin(struct cx *cx, struct span *s, enum span_kind kind, const char *name);
void span_end(struct cx *cx, struct span *s, bool ok, const struct span_fact *facts);
