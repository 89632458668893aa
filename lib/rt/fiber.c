/* fiber.c - fibers, their ready list and their timers.
 *
 *      fibers_run --switch--> fiber --park: switch--> fibers_run --switch--> the next fiber ...
 *
 * Switches always go through the loop's stack, so there is one place where a fiber is entered and
 * left. The ready list is FIFO; a fiber is in it at most once (`queued`).
 *
 * A wake is a bit (`woken`), not a counter: set by fiber_wake, consumed by the park that returns
 * OK. Set before the park it makes that park return at once, so that nothing is lost between
 * looking at a condition and parking.
 *
 * Timers are lazy. Most waits end long before their deadline, and arming a timer for each would
 * cost more than the wait: the one timer of a fiber stays where it is when a wait ends. When it
 * fires and the fiber waits for something later, it is armed again for that. So a fiber costs one
 * timer operation per deadline that passes, not per park. */
#include "rt/fiber.h"
#include "base/clock.h"
#include "base/log.h"
#include "rt/context.h"
#include "rt/internal.h"
#include "rt/loop.h"
#include "rt/sanitize.h"
#include "rt/stack.h"
#include <assert.h>
#include <event2/event.h>
#include <event2/event_struct.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum fiber_state { READY, RUNNING, PARKED, SLEEPING, ENDED };

struct fiber {
    struct cx cx;
    enum fiber_state state;
    bool woken, queued, detached;
    rc result;
    fiber_fn fn;
    void *arg;

    void *sp; /* where it goes on */
    struct stack stack;
    void *fake_stack; /* the address sanitizer's */
    void *tsan;       /* the thread sanitizer's idea of it */

    struct fiber *ready_next;
    struct fiber *prev, *next; /* every fiber that is not freed */
    struct fiber *joiner;

    int64_t until_mono_ms; /* PARKED, SLEEPING: ends then at the latest; 0: never */
    int64_t armed_mono_ms; /* when the timer fires; 0: not armed */
    struct event timer;

    const char *where; /* the function that waits */
    int64_t born_mono_ms;
};

#define RUN_BUDGET                                                                                 \
    1024 /* switches before the sockets are looked at again, some 50 us of switching alone */

static struct {
    struct fiber *current;
    struct fiber *ready, **ready_tail;
    struct fiber *all;
    size_t living;
    void *loop_sp;
#ifdef MW_ASAN
    void *loop_fake_stack;
    const void *loop_stack_low;
    size_t loop_stack_size;
#endif
#ifdef MW_TSAN
    void *loop_tsan;
#endif
} rt = {.ready_tail = &rt.ready};

/* --- switching --- */

#ifdef MW_ASAN
static void entering(struct fiber *f)
{
    __sanitizer_start_switch_fiber(&rt.loop_fake_stack, f->stack.low, f->stack.size);
}
static void entered(struct fiber *f)
{
    __sanitizer_finish_switch_fiber(f->fake_stack, &rt.loop_stack_low, &rt.loop_stack_size);
}
static void leaving(struct fiber *f, bool for_ever)
{
    __sanitizer_start_switch_fiber(for_ever ? NULL : &f->fake_stack, rt.loop_stack_low,
                                   rt.loop_stack_size);
}
static void left(void)
{
    __sanitizer_finish_switch_fiber(rt.loop_fake_stack, NULL, NULL);
}
#elif defined(MW_TSAN)
/* Macros: a function would be entered in the history of one stack and left in that of another. */
#define entering(f)                                                                                \
    (rt.loop_tsan = __tsan_get_current_fiber(),                                                    \
     (f)->tsan = (f)->tsan ? (f)->tsan : __tsan_create_fiber(0),                                   \
     __tsan_switch_to_fiber((f)->tsan, 0))
#define entered(f)           ((void)(f))
#define leaving(f, for_ever) __tsan_switch_to_fiber(rt.loop_tsan, 0)
#define left()               ((void)0)
#else
#define entering(f)          ((void)(f))
#define entered(f)           ((void)(f))
#define leaving(f, for_ever) ((void)(f))
#define left()               ((void)0)
#endif

static void enter(struct fiber *f)
{
    rt.current = f;
    f->state = RUNNING;
    stack_running(&f->stack);
    log_set_cx(&f->cx);
    entering(f);
    context_switch(&rt.loop_sp, f->sp);
    left();
    log_set_cx(NULL);
    stack_running(NULL);
    rt.current = NULL;
}

/* To the loop's stack; returns when the loop enters f again. */
static void leave(struct fiber *f, enum fiber_state state, const char *where)
{
    f->state = state;
    f->where = where;
    leaving(f, state == ENDED);
    context_switch(&f->sp, rt.loop_sp);
    entered(f);
}

