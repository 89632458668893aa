-- name: orders_insert
-- One statement for a batch: judges each row, inserts those that may be and are new, each with its order.dispatch job, and
-- tells for every row what became of it. Who has its key or its reference already is 'taken', and looked up by orders_first.
-- Somebody who is inserting the same at this very moment makes the statement fail as a whole (unique violation): then, and
-- when it is sent again, orders_insert_late is asked. This one is the cheaper by far, and nearly always enough. Rows go in in one
-- order everywhere, so that two batches with the same keys wait for each other instead of deadlocking.
-- LIKE '_%' is "not NULL" in words that make the planner expect few of them: whatever the size of a batch, one plan then serves it as
-- well, and is kept. A plan for each batch would cost more than to carry it out (0.4 ms).
WITH input AS MATERIALIZED (
    SELECT * FROM unnest($1::uuid[], $2::uuid[], $3::uuid[], $4::uuid[], $5::uuid[], $6::text[], $7::text[], $8::int[],
                         $9::text[], $10::text[], $11::text[], $12::text[], $13::text[]) WITH ORDINALITY
        AS t (id, job_id, tenant_id, package_id, product_id, user_identifier, extra_field, quantity, callback_url, reference,
              idempotency_key, body_hash, trace, ord)
), goods AS MATERIALIZED (
    SELECT p.tenant_id, p.id AS package_id, p.product_id,
           EXISTS (SELECT FROM package_routing r JOIN integrations i ON i.id IN (r.primary_id, r.fallback_id)
                    WHERE r.package_id = p.id AND i.enabled) AS routed
      FROM packages p JOIN products d ON d.id = p.product_id
     WHERE p.id = ANY ($4::uuid[]) AND p.id::text LIKE '_%' AND p.enabled AND d.enabled
), taken AS MATERIALIZED (
    SELECT i.ord
      FROM input i JOIN product_orders o ON o.tenant_id = i.tenant_id AND o.idempotency_key = i.idempotency_key
     WHERE i.idempotency_key LIKE '_%'
    UNION
    SELECT i.ord
      FROM input i JOIN product_orders o ON o.tenant_id = i.tenant_id AND o.reference = i.reference
     WHERE i.reference LIKE '_%'
), judged AS MATERIALIZED (
    SELECT i.*, g.product_id AS good_product_id,
           CASE WHEN g.package_id IS NULL THEN 'unknown'
                WHEN i.product_id <> g.product_id THEN 'product'
                WHEN NOT g.routed THEN 'unrouted'
                WHEN t.ord IS NOT NULL THEN 'taken'
                ELSE 'ok' END AS verdict
      FROM input i
           LEFT JOIN goods g ON g.tenant_id = i.tenant_id AND g.package_id = i.package_id
           LEFT JOIN taken t ON t.ord = i.ord
), made AS (
    INSERT INTO product_orders (id, tenant_id, product_id, package_id, user_identifier, extra_field, quantity, callback_url,
                                reference, idempotency_key, body_hash)
    SELECT id, tenant_id, good_product_id, package_id, user_identifier, extra_field, quantity, callback_url, reference,
           idempotency_key, body_hash
      FROM judged
     WHERE verdict = 'ok'
     ORDER BY tenant_id, idempotency_key, reference, ord
), queued AS (
    INSERT INTO jobs (id, queue, task, args, unique_key, subject, tenant_id, trace)
    SELECT job_id, 'orders', 'order.dispatch', ('{"order_id" : "' || id || '"}')::json, 'order.dispatch:' || id, id::text,
           tenant_id, trace
      FROM judged
     WHERE verdict = 'ok'
)
SELECT verdict, good_product_id, CASE WHEN ord = 1 THEN now() END FROM judged ORDER BY ord;

-- name: orders_insert_keyless
-- The same for a batch in which nobody has a key or a reference: nothing to look for, no order of locks. It takes a tenth less.
WITH goods AS MATERIALIZED (
    SELECT p.tenant_id, p.id AS package_id, p.product_id,
           EXISTS (SELECT FROM package_routing r JOIN integrations i ON i.id IN (r.primary_id, r.fallback_id)
                    WHERE r.package_id = p.id AND i.enabled) AS routed
      FROM packages p JOIN products d ON d.id = p.product_id
     WHERE p.id = ANY ($4::uuid[]) AND p.id::text LIKE '_%' AND p.enabled AND d.enabled
), judged AS MATERIALIZED (
    SELECT i.*, g.product_id AS good_product_id,
           CASE WHEN g.package_id IS NULL THEN 'unknown'
                WHEN i.product_id <> g.product_id THEN 'product'
                WHEN NOT g.routed THEN 'unrouted'
                ELSE 'ok' END AS verdict
      FROM unnest($1::uuid[], $2::uuid[], $3::uuid[], $4::uuid[], $5::uuid[], $6::text[], $7::text[], $8::int[], $9::text[],
                  $10::text[]) WITH ORDINALITY
               AS i (id, job_id, tenant_id, package_id, product_id, user_identifier, extra_field, quantity, callback_url, trace,
                     ord)
           LEFT JOIN goods g ON g.tenant_id = i.tenant_id AND g.package_id = i.package_id
), made AS (
    INSERT INTO product_orders (id, tenant_id, product_id, package_id, user_identifier, extra_field, quantity, callback_url)
    SELECT id, tenant_id, good_product_id, package_id, user_identifier, extra_field, quantity, callback_url
      FROM judged
     WHERE verdict = 'ok'
), queued AS (
    INSERT INTO jobs (id, queue, task, args, unique_key, subject, tenant_id, trace)
    SELECT job_id, 'orders', 'order.dispatch', ('{"order_id" : "' || id || '"}')::json, 'order.dispatch:' || id, id::text,
           tenant_id, trace
      FROM judged
     WHERE verdict = 'ok'
)
SELECT verdict, good_product_id, CASE WHEN ord = 1 THEN now() END FROM judged ORDER BY ord;

