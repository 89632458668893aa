/* books.c - see books.h. */
#include "tests/chaos/books.h"
#include "base/json.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int64_t books_unsettled(struct house *h)
{
    return pg_one_int(
        h->stores.database_url,
        "SELECT (SELECT count(*) FROM product_orders WHERE status NOT IN ('completed', 'failed', "
        "'cancelled', 'review')) + (SELECT count(*) FROM jobs WHERE live AND task LIKE "
        "'order.%%')");
}

char *books_timelines(struct house *h, const char *where)
{
    return pg_table(
        h->stores.database_url,
        "SELECT o.user_identifier, o.status, to_char(o.created_at, 'MI:SS.MS') || ' posted, ' || "
        "string_agg(to_char(e.at, "
        "'MI:SS.MS') || "
        "' ' || e.kind || coalesce(' (' || e.detail || ')', ''), ', ' ORDER BY e.id) FROM "
        "product_orders o "
        "LEFT JOIN order_events e ON e.order_id = o.id WHERE %s GROUP BY o.id ORDER BY o.id",
        where);
}

static int delivered(const cJSON *deliveries, const char *referans_list)
{
    const cJSON *d;
    int n = 0;
    cJSON_ArrayForEach(d, deliveries)
    {
        const char *ref = cJSON_GetStringValue(cJSON_GetObjectItem(d, "reference"));
        n += ref && strstr(referans_list, ref) != NULL;
    }
    return n;
}

void books_compare(struct house *h, const struct poster *p, int tries)
{
    const char *db = h->stores.database_url;
    _cleanup_(web_reply_release) struct web_reply ledger = house_sim(h, "/_sim/ledger");
    const cJSON *deliveries = cJSON_GetObjectItem(ledger.json, "deliveries");
    int completed_n = 0, review_n = 0, in_ledger = 0, wrong = 0;

    ck_assert_msg(deliveries != NULL, "%d %s", ledger.status, ledger.body);
    for (int i = 0; i < p->n; i++) {
        const char *id = p->posted[i].id, *status = house_status(h, id);
        const char *refs = pg_one(db,
                                  "SELECT coalesce(string_agg(referans, ' '), '') FROM "
                                  "order_placements WHERE order_id = '%s'",
                                  id);
        int n = delivered(deliveries, refs);
        bool done = strcmp(status, "completed") == 0, review = strcmp(status, "review") == 0;
        bool cut =
            pg_one_int(
                db,
                "SELECT count(*) FROM order_placements WHERE order_id = '%s' AND status = 'review'",
                id) == 1;
        completed_n += done;
        review_n += review;
        in_ledger += n;
        if ((done && n == 1) || (review && n <= 1 && cut))
            continue;
        wrong++;
        printf("chaos: WRONG: chaos-%d (%s) is %s and in the ledger %d times\n", i, id,
               *status ? status : "LOST", n);
    }
    _cleanup_(freep) char *reviews = books_timelines(h, "o.status = 'review'");
    _cleanup_(freep) char *slow = books_timelines(
        h, "o.id IN (SELECT id FROM product_orders WHERE status = 'completed' ORDER BY "
           "completed_at - created_at DESC LIMIT 3)");
    if (review_n)
        printf("chaos: in review, with a stored reference and a cut call:\n%s", reviews);
    printf("chaos: slowest from POST to PIN:\n%s", slow);
    printf("chaos: %d accepted (%d POSTs), %d completed, %d review, %d in the ledger, %d wrong\n",
           p->n, tries, completed_n, review_n, in_ledger, wrong);
    fflush(stdout);
    if (wrong) {
        _cleanup_(freep) char *all =
            books_timelines(h, "o.status NOT IN ('completed', 'review') OR (SELECT "
                               "count(*) FROM order_placements p WHERE "
                               "p.order_id = o.id AND p.status <> 'failed') <> 1");
        printf("%s", all);
    }
    ck_assert_int_eq(wrong, 0);
    ck_assert_int_eq(pg_one_int(db, "SELECT count(*) FROM product_orders"), p->n);
    ck_assert_int_eq(cJSON_GetArraySize(deliveries), in_ledger);
    ck_assert_int_eq(cJSON_GetArraySize(cJSON_GetObjectItem(ledger.json, "doubles")), 0);
    ck_assert_int_eq(pg_one_int(db, "SELECT count(*) FROM dead_letters WHERE task LIKE 'order.%%'"),
                     0);
}