static void first_frame(void)
{
    struct fiber *f = rt.current;

    entered(f);
    f->result = f->fn(&f->cx, f->arg);
    if (f->result != OK && f->result != E_CANCELLED && f->detached)
        log_fail(LOG_WARN, "fiber.failed", &f->cx, f->result); /* nobody else will hear of it */
    cx_release(&f->cx);
    leave(f, ENDED, NULL);
    abort(); /* an ended fiber was entered */
}

/* --- ready list, timer --- */

static void make_ready(struct fiber *f)
{
    if (f->queued)
        return;
    f->queued = true;
    f->ready_next = NULL;
    *rt.ready_tail = f;
    rt.ready_tail = &f->ready_next;
    loop_is_wanted();
}

bool fibers_ready(void)
{
    return rt.ready != NULL;
}

static void arm_timer(struct fiber *f, int64_t at_mono_ms)
{
    if (f->armed_mono_ms && f->armed_mono_ms <= at_mono_ms)
        return; /* it looks again when it fires */
    int64_t ms = MAX(at_mono_ms - clock_mono_ms(), 1);
    struct timeval tv = {.tv_sec = ms / 1000, .tv_usec = ms % 1000 * 1000};
    if (evtimer_add(&f->timer, &tv) != 0)
        abort(); /* out of memory; a fiber without its timer would hang */
    f->armed_mono_ms = at_mono_ms;
}

static void on_timer(evutil_socket_t fd, short what, void *arg)
{
    struct fiber *f = arg;

    (void)fd;
    (void)what;
    f->armed_mono_ms = 0;
    if ((f->state != PARKED && f->state != SLEEPING) || f->until_mono_ms == 0)
        return;
    if (clock_mono_ms() < f->until_mono_ms) /* libevent's clock is coarse: it may be 4 ms early */
        arm_timer(f, f->until_mono_ms);
    else
        make_ready(f);
}

/* --- life --- */

struct fiber *fiber_spawn(const struct fiber_opts *o, fiber_fn fn, void *arg)
{
    struct fiber *f = xcalloc(1, sizeof *f);
    const struct cx *from = o->inherit;

    f->cx.fiber = f;
    f->cx.name = o->name ? o->name : "fiber";
    if (from) {
        f->cx.deadline_mono_ms = from->deadline_mono_ms;
        memcpy(f->cx.trace, from->trace, sizeof f->cx.trace);
        memcpy(f->cx.span, from->span, sizeof f->cx.span);
        f->cx.sampled = from->sampled;
        memcpy(f->cx.request_id, from->request_id, sizeof f->cx.request_id);
        memcpy(f->cx.subject, from->subject, sizeof f->cx.subject);
    }
    if (o->timeout_ms)
        cx_deadline_within(&f->cx, o->timeout_ms);
    f->fn = fn;
    f->arg = arg;
    f->born_mono_ms = clock_mono_ms();
    f->stack.name = f->cx.name;
    stack_get(&f->stack, o->stack_bytes);
    f->sp = context_make(f->stack.low, f->stack.size, first_frame);
    evtimer_assign(&f->timer, loop_base(), on_timer, f);
    f->next = rt.all;
    if (rt.all)
        rt.all->prev = f;
    rt.all = f;
    rt.living++;
    make_ready(f);
    return f;
}

static void free_fiber(struct fiber *f)
{
    assert(f->state == ENDED);
    if (f->next)
        f->next->prev = f->prev;
    if (f->prev)
        f->prev->next = f->next;
    else
        rt.all = f->next;
    free(f);
}

static void bury(struct fiber *f)
{
    event_del(&f->timer);
#ifdef MW_TSAN
    __tsan_destroy_fiber(f->tsan);
#endif
    stack_put(&f->stack);
    rt.living--;
    if (f->detached)
        free_fiber(f);
    else if (f->joiner)
        fiber_wake(f->joiner);
}

void fibers_run(void)
{
    for (int i = 0; rt.ready && i < RUN_BUDGET; i++) {
        struct fiber *f = rt.ready;
        rt.ready = f->ready_next;
        if (!rt.ready)
            rt.ready_tail = &rt.ready;
        f->queued = false;
        enter(f);
        if (f->state == ENDED)
            bury(f);
    }
}

void fibers_forget(void)
{
    while (rt.all)
        free_fiber(rt.all);
    stack_forget();
}

void fiber_detach(struct fiber *f)
{
    assert(!f->detached);
    f->detached = true;
    if (f->state == ENDED)
        free_fiber(f);
}