-- name: orders_insert_late
-- The same for a batch that met somebody, or itself: who comes second is skipped, and looked up by orders_first.
WITH input AS MATERIALIZED (
    SELECT * FROM unnest($1::uuid[], $2::uuid[], $3::uuid[], $4::uuid[], $5::uuid[], $6::text[], $7::text[], $8::int[],
                         $9::text[], $10::text[], $11::text[], $12::text[], $13::text[]) WITH ORDINALITY
        AS t (id, job_id, tenant_id, package_id, product_id, user_identifier, extra_field, quantity, callback_url, reference,
              idempotency_key, body_hash, trace, ord)
), goods AS MATERIALIZED (
    SELECT p.tenant_id, p.id AS package_id, p.product_id,
           EXISTS (SELECT FROM package_routing r JOIN integrations i ON i.id IN (r.primary_id, r.fallback_id)
                    WHERE r.package_id = p.id AND i.enabled) AS routed
      FROM packages p JOIN products d ON d.id = p.product_id
     WHERE p.id = ANY ($4::uuid[]) AND p.enabled AND d.enabled
), judged AS MATERIALIZED (
    SELECT i.*, g.product_id AS good_product_id,
           CASE WHEN g.package_id IS NULL THEN 'unknown'
                WHEN i.product_id <> g.product_id THEN 'product'
                WHEN NOT g.routed THEN 'unrouted'
                ELSE 'ok' END AS verdict
      FROM input i LEFT JOIN goods g ON g.tenant_id = i.tenant_id AND g.package_id = i.package_id
), made AS (
    INSERT INTO product_orders (id, tenant_id, product_id, package_id, user_identifier, extra_field, quantity, callback_url,
                                reference, idempotency_key, body_hash)
    SELECT id, tenant_id, good_product_id, package_id, user_identifier, extra_field, quantity, callback_url, reference,
           idempotency_key, body_hash
      FROM judged
     WHERE verdict = 'ok'
     ORDER BY tenant_id, idempotency_key, reference, ord
    ON CONFLICT DO NOTHING
    RETURNING id
), queued AS (
    INSERT INTO jobs (id, queue, task, args, unique_key, subject, tenant_id, trace)
    SELECT j.job_id, 'orders', 'order.dispatch', json_build_object('order_id', j.id), 'order.dispatch:' || j.id, j.id::text,
           j.tenant_id, j.trace
      FROM made m JOIN judged j ON j.id = m.id
)
SELECT CASE WHEN verdict = 'ok' AND m.id IS NULL THEN 'taken' ELSE verdict END, j.good_product_id, CASE WHEN ord = 1 THEN now() END
  FROM judged j LEFT JOIN made m ON m.id = j.id
 ORDER BY j.ord;

-- name: orders_first
-- The order that a skipped row lost to: itself (an earlier try of ours was committed), the one with its key, the one with its
-- reference.
SELECT i.ord, f.how, f.id, f.product_id, f.package_id, f.user_identifier, f.extra_field, f.quantity, f.callback_url,
       f.reference, f.body_hash, f.created_at
  FROM unnest($1::uuid[], $2::uuid[], $3::text[], $4::text[]) WITH ORDINALITY
           AS i (id, tenant_id, idempotency_key, reference, ord),
       LATERAL (SELECT 1 AS how, o.* FROM product_orders o WHERE o.id = i.id
                UNION ALL
                SELECT 2, o.* FROM product_orders o
                 WHERE o.tenant_id = i.tenant_id AND o.idempotency_key = i.idempotency_key
                UNION ALL
                SELECT 3, o.* FROM product_orders o WHERE o.tenant_id = i.tenant_id AND o.reference = i.reference
                 ORDER BY 1 LIMIT 1) AS f
 ORDER BY i.ord;

-- name: order_known
-- Was this order accepted before? By its key or its reference.
SELECT EXISTS (SELECT FROM product_orders WHERE tenant_id = $1::uuid AND idempotency_key = $2)
    OR EXISTS (SELECT FROM product_orders WHERE tenant_id = $1::uuid AND reference = $3);
