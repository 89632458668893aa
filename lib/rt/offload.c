/* offload.c - a queue, some threads, and a bell that the loop listens to.
 *
 *      fiber --work--> waiting --> thread: fn(arg) --> done --eventfd--> loop: wake the fiber
 *        `- gave up: waiter = NULL                                         or drop(arg)
 *           (work not begun yet is taken out and dropped at once)
 *
 * `pool.lock` guards the two lists and the state of each piece of work; no fiber parks while it is
 * held. */
#include "rt/offload.h"
#include "base/log.h"
#include "rt/loop.h"
#include <assert.h>
#include <errno.h>
#include <event2/event.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

#define QUEUE_MAX 1024
#define JOIN_MS   250 /* at the end, for work that is under way */

struct work {
    struct work *next;
    enum { WAITING, BEGUN, DONE } state;
    void (*fn)(void *arg);
    void (*drop)(void *arg);
    void *arg;
    struct fiber *waiter; /* loop thread only; NULL: gave up */
};

struct list {
    struct work *head, **tail;
};

static struct {
    bool up, stopping;
    unsigned threads;
    size_t queue_max, queued;
    pthread_t *ids;
    pthread_mutex_t lock;
    pthread_cond_t more;
    struct list waiting, done;
    int bell;
    struct event *on_bell;
} pool = {.lock = PTHREAD_MUTEX_INITIALIZER, .more = PTHREAD_COND_INITIALIZER};

static void push(struct list *l, struct work *w)
{
    w->next = NULL;
    *l->tail = w;
    l->tail = &w->next;
}

static struct work *pop(struct list *l)
{
    struct work *w = l->head;

    if (w) {
        l->head = w->next;
        if (!l->head)
            l->tail = &l->head;
    }
    return w;
}

static void take_out(struct list *l, const struct work *w)
{
    struct work **p = &l->head;

    while (*p != w)
        p = &(*p)->next;
    *p = w->next;
    if (!*p)
        l->tail = p;
}

static void give_up(struct work *w)
{
    if (w->drop)
        w->drop(w->arg);
    free(w);
}

static void *thread_main(void *arg)
{
    const uint64_t one = 1;

    (void)arg;
    pthread_mutex_lock(&pool.lock);
    for (;;) {
        struct work *w = pop(&pool.waiting);
        if (!w) {
            if (pool.stopping)
                break;
            pthread_cond_wait(&pool.more, &pool.lock);
            continue;
        }
        pool.queued--;
        w->state = BEGUN;
        pthread_mutex_unlock(&pool.lock);
        w->fn(w->arg);
        pthread_mutex_lock(&pool.lock);
        w->state = DONE;
        push(&pool.done, w);
        if (write(pool.bell, &one, sizeof one) != sizeof one && errno != EAGAIN)
            abort(); /* EAGAIN: it rings already; anything else would hang a fiber */
    }
    pthread_mutex_unlock(&pool.lock);
    return NULL;
}

static void collect(void)
{
    pthread_mutex_lock(&pool.lock);
    struct work *w = pool.done.head, *next;
    pool.done = (struct list){NULL, &pool.done.head};
    pthread_mutex_unlock(&pool.lock);
    for (; w; w = next) {
        next = w->next;
        if (w->waiter) {
            struct fiber *f = TAKE_PTR(w->waiter); /* NULL and DONE: it ran, see offload_run */
            fiber_wake(f);
        } else {
            give_up(w);
        }
    }
}

static void on_bell(evutil_socket_t fd, short what, void *arg)
{
    uint64_t rings;

    (void)what;
    (void)arg;
    if (read(fd, &rings, sizeof rings) == sizeof rings)
        collect();
}

