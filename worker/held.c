/* held.c - see held.h. */
#include "worker/held.h"
#include <assert.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>

struct slot {
    atomic_bool used;
    struct held_lease held;
};

struct held {
    int children;
    size_t slots, bytes;
    char names[HELD_CHILDREN][64];
    char queues[HELD_CHILDREN][HELD_QUEUES_MAX + 1];
    size_t used[HELD_CHILDREN]; /* slots that a child may use */
    size_t
        next[HELD_CHILDREN]; /* where its search for a free slot begins; only the child reads it */
    struct slot all[];
};

struct held *held_new(int children, size_t slots)
{
    size_t bytes = sizeof(struct held) + (size_t)children * slots * sizeof(struct slot);
    struct held *h = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);

    assert(children > 0 && children <= (int)COUNT(h->next));
    if (h == MAP_FAILED)
        abort();
    h->children = children;
    h->slots = slots;
    h->bytes = bytes;
    return h;
}

struct held *held_free(struct held *h)
{
    if (h)
        munmap(h, h->bytes);
    return NULL;
}

static struct slot *slot_at(struct held *h, int child, size_t i)
{
    assert(child >= 0 && child < h->children && i < h->slots);
    return &h->all[(size_t)child * h->slots + i];
}

void held_name(struct held *h, int child, const char *name, size_t slots, const char *queues)
{
    assert(slots <= h->slots);
    h->used[child] = slots;
    h->next[child] = 0;
    snprintf(h->queues[child], sizeof h->queues[child], "%s", queues);
    snprintf(h->names[child], sizeof h->names[child], "%s", name);
}

const char *held_queues_of(const struct held *h, int child)
{
    return h->queues[child];
}

const char *held_name_of(const struct held *h, int child)
{
    return h->names[child];
}

size_t held_put(struct held *h, int child, size_t queue, int shard, const struct lease *l)
{
    size_t i = h->next[child];

    for (size_t tried = 0;; tried++, i = (i + 1) % h->used[child]) {
        struct slot *s = slot_at(h, child, i);
        assert(tried < h->used[child]);
        if (atomic_load_explicit(&s->used, memory_order_relaxed))
            continue;
        s->held = (struct held_lease){.queue = queue, .shard = shard, .lease = *l};
        atomic_store_explicit(&s->used, true, memory_order_release);
        h->next[child] = (i + 1) % h->used[child];
        return i;
    }
}

void held_begin(struct held *h, int child, size_t slot)
{
    slot_at(h, child, slot)->held.begun = true;
}

void held_end(struct held *h, int child, size_t slot)
{
    slot_at(h, child, slot)->held.ended = true;
}

void held_drop(struct held *h, int child, size_t slot)
{
    atomic_store_explicit(&slot_at(h, child, slot)->used, false, memory_order_release);
}

size_t held_take(struct held *h, int child, struct held_lease **ret)
{
    struct held_lease *all = NULL;
    size_t n = 0;

    for (size_t i = 0; i < h->used[child]; i++) {
        struct slot *s = slot_at(h, child, i);
        if (!atomic_load_explicit(&s->used, memory_order_acquire))
            continue;
        all = xrealloc(all, (n + 1) * sizeof *all);
        all[n++] = s->held;
        atomic_store_explicit(&s->used, false, memory_order_release);
    }
    *ret = all;
    return n;
}
