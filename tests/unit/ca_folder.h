/* ca_folder.h - a CA in a folder of its own, gone at the end of the test.
 *
 *     _folder_ f = folder_new();
 *     folder_init(&f, "Test CA");
 *     folder_issue(&f, "shop-1", CA_CLIENT);
 *     ... folder_path(&f, "issued/shop-1.crt")
 *
 * What fails here ends the program: also outside of a test, where Check's assertions do not work. */
#pragma once
#include "base/clock.h"
#include "base/cx.h"
#include "secure/ca.h"
#include "tests/unit/unit.h"
#include <ftw.h>
#include <string.h>
#include <unistd.h>

#define DAY_MS 86400000LL

struct folder {
    char dir[64];
    struct cx cx; /* its arena holds what the helpers return */
};

static int folder_remove_one(const char *path, const struct stat *st, int type, struct FTW *at)
{
    return remove(path);
}

static inline void folder_release(struct folder *f)
{
    nftw(f->dir, folder_remove_one, 8, FTW_DEPTH | FTW_PHYS);
    cx_release(&f->cx);
}
#define _folder_ _cleanup_(folder_release) struct folder

static inline struct folder folder_new(void)
{
    struct folder f = {.dir = "/tmp/mihwar-ca-XXXXXX", .cx = CX_PLAIN("test")};

    if (!mkdtemp(f.dir))
        abort();
    return f;
}

static inline const char *folder_path(struct folder *f, const char *file)
{
    return arena_printf(&f->cx.arena, "%s/%s", f->dir, file);
}

#define folder_ok(f, expr)                                                                         \
    do {                                                                                           \
        rc folder_rc_ = (expr);                                                                    \
        if (folder_rc_ != OK) {                                                                    \
            fprintf(stderr, "%s: %s\n", #expr, cx_words(&(f)->cx, folder_rc_));                    \
            abort();                                                                               \
        }                                                                                          \
    } while (0)

static inline void folder_init(struct folder *f, const char *cn)
{
    struct ca_issued self;
    int64_t now_ms = clock_ms();

    folder_ok(f, ca_init(&f->cx, f->dir, cn, now_ms + 3650 * DAY_MS, now_ms + 30 * DAY_MS, &self));
}

/* Good from `from` days from now until `until` days from now. */
static inline struct ca_issued folder_issue_at(struct folder *f, const char *name,
                                               enum ca_kind kind, int from, int until)
{
    struct ca_request q = {.name = name,
                           .kind = kind,
                           .dns = kind == CA_SERVER ? "localhost,hub.example" : NULL,
                           .ip = kind == CA_SERVER ? "127.0.0.1,::1" : NULL,
                           .from_ms = from ? clock_ms() + from * DAY_MS : 0,
                           .until_ms = clock_ms() + until * DAY_MS};
    struct ca_issued c;

    folder_ok(f, ca_issue(&f->cx, f->dir, &q, &c));
    return c;
}

static inline struct ca_issued folder_issue(struct folder *f, const char *name, enum ca_kind kind)
{
    return folder_issue_at(f, name, kind, 0, 365);
}

static inline void folder_revoke(struct folder *f, const char *which)
{
    struct ca_issued c;

    folder_ok(f, ca_revoke(&f->cx, f->dir, which, clock_ms() + 30 * DAY_MS, &c));
}
