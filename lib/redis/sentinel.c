/* sentinel.c - see sentinel.h.
 *
 * RESP2 allows nothing but subscriptions while one is there, so a question is three commands in one
 * write: UNSUBSCRIBE, the question, SUBSCRIBE. Each is answered in order; a message may come before
 * and between them. What an answer is can be seen from its form:
 *
 *   [ip, port]                     of GET-MASTER-ADDR-BY-NAME; nil: no such master
 *   [subscribe|unsubscribe, …, n]
 *   [message, +switch-master, "NAME old-ip old-port new-ip new-port"] */
#include "redis/sentinel.h"
#include "base/log.h"
#include "base/text.h"
#include "redis/link.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define CHANNEL "+switch-master"

struct sentinel {
    struct link *link;
    char *master;
    size_t count; /* of sentinels */
    struct sentinel_events on;
    void *arg;
    bool asked;    /* somebody waits for an answer */
    bool doubtful; /* the last answer has not proved right yet */
    size_t failed; /* sentinels that could not tell since then */
};

static void put(struct sentinel *s, int argc, const char **argv)
{
    char *text = NULL;
    int n = redisFormatCommandArgv(&text, argc, argv, NULL);

    if (n > 0)
        link_write(s->link, text, (size_t)n);
    free(text);
}

static void ask_now(struct sentinel *s)
{
    put(s, 2, (const char *[]){"UNSUBSCRIBE", CHANNEL});
    put(s, 3, (const char *[]){"SENTINEL", "GET-MASTER-ADDR-BY-NAME", s->master});
    put(s, 2, (const char *[]){"SUBSCRIBE", CHANNEL});
}

static void not_told(struct sentinel *s, const char *why)
{
    if (!s->asked || ++s->failed < s->count)
        return;
    s->asked = false;
    s->failed = 0;
    s->on.failed(s->arg, why);
}

static void told(struct sentinel *s, const char *host, int64_t port)
{
    s->asked = false;
    s->failed = 0;
    s->on.found(s->arg, host, (int)port);
}

/* ---------------------------------------------------------------- what comes back */

static bool is_text(const redisReply *r, const char *text)
{
    return r->type == REDIS_REPLY_STRING && strcmp(r->str, text) == 0;
}

/* "NAME old-ip old-port new-ip new-port" of any master that these sentinels watch. */
static void take_message(struct sentinel *s, const char *text)
{
    _cleanup_(freep) char *copy = xstrdup(text);
    char *save = NULL, *word[5];
    size_t n = 0;
    int64_t port;

    for (char *w = strtok_r(copy, " ", &save); w && n < COUNT(word); w = strtok_r(NULL, " ", &save))
        word[n++] = w;
    if (n < COUNT(word) || strcmp(word[0], s->master) != 0 || !parse_int(word[4], 1, 65535, &port))
        return;
    log_ev(LOG_WARN, "redis.master_moved", kv_str("master", s->master), kv_str("host", word[3]),
           kv_int("port", port));
    told(s, word[3], port);
}

/* The sentinel that answered is left for the next one. */
static void pass_on(struct sentinel *s, const char *why)
{
    bool more = s->asked && s->failed + 1 < s->count;

    not_told(s, why);
    if (more)
        link_next(s->link);
}

static void take(struct sentinel *s, const redisReply *r)
{
    int64_t port;
    char why[200];

    if (r->type == REDIS_REPLY_ARRAY && r->elements == 3) {
        if (is_text(r->element[0], "message") && r->element[2]->type == REDIS_REPLY_STRING)
            take_message(s, r->element[2]->str);
    } else if (r->type == REDIS_REPLY_ARRAY && r->elements == 2 &&
               r->element[0]->type == REDIS_REPLY_STRING &&
               r->element[1]->type == REDIS_REPLY_STRING &&
               parse_int(r->element[1]->str, 1, 65535, &port)) {
        told(s, r->element[0]->str, port);
    } else if (r->type == REDIS_REPLY_ERROR) {
        snprintf(why, sizeof why, "a sentinel answered: %s", r->str);
        pass_on(s, why);
    } else {
        snprintf(why, sizeof why, "the sentinels know no master of the name %s", s->master);
        pass_on(s, why);
    }
}

static void on_reply(void *arg, redisReply *r)
{
    take(arg, r);
    freeReplyObject(r);
}

/* Also after it was lost: what was missed meanwhile is in the answer. */
static void on_ready(void *arg, int64_t client_id)
{
    (void)client_id;
    ask_now(arg);
}

static void on_lost(void *arg, uint64_t taken, const char *why)
{
    (void)taken;
    not_told(arg, why);
}

static void on_failed(void *arg, const char *why)
{
    struct sentinel *s = arg;
    char words[240];

    snprintf(words, sizeof words, "no sentinel can be reached (%s)", why);
    not_told(s, words);
}

/* ---------------------------------------------------------------- what is asked */

void sentinel_ask(struct sentinel *s)
{
    bool other = s->doubtful && s->count > 1;

    s->asked = true;
    s->doubtful = true;
    s->failed = 0;
    link_start(s->link);
    if (other && link_ready(s->link))
        link_next(s->link);
    else if (link_ready(s->link))
        ask_now(s);
}

void sentinel_reached(struct sentinel *s)
{
    s->doubtful = false;
}

rc sentinel_new(struct cx *cx, const struct redis_url *u, const struct sentinel_events *e,
                void *arg, struct sentinel **ret)
{
    static const struct link_events events = {
        .ready = on_ready, .reply = on_reply, .lost = on_lost, .failed = on_failed};
    _cleanup_(redis_url_release) struct redis_url of;
    struct sentinel *s = xcalloc(1, sizeof *s);

    redis_url_of_sentinels(u, &of);
    s->master = xstrdup(u->master);
    s->count = u->nplaces;
    s->on = *e;
    s->arg = arg;
    rc r = link_new(cx, &of, /* any_role= */ true, &events, s, &s->link);
    if (r != OK) {
        sentinel_free(s);
        return r;
    }
    *ret = s;
    return OK;
}

struct sentinel *sentinel_free(struct sentinel *s)
{
    if (!s)
        return NULL;
    link_free(s->link);
    free(s->master);
    free(s);
    return NULL;
}