rc fiber_join(struct cx *cx, struct fiber *f, rc *ret_rc)
{
    assert(!f->detached && !f->joiner && f != rt.current);
    f->joiner = cx->fiber;
    while (f->state != ENDED) {
        rc r = fiber_park_in(cx, "fiber_join");
        if (r == OK || f->state == ENDED)
            continue;
        f->joiner = NULL;
        f->detached = true;
        fiber_cancel(f);
        return r;
    }
    if (f->result != OK && f->cx.err.code == f->result)
        cx->err = f->cx.err;
    else if (f->result != OK)
        fail_rc(cx, f->result, "%s", error_info(f->result)->text);
    if (ret_rc)
        *ret_rc = f->result;
    free_fiber(f);
    return OK;
}

void fiber_cancel(struct fiber *f)
{
    f->cx.cancelled = true;
    if (f->state == PARKED || f->state == SLEEPING)
        make_ready(f);
}

void fiber_cancel_all(void)
{
    for (struct fiber *f = rt.all; f; f = f->next)
        fiber_cancel(f);
}

struct cx *fiber_cx(struct fiber *f)
{
    return &f->cx;
}

struct fiber *fiber_self(void)
{
    return rt.current;
}

void fiber_shrink(void)
{
    if (rt.current)
        stack_shrink(&rt.current->stack, __builtin_frame_address(0));
}

size_t fiber_count(void)
{
    return rt.living;
}

/* --- waiting --- */

static rc given_up(struct cx *cx, const struct fiber *f, const char *where)
{
    if (f->cx.cancelled || cx->cancelled)
        return fail(cx, CANCELLED, "%s was cancelled in %s", f->cx.name, where);
    if (cx->deadline_mono_ms && clock_mono_ms() >= cx->deadline_mono_ms)
        return fail(cx, DEADLINE, "%s took longer than allowed, in %s", f->cx.name, where);
    return OK;
}

rc fiber_park_in(struct cx *cx, const char *where)
{
    struct fiber *f = cx->fiber;

    assert(f && f == rt.current);
    try(given_up(cx, f, where));
    if (!f->woken) {
        f->until_mono_ms = cx->deadline_mono_ms;
        if (f->until_mono_ms)
            arm_timer(f, f->until_mono_ms);
        leave(f, PARKED, where);
    }
    if (!f->woken || f->cx.cancelled)
        return given_up(cx, f, where);
    f->woken = false;
    return OK;
}

void fiber_wake(struct fiber *f)
{
    f->woken = true;
    if (f->state == PARKED)
        make_ready(f);
}

rc fiber_sleep_in(struct cx *cx, int64_t ms, const char *where)
{
    struct fiber *f = cx->fiber;
    int64_t end = clock_mono_ms() + MAX(ms, 0), deadline = cx->deadline_mono_ms;

    assert(f && f == rt.current);
    try(given_up(cx, f, where));
    if (ms > 0) {
        f->until_mono_ms = deadline ? MIN(end, deadline) : end;
        arm_timer(f, f->until_mono_ms);
    } else {
        f->until_mono_ms = 0;
        make_ready(f);
    }
    leave(f, SLEEPING, where); /* wakes are kept for the next park */
    if (f->cx.cancelled || (deadline && deadline < end))
        return given_up(cx, f, where);
    return OK;
}

/* --- looking --- */

static const char *const words[] = {"ready", "running", "parked", "sleeping", "ended"};

void fiber_dump(void)
{
    int64_t now = clock_mono_ms();

    log_ev(LOG_INFO, "fiber.dump", kv_int("living", (int64_t)rt.living));
    for (const struct fiber *f = rt.all; f; f = f->next) {
        const struct cx *cx = &f->cx;
        log_ev(LOG_INFO, "fiber.seen", kv_str("name", cx->name), kv_str("state", words[f->state]),
               kv_str("in", f->where ? f->where : "-"), kv_int("age_ms", now - f->born_mono_ms),
               kv_int("left_ms", cx->deadline_mono_ms ? cx->deadline_mono_ms - now : -1),
               kv_bool("cancelled", cx->cancelled),
               kv_str("about", *cx->subject ? cx->subject : "-"));
    }
}

#define RAW_MAX 32

/* The list may be in the middle of a change: whoever calls this dies anyway. */
void fiber_dump_raw(void)
{
    const struct fiber *f = rt.all;

    for (int i = 0; f && i < RAW_MAX; f = f->next, i++) {
        log_raw("lvl=info ev=fiber.seen name=");
        log_raw(f->cx.name ? f->cx.name : "-");
        log_raw(" state=");
        log_raw(words[f->state]);
        log_raw(" in=");
        log_raw(f->where ? f->where : "-");
        log_raw(" about=");
        log_raw(*f->cx.subject ? f->cx.subject : "-");
        log_raw("\n");
    }
}
