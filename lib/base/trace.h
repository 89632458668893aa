/* trace.h - W3C trace context: which trace a context belongs to, and which span is its parent now.
 *
 *     traceparent: 00-TRACE-SPAN-FLAGS      cx->trace  cx->span  cx->sampled
 *
 * It comes with a request or with a job, and goes on with each job that is made and each call that is
 * answered for. Without spans (rt/spans.h) the caller's own span is passed on as it came. */
#pragma once
#include "base/cx.h"

#define TRACEPARENT_LEN 55
/* 00-<32 hex>-<16 hex>-<2 hex>, lower case, neither id all zeros; a version that is not known may have
 * more behind. False, and nothing is changed, when it is none (NULL too). */
bool trace_adopt(struct cx *cx, const char *traceparent);
/* A trace of its own, not sampled, with a span that nobody recorded; nothing when there is one. */
void trace_start(struct cx *cx);
/* out holds TRACEPARENT_LEN + 1 bytes; returns out. "" when there is no trace. */
char *trace_parent(const struct cx *cx, char *out);
/* The same in cx's arena; NULL when there is no trace. */
const char *trace_text(struct cx *cx);
