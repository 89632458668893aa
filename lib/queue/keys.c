/* keys.c - names of keys and tokens; see keys.h. */
#include "queue/keys.h"
#include "redis/slots.h"
#include <ctype.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char *const words[QK_READY] = {
    [QK_JOBS] = "jobs",       [QK_LEASE] = "lease",         [QK_SCHED] = "sched",
    [QK_STATS] = "stats",     [QK_RATE] = "rate",           [QK_WAIT] = "wait",
    [QK_GATE] = "gate",       [QK_EPOCH] = "epoch",         [QK_CANCEL] = "cancel",
    [QK_UNIQUE] = "unique",   [QK_UNIQUE_OF] = "unique_of", [QK_LAST] = "last",
    [QK_CRASHED] = "crashed", [QK_TALLY] = "tally",         [QK_WEIGHTS] = "weights",
    [QK_LIMITS] = "limits",   [QK_HELD] = "held",
};

static bool name_valid(const char *s, size_t max, bool upper)
{
    size_t n = 0;

    if (!s || !*s)
        return false;
    for (; s[n]; n++) {
        bool good = (s[n] >= 'a' && s[n] <= 'z') || (s[n] >= '0' && s[n] <= '9') ||
                    (upper && s[n] >= 'A' && s[n] <= 'Z') || strchr("_.-", s[n]);
        if (!good || n == max)
            return false;
    }
    return true;
}

bool queue_name_valid(const char *s)
{
    return name_valid(s, QUEUE_NAME_MAX, false);
}

bool task_name_valid(const char *s)
{
    return name_valid(s, TASK_NAME_MAX, true);
}

rc queue_name_check(struct cx *cx, const char *s)
{
    if (!queue_name_valid(s))
        return fail_at(cx, INVALID_FIELD, "/queue",
                       "a queue's name has 1 to %d characters of a-z 0-9 _ . -", QUEUE_NAME_MAX);
    return OK;
}

char *place_name(const char *queue, int shard, char out[PLACE_NAME_MAX + 1])
{
    if (shard == 0)
        snprintf(out, PLACE_NAME_MAX + 1, "%s", queue);
    else
        snprintf(out, PLACE_NAME_MAX + 1, "%.*s#%d", QUEUE_NAME_MAX, queue, shard);
    return out;
}

static bool place_parse(const char *place, struct queue_keys *k)
{
    const char *hash = place ? strchr(place, '#') : NULL;
    size_t n = hash ? (size_t)(hash - place) : place ? strlen(place) : 0;

    if (n == 0 || n > QUEUE_NAME_MAX)
        return false;
    memcpy(k->base, place, n);
    k->base[n] = 0;
    k->shard = hash ? atoi(hash + 1) : 0;
    if (k->shard < 0 || k->shard >= QUEUE_SHARDS_MAX || !queue_name_valid(k->base))
        return false;
    return strcmp(place_name(k->base, k->shard, k->queue), place) == 0;
}

/* What stands in the braces. A queue's own name for shard 0; for the others one is sought whose slot lies where
 * it should: the first 2, 4, 8, 16 shards stand evenly around the slots of a cluster, seen from the
 * queue's own, so that they do not meet on one node by chance. */
static void make_tag(const struct queue_keys *k, char *out, size_t size)
{
    int s = k->shard, home = slot_of_key(k->base, strlen(k->base));
    int want = (s & 1) << 3 | (s & 2) << 1 | (s & 4) >> 1 | (s & 8) >> 3;

    snprintf(out, size, "%s", k->queue);
    for (int salt = 1; s > 0; salt++) {
        int distance = (slot_of_key(out, strlen(out)) - home + SLOTS) % SLOTS;
        if (distance * QUEUE_SHARDS_MAX / SLOTS == want)
            return;
        snprintf(out, size, "%s.%d", k->queue, salt);
    }
}

rc queue_keys_make(struct cx *cx, const char *queue, struct queue_keys *k)
{
    char tag[PLACE_NAME_MAX + 12];

    if (!place_parse(queue, k))
        return queue_name_check(cx, "");
    make_tag(k, tag, sizeof tag);
    for (int i = 0; i < QK_COUNT; i++) {
        char ready[8];
        snprintf(ready, sizeof ready, "ready%d", 9 - (i - QK_READY));
        int n = snprintf(k->name[i], sizeof k->name[i], "mw:{%s}:%s", tag,
                         i < QK_READY    ? words[i]
                         : i == QK_WORDS ? "words"
                                         : ready);
        k->len[i] = (size_t)n;
    }
    return OK;
}

char *hub_key(const char *hub_id, char out[HUB_KEY_MAX])
{
    snprintf(out, HUB_KEY_MAX, "mw:hub:{%.36s}", hub_id);
    return out;
}

char *token_format(const struct lease *l, char out[TOKEN_MAX])
{
    snprintf(out, TOKEN_MAX, "%s:%d.%d.%d", l->id, l->generation, l->claim, l->snoozes);
    return out;
}

/* A number of digits only, without a leading zero, that fits an int; *p moves behind it. */
static bool take_number(const char **p, const char *end, int *ret)
{
    const char *s = *p;
    int64_t n = 0;

    while (s < end && isdigit((unsigned char)*s) && n <= INT_MAX)
        n = n * 10 + (*s++ - '0');
    if (s == *p || n > INT_MAX || (**p == '0' && s - *p > 1))
        return false;
    *p = s;
    *ret = (int)n;
    return true;
}

bool token_parse(const char *s, size_t len, struct lease *ret)
{
    struct lease l = {0};
    const char *end = s + len;
    char id[ID_LEN + 1];

    if (len < ID_LEN + 6 || s[ID_LEN] != ':')
        return false;
    memcpy(id, s, ID_LEN);
    id[ID_LEN] = 0;
    if (!id_parse(id, l.id) || memcmp(id, l.id, ID_LEN) != 0)
        return false;
    s += ID_LEN + 1;
    if (!take_number(&s, end, &l.generation) || s == end || *s++ != '.' ||
        !take_number(&s, end, &l.claim) || s == end || *s++ != '.' ||
        !take_number(&s, end, &l.snoozes) || s != end)
        return false;
    *ret = l;
    return true;
}
