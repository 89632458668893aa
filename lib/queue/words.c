/* words.c - how the worker died that carried a job out. A worker that is killed can tell nobody; its parent leaves the words
 * beside the job, and whoever gives the job up later writes them into its last attempt and its dead letter. */
#include "queue/internal.h"
#include <stdio.h>

static const char *head_of(const struct lease *l, char out[TOKEN_MAX])
{
    snprintf(out, TOKEN_MAX, "%s:%d", l->id, l->generation);
    return out;
}

rc engine_leave_words(struct cx *cx, struct engine *e, const char *queue, const struct lease *l,
                      const char *const *words, size_t n)
{
    for (size_t from = 0; from < n; from += QUEUE_BATCH) {
        _cleanup_(redis_reply_freep) redisReply *reply = NULL;
        _cleanup_(call_release) struct call c = {0};
        size_t batch = MIN(n - from, (size_t)QUEUE_BATCH);
        _cleanup_(freep) char(*heads)[TOKEN_MAX] = xmalloc(batch * sizeof *heads);
        const struct queue_keys *k;

        try(engine_keys(cx, e, queue, &k));
        call_begin(&c, e, &SCRIPT_WORDS, k, KEYS_OF(QK_WORDS), false, 2 * batch);
        for (size_t i = 0; i < batch; i++) {
            call_str(&c, head_of(&l[from + i], heads[i]));
            call_str(&c, words[from + i]);
        }
        try(call_run(cx, &c, REDIS_REPLY_INTEGER, &reply));
    }
    return OK;
}

rc engine_words(struct cx *cx, struct engine *e, const char *queue, const struct lease *l,
                char **ret)
{
    _cleanup_(redis_reply_freep) redisReply *reply = NULL;
    const struct queue_keys *k;
    char head[TOKEN_MAX];

    try(engine_keys(cx, e, queue, &k));
    try(redis_cmd(cx, e->redis, &reply, "HGET %s %s", k->name[QK_WORDS], head_of(l, head)));
    *ret = reply->type == REDIS_REPLY_STRING ? text_cleaned(reply->str, (size_t)reply->len) : NULL;
    return OK;
}
