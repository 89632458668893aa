-- name: orders_unchecked
-- Open orders that no live job looks after. Keyset paging: $2 is the last id seen. What is waiting for a call misses its
-- dispatch, what is waiting for an answer its check. A check makes the dispatch that is missing when it ends; a dispatch that waits for
-- hours (one unit's provider is paused, another unit is there) asks nobody, so it does not stand for a check.
SELECT o.id, o.tenant_id, CASE WHEN o.status IN ('pending', 'sending') THEN 'order.dispatch' ELSE 'order.check' END
  FROM product_orders o
 WHERE o.status IN ('pending', 'sending', 'sent', 'unconfirmed')
   AND o.created_at < $1::timestamptz
   AND ($2::uuid IS NULL OR o.id > $2)
   AND NOT EXISTS (SELECT FROM jobs j
                    WHERE j.live AND j.subject = o.id::text
                      AND (j.task = 'order.check' OR (j.task = 'order.dispatch' AND o.status IN ('pending', 'sending'))))
 ORDER BY o.id
 LIMIT $3::int;