void offload_init(unsigned threads, size_t queue_max)
{
    sigset_t all, old;
    long cores = sysconf(_SC_NPROCESSORS_ONLN);

    assert(!pool.up);
    pool.threads = threads ? threads : (unsigned)MAX(cores, 2);
    pool.queue_max = queue_max ? queue_max : QUEUE_MAX;
    pool.waiting = (struct list){NULL, &pool.waiting.head};
    pool.done = (struct list){NULL, &pool.done.head};
    pool.stopping = false;
    pool.queued = 0;
    pool.bell = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    pool.on_bell = event_new(loop_base(), pool.bell, EV_READ | EV_PERSIST, on_bell, NULL);
    if (pool.bell < 0 || !pool.on_bell || event_add(pool.on_bell, NULL) != 0) {
        fprintf(stderr, "lvl=fatal ev=offload.no_bell err=\"%s\"\n", strerror(errno));
        abort();
    }
    pool.ids = xcalloc(pool.threads, sizeof *pool.ids);
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &old); /* signals are the loop's business */
    for (unsigned i = 0; i < pool.threads; i++) {
        int e = pthread_create(&pool.ids[i], NULL, thread_main, NULL);
        if (e) {
            fprintf(stderr, "lvl=fatal ev=offload.no_thread err=\"%s\"\n", strerror(e));
            abort();
        }
    }
    pthread_sigmask(SIG_SETMASK, &old, NULL);
    pool.up = true;
}

/* A call that blocks in the kernel (a host that answers nothing) must not keep the process. */
static bool join_all(void)
{
    struct timespec end;
    bool ended = true;

    clock_gettime(CLOCK_REALTIME, &end);
    end.tv_sec += JOIN_MS / 1000;
    end.tv_nsec += JOIN_MS % 1000 * 1000000;
    if (end.tv_nsec >= 1000000000) {
        end.tv_sec++;
        end.tv_nsec -= 1000000000;
    }
    for (unsigned i = 0; i < pool.threads; i++)
        ended &= pthread_timedjoin_np(pool.ids[i], NULL, &end) == 0;
    return ended;
}

void offload_free(void)
{
    if (!pool.up)
        return;
    pthread_mutex_lock(&pool.lock);
    pool.stopping = true;
    pthread_cond_broadcast(&pool.more);
    pthread_mutex_unlock(&pool.lock);
    bool ended = join_all();
    collect();
    event_free(pool.on_bell);
    pool.up = false;
    if (!ended) { /* what it still uses stays: the process is about to end */
        log_ev(LOG_WARN, "offload.thread_left_behind", kv_int("waited_ms", JOIN_MS));
        return;
    }
    close(pool.bell);
    free(pool.ids);
}

rc offload_run(struct cx *cx, void (*fn)(void *arg), void *arg, void (*drop)(void *arg))
{
    if (!pool.up)
        offload_init(0, 0);
    struct work *w = xcalloc(1, sizeof *w);
    *w = (struct work){.fn = fn, .arg = arg, .drop = drop, .waiter = cx->fiber};

    pthread_mutex_lock(&pool.lock);
    bool full = pool.queued >= pool.queue_max;
    if (!full) {
        pool.queued++;
        push(&pool.waiting, w);
        pthread_cond_signal(&pool.more);
    }
    pthread_mutex_unlock(&pool.lock);
    if (full) {
        free(w);
        return fail(cx, OVERLOADED, "%zu pieces of work wait for a thread already", pool.queue_max);
    }

    rc r = OK;
    while (r == OK && w->waiter) /* collect() takes the waiter away when fn has returned */
        r = fiber_park_in(cx, "offload_run");
    if (!w->waiter && r == OK) {
        free(w);
        return OK;
    }
    bool collected = !w->waiter;
    w->waiter = NULL;
    pthread_mutex_lock(&pool.lock);
    bool waiting = w->state == WAITING;
    if (waiting) {
        take_out(&pool.waiting, w);
        pool.queued--;
    }
    pthread_mutex_unlock(&pool.lock);
    if (waiting || collected)
        give_up(w);
    return r;
}
