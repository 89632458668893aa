/* message.h - the envelope of Celery 5.2: what lies in a queue.
 *
 *   {"body": base64 of [args, kwargs, {"callbacks","errbacks","chain","chord"}],
 *    "content-type", "content-encoding",
 *    "headers": {"task", "id", "retries", "eta", …}, "properties": {"delivery_tag", "delivery_info", …}}
 *
 * Read: protocol 2, and 1 (body is an object, headers are empty). Nothing in it is believed: what a worker
 * cannot do without is checked, the rest is copied as it is. Written: protocol 2. */
#pragma once
#include "base/id.h"
#include "celery/names.h"
#include "celery/raw.h"

#define CELERY_MESSAGE_MAX MiB(8)
#define CELERY_BODY_TYPE   "application/json"
#define CELERY_RETRIES_MAX 1000000
#define CELERY_DEATHS_MAX  1000

struct celery_message {
    struct raw whole, headers, properties; /* the envelope; headers as they came (protocol 1: {}) */
    const char *tag;                       /* delivery_tag */
    const char *exchange, *routing_key;
    int priority; /* 0 is the most urgent */
    bool redelivered;
    int deaths; /* workers of ours that died while they carried it out (header mihwar_deaths) */
    int protocol;
    const char *task, *id;
    const char *root_id, *parent_id, *group, *reply_to, *correlation_id; /* NULL: none */
    int64_t group_index;                                                 /* -1: none */
    int64_t eta_ms, expires_ms;                                          /* wall; 0: none */
    int retries;
    int64_t hard_ms, soft_ms; /* timelimit; 0: none */
    bool ignore_result;
    struct raw args, kwargs;                      /* an array, an object */
    struct raw callbacks, errbacks, chain, chord; /* arrays and an object; n = 0: none */
};

/* Reads an envelope; everything points into `text` or cx's arena. What is left of *ret after a failure is what was
 * read before it. Errors, with words for the dead letter: BODY_TOO_LARGE, BAD_UTF8, TOO_DEEP, BAD_JSON,
 * INVALID_FIELD, UNSUPPORTED_MEDIA. */
rc celery_message_read(struct cx *cx, const char *text, size_t n, struct celery_message *ret);

/* A new message. Texts are the caller's. */
struct celery_new {
    const char *task;
    char id[CELERY_NAME_MAX + 1]; /* "": made here (written back) */
    const char *queue;            /* its routing key, through the anonymous exchange */
    int priority;
    struct raw args, kwargs;                            /* n = 0: none */
    struct raw callbacks, errbacks, chain, chord;       /* n = 0: none */
    const char *root_id, *parent_id, *group, *reply_to; /* NULL: none; root: itself */
    int64_t group_index;                                /* -1: none */
    int64_t eta_ms, expires_ms;                         /* wall; 0: none */
    int retries;
    int64_t hard_ms, soft_ms;
    bool ignore_result;
    struct raw headers; /* further ones of the sender; those above win */
    const char *origin; /* "gen123@host" */
};
void celery_message_write(struct buf *b, struct celery_new *m);

/* The next try of a message: the same id, body and headers; one more of `retries` if counted, its own id as the
 * parent, an eta, a new tag. */
void celery_message_again(struct buf *b, const struct celery_message *m, bool counted,
                          int64_t eta_ms);
/* The same message once more, marked as redelivered; and, if its worker died over it, as having been aboard. */
void celery_message_redelivered(struct buf *b, const struct celery_message *m, bool aboard);

/* Any envelope: headers (an object's members, without braces) and a body, for events and the remote control. */
void celery_envelope_write(struct buf *b, const char *headers, const char *body, size_t body_len,
                           const char *exchange, const char *routing_key);
/* The body of any envelope, decoded, in cx's arena. */
rc celery_body_of(struct cx *cx, struct raw envelope, const char **ret, size_t *ret_n);

/* "2026-11-21T01:34:41.730467+00:00"; out holds 40 bytes. */
char *celery_time(int64_t ms, char *out);
