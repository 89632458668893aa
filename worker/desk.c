/* desk.c - see desk.h. */
#include "worker/desk.h"
#include "base/util.h"
#include "rt/loop.h"
#include <errno.h>
#include <event2/event.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

struct slip {
    struct slip *next;
    void (*fn)(void *arg);
    void *arg;
};

static struct {
    pthread_mutex_t lock;
    bool open;
    pthread_t owner;
    struct slip *head, **tail;
    int bell;
    struct event *on_bell;
} desk = {.lock = PTHREAD_MUTEX_INITIALIZER, .bell = -1};

void desk_clear(void)
{
    struct slip *s, *next;

    pthread_mutex_lock(&desk.lock);
    s = desk.tail ? desk.head : NULL;
    desk.head = NULL;
    desk.tail = &desk.head;
    pthread_mutex_unlock(&desk.lock);
    for (; s; s = next) {
        next = s->next;
        s->fn(s->arg);
        free(s);
    }
}

static void on_bell(evutil_socket_t fd, short what, void *arg)
{
    uint64_t rings;

    (void)what, (void)arg;
    if (read(fd, &rings, sizeof rings) == sizeof rings)
        desk_clear();
}

rc desk_open(struct cx *cx)
{
    desk.bell = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    desk.on_bell = desk.bell < 0
                       ? NULL
                       : event_new(loop_base(), desk.bell, EV_READ | EV_PERSIST, on_bell, NULL);
    if (!desk.on_bell || event_add(desk.on_bell, NULL) != 0)
        return fail(cx, OS, "no bell for the desk: %s", strerror(errno));
    pthread_mutex_lock(&desk.lock);
    desk.owner = pthread_self();
    desk.head = NULL;
    desk.tail = &desk.head;
    desk.open = true;
    pthread_mutex_unlock(&desk.lock);
    return OK;
}

void desk_close(void)
{
    pthread_mutex_lock(&desk.lock);
    bool open = desk.open;
    desk.open = false;
    pthread_mutex_unlock(&desk.lock);
    if (!open)
        return;
    desk_clear();
    event_free(desk.on_bell);
    close(desk.bell);
}

bool desk_post(void (*fn)(void *arg), void *arg)
{
    const uint64_t one = 1;
    struct slip *s = xmalloc(sizeof *s);

    *s = (struct slip){NULL, fn, arg};
    pthread_mutex_lock(&desk.lock);
    bool open = desk.open;
    if (open) {
        *desk.tail = s;
        desk.tail = &s->next;
        if (write(desk.bell, &one, sizeof one) != sizeof one && errno != EAGAIN)
            abort(); /* EAGAIN: it rings already */
    }
    pthread_mutex_unlock(&desk.lock);
    if (!open)
        free(s);
    return open;
}

bool desk_is_mine(void)
{
    pthread_mutex_lock(&desk.lock);
    bool mine = desk.open && pthread_equal(desk.owner, pthread_self());
    pthread_mutex_unlock(&desk.lock);
    return mine;
}

bool desk_is_open(void)
{
    pthread_mutex_lock(&desk.lock);
    bool open = desk.open;
    pthread_mutex_unlock(&desk.lock);
    return open;
}
