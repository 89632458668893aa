/* expire.c - a job that is not begun by its expires_at ends as cancelled, with the code "expired".
 *
 * A worker that claims it too late ends it so. Those that nobody claims are found here, in
 * PostgreSQL: first Redis forgets them (from then on nobody can claim them), unless one is leased,
 * which means that it has begun; then they end. A broker job lives in Redis alone and waits for its
 * claim. */
#include "pg/pg_array.h"
#include "queue/expire.sql.h"
#include "queue/flow/reached.h"
#include "queue/internal.h"
#include "queue/shards.h"
#include <stdlib.h>
#include <string.h>

#define FIRST_ID "00000000-0000-0000-0000-000000000000"

/* Those of one queue on the page, from row `at` on: taken out of Redis, and listed if they may end. */
static rc take_out(struct cx *cx, struct engine *e, const struct pg_result *page, int at,
                   bool *done, struct pg_array *ended)
{
    _cleanup_(freep) const char **ids = xmalloc(((size_t)pg_rows(page) + 1) * sizeof *ids);
    const char *queue = pg_text(page, at, 2);
    _cleanup_(freep) char *digits = xmalloc((size_t)pg_rows(page) + 1);
    size_t n = 0;

    for (int r = at; r < pg_rows(page); r++)
        if (!done[r] && strcmp(pg_text(page, r, 2), queue) == 0) {
            done[r] = true;
            ids[n++] = pg_text(page, r, 1);
        }
    try(shards_digits(cx, e, queue, &SCRIPT_EXPIRE,
                      KEYS_OF(QK_JOBS, QK_LEASE, QK_CANCEL, QK_UNIQUE, QK_UNIQUE_OF), ids, n,
                      digits));
    for (size_t i = 0; i < n; i++)
        if (digits[i] != '2')
            pg_array_s(ended, ids[i]);
    return OK;
}

static rc expire_page(struct cx *cx, struct engine *e, const struct pg_result *page,
                      int64_t *ret_expired)
{
    _cleanup_(pg_array_release) struct pg_array ended = PG_ARRAY(MiB(1));
    _cleanup_(pg_result_freep) struct pg_result *res = NULL;
    _cleanup_(freep) bool *done = xcalloc((size_t)pg_rows(page) + 1, sizeof *done);

    for (int r = 0; r < pg_rows(page); r++)
        if (!done[r])
            try(take_out(cx, e, page, r, done, &ended));
    if (ended.n == 0)
        return OK;
    try(flow_end(cx, e, &SQL_JOBS_EXPIRE, PG_ARGS(pg_a(&ended)), &res));
    *ret_expired += pg_int(res, 0, 0);
    return OK;
}

rc engine_expire(struct cx *cx, struct engine *e, int64_t *ret_expired)
{
    char after[ID_LEN + 1] = FIRST_ID;
    int64_t time = 0;

    *ret_expired = 0;
    for (;;) {
        _cleanup_(pg_result_freep) struct pg_result *page = NULL;
        try(pg_do(cx, e->db, SQL_JOBS_LATE, &page, pg_i(time), pg_s(after)));
        int n = pg_rows(page);
        if (n == 0)
            return OK;
        try(expire_page(cx, e, page, ret_expired));
        time = pg_int(page, n - 1, 0);
        memcpy(after, pg_text(page, n - 1, 1), ID_LEN);
    }
}
