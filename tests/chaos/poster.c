/* poster.c - a thread that posts. */
#include "tests/chaos/poster.h"
#include "tests/support/proc.h"
#include "tests/support/web.h"
#include <check.h>
#include <stdio.h>
#include <string.h>

#define PATIENCE_MS 5000

static void post(struct poster *p, int i, const char *url, const char *body)
{
    struct posted *o = &p->posted[i];
    char header[64];
    const char *headers[] = {header, NULL};

    snprintf(header, sizeof(header), "Idempotency-Key: chaos-%d", i);
    _cleanup_(web_reply_release) struct web_reply r =
        web(.url = url, .bearer = p->key, .body = body, .headers = headers,
            .timeout_ms = PATIENCE_MS);
    o->tries++;
    if (r.status == p->accepted_status) {
        snprintf(o->id, sizeof(o->id), "%s", web_text(&r, p->id_field));
    } else if (r.status != 0 && r.status < 500) {
        snprintf(p->broken_words, sizeof(p->broken_words), "number %d: %d %.400s", i, r.status,
                 r.body);
        p->broken = true;
    }
}

static void *post_all(void *arg)
{
    struct poster *p = arg;
    size_t hubs = 0;

    while (hubs < COUNT(p->urls) && p->urls[hubs][0])
        hubs++;
    for (int i = 0; i < p->n && !p->broken; i++) {
        char body[512], url[128];
        p->body(i, body, sizeof(body));
        while (!p->posted[i].id[0] && !p->broken) {
            size_t hub = (size_t)(i + p->posted[i].tries) % hubs; /* the next one after a failure */
            snprintf(url, sizeof(url), "%s%s", p->urls[hub], p->path);
            post(p, i, url, body);
            if (!p->posted[i].id[0])
                support_nap(50);
        }
        pthread_mutex_lock(&p->lock);
        p->done += p->posted[i].id[0] != '\0';
        pthread_mutex_unlock(&p->lock);
        support_nap(p->pace_ms);
    }
    return NULL;
}

void poster_start(struct poster *p)
{
    ck_assert_int_le(p->n, POSTED_MAX);
    ck_assert_int_eq(pthread_mutex_init(&p->lock, NULL), 0);
    ck_assert_int_eq(pthread_create(&p->thread, NULL, post_all, p), 0);
}

int poster_accepted(struct poster *p)
{
    pthread_mutex_lock(&p->lock);
    int n = p->done;
    pthread_mutex_unlock(&p->lock);
    return n;
}

int poster_join(struct poster *p)
{
    int tries = 0;

    pthread_join(p->thread, NULL);
    ck_assert_msg(!p->broken, "%s", p->broken_words);
    ck_assert_int_eq(p->done, p->n);
    for (int i = 0; i < p->n; i++)
        tries += p->posted[i].tries;
    return tries;
}
