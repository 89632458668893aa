/* key_usage.c - two small sets of ids, emptied every TELL_MS. More than one holds within a period: the
 * rest is told in the next one in which they are used; last_used_at is for people, not for
 * decisions. */
#include "hub/key_usage.h"
#include "base/log.h"
#include "domain/access/identities.h"
#include "domain/access/keys.h"
#include "rt/fiber.h"
#include <stdlib.h>
#include <string.h>

#define KEYS_MAX 256 /* a power of two: slots of an open hash */
#define TELL_MS  10000

struct used {
    size_t n;
    char slot[KEYS_MAX][ID_LEN + 1]; /* "" empty */
};
struct key_usage {
    struct pg *db;
    struct used keys, identities;
};

static size_t slot_of(const char *id)
{
    size_t h = 5381;

    for (const char *p = id; *p; p++)
        h = h * 33 + (unsigned char)*p;
    return h % KEYS_MAX;
}

static void note(struct used *u, const char *id)
{
    size_t i = slot_of(id);

    while (u->slot[i][0] && strcmp(u->slot[i], id) != 0)
        i = (i + 1) % KEYS_MAX;
    if (u->slot[i][0] || u->n >= KEYS_MAX / 2)
        return;
    memcpy(u->slot[i], id, ID_LEN + 1);
    u->n++;
}

void key_used(struct key_usage *u, const char *key_id)
{
    note(&u->keys, key_id);
}

void identity_used(struct key_usage *u, const char *identity_id)
{
    note(&u->identities, identity_id);
}

static rc tell_one(struct cx *cx, struct pg *db, struct used *u,
                   rc (*touch)(struct cx *cx, struct pg *db, const char *const *ids, size_t n))
{
    const char *ids[KEYS_MAX / 2];
    size_t n = 0;

    for (size_t i = 0; i < KEYS_MAX; i++) {
        if (u->slot[i][0])
            ids[n++] = arena_strdup(&cx->arena, u->slot[i]);
        u->slot[i][0] = 0;
    }
    u->n = 0;
    return touch(cx, db, ids, n);
}

/* A fiber of its own for each round, so that its memory ends with it. */
static rc tell(struct cx *cx, void *arg)
{
    struct key_usage *u = arg;
    rc r = tell_one(cx, u->db, &u->keys, key_touch);

    if (r == OK)
        r = tell_one(cx, u->db, &u->identities, identity_touch);
    if (r != OK)
        log_fail(LOG_WARN, "keys.usage_not_told", cx, r);
    return r;
}

static rc keep_telling(struct cx *cx, void *arg)
{
    struct key_usage *u = arg;
    rc told;

    for (;;) {
        try(fiber_sleep(cx, TELL_MS));
        if (u->keys.n + u->identities.n == 0)
            continue;
        try(fiber_join(
            cx,
            fiber_spawn(&(struct fiber_opts){.name = "hub.key_usage", .timeout_ms = TELL_MS}, tell,
                        u),
            &told));
    }
}

struct key_usage *key_usage_new(struct pg *db)
{
    struct key_usage *u = xcalloc(1, sizeof *u);

    u->db = db;
    fiber_detach(fiber_spawn(&(struct fiber_opts){.name = "hub.key_usage"}, keep_telling, u));
    return u;
}

struct key_usage *key_usage_free(struct key_usage *u)
{
    free(u);
    return NULL;
}
