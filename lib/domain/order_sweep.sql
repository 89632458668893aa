-- name: orders_unchecked
-- Open orders that no live job looks after. Keyset paging: $2 is the last id seen. What is waiting for a call misses its
-- dispatch, what is waiting for an answer its check.
SELECT o.id, o.tenant_id, CASE WHEN o.status IN ('pending', 'sending') THEN 'order.dispatch' ELSE 'order.check' END
  FROM product_orders o
 WHERE o.status IN ('pending', 'sending', 'sent', 'unconfirmed')
   AND o.created_at < $1::timestamptz
   AND ($2::uuid IS NULL OR o.id > $2)
   AND NOT EXISTS (SELECT FROM jobs j
                    WHERE j.live AND j.subject = o.id::text AND j.task IN ('order.dispatch', 'order.check'))
 ORDER BY o.id
 LIMIT $3::int;
