-- name: orders_unchecked
-- A page of the open orders by id, the oldest first, each with the job that it misses (NULL: none; it is younger than $1, or a live
-- job looks after it). Keyset paging: $2 is the last id seen. The page is cut before anything is asked about it, so that a step costs the same
-- however many are open and well looked after. What is waiting for a call misses its dispatch, what is waiting for an answer its check. A
-- check makes the dispatch that is missing when it ends; a dispatch that waits for hours (one unit's provider is paused, another
-- unit is there) asks nobody, so it does not stand for a check.
WITH page AS MATERIALIZED (
    SELECT id, tenant_id, status, created_at FROM product_orders
     WHERE status IN ('pending', 'sending', 'sent', 'unconfirmed') AND ($2::uuid IS NULL OR id > $2)
     ORDER BY id LIMIT $3::int)
SELECT o.id, o.tenant_id,
       CASE WHEN o.created_at >= $1::timestamptz
              OR (o.status IN ('pending', 'sending')
                  AND EXISTS (SELECT FROM jobs j WHERE j.live AND NOT j.key_free AND j.unique_key = 'order.dispatch:' || o.id))
              OR EXISTS (SELECT FROM jobs j WHERE j.live AND NOT j.key_free AND j.unique_key = 'order.check:' || o.id) THEN NULL
            WHEN o.status IN ('pending', 'sending') THEN 'order.dispatch'
            ELSE 'order.check' END
  FROM page o ORDER BY o.id;
