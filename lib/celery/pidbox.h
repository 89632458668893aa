/* pidbox.h - Celery's remote control: a request to all workers, an answer of each.
 *
 *   /3.celery.pidbox  --{method, arguments, destination, ticket, reply_to}-->  every worker
 *   OID.reply.celery.pidbox (list, found in _kombu.binding.reply.celery.pidbox)  <--{"node": answer}--
 *
 * Answers that nobody reads are gone after a minute (Celery's own stay for ever). */
#pragma once
#include "celery/celery.h"
#include "celery/events.h"

struct celery_request {
    const char *method, *ticket;
    struct raw arguments;
    const char *reply_exchange, *reply_key; /* NULL: no answer is wanted */
    int64_t clock;
    bool mine; /* for this node, and not too late */
};
/* From a message of the channel. Everything in cx's arena. */
rc celery_request_read(struct cx *cx, const char *text, size_t n, const char *node,
                       struct celery_request *ret);
/* `answer` is JSON. Nothing happens when no answer is wanted or the asker is gone. Parks. */
rc celery_answer(struct cx *cx, struct celery *c, const struct celery_request *q,
                 struct celery_clock *k, const char *node, const char *answer, size_t len) MW_PARKS;
/* Asks all workers, without waiting for answers: revoke and the like. `arguments` is a JSON object. Parks. */
rc celery_broadcast(struct cx *cx, struct celery *c, struct celery_clock *k, const char *method,
                    const char *arguments) MW_PARKS;
