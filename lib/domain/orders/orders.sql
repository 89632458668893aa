-- name: order_load
SELECT id, tenant_id, product_id, package_id, user_identifier, extra_field, quantity, status, integration_id, provider,
       provider_referans, external_status, pin_code, array_to_json(pin_codes), note, trim_scale(cost_amount), cost_currency,
       attempts, version, callback_url, reference, created_at, sent_at, completed_at, updated_at
  FROM product_orders
 WHERE id = $1::uuid AND ($2::uuid IS NULL OR tenant_id = $2);

-- name: order_lock
-- The same under a row lock: every step of an order begins with it.
SELECT id, tenant_id, product_id, package_id, user_identifier, extra_field, quantity, status, integration_id, provider,
       provider_referans, external_status, pin_code, array_to_json(pin_codes), note, trim_scale(cost_amount), cost_currency,
       attempts, version, callback_url, reference, created_at, sent_at, completed_at, updated_at
  FROM product_orders
 WHERE id = $1::uuid AND ($2::uuid IS NULL OR tenant_id = $2)
   FOR UPDATE;

-- name: orders_look
-- Many as order_load, in the order of their ids.
SELECT id, tenant_id, product_id, package_id, user_identifier, extra_field, quantity, status, integration_id, provider,
       provider_referans, external_status, pin_code, array_to_json(pin_codes), note, trim_scale(cost_amount), cost_currency,
       attempts, version, callback_url, reference, created_at, sent_at, completed_at, updated_at
  FROM product_orders
 WHERE id = ANY ($1::uuid[])
 ORDER BY id;

-- name: orders_lock
-- Many as order_lock. Everybody locks in the order of the ids.
SELECT id, tenant_id, product_id, package_id, user_identifier, extra_field, quantity, status, integration_id, provider,
       provider_referans, external_status, pin_code, array_to_json(pin_codes), note, trim_scale(cost_amount), cost_currency,
       attempts, version, callback_url, reference, created_at, sent_at, completed_at, updated_at
  FROM product_orders
 WHERE id = ANY ($1::uuid[])
 ORDER BY id
   FOR UPDATE;

-- name: order_find
-- By a reference: the client's, or one that any placement of the order had. Both are indexed behind their owner, and there are
-- few owners.
SELECT id, tenant_id, product_id, package_id, user_identifier, extra_field, quantity, status, integration_id, provider,
       provider_referans, external_status, pin_code, array_to_json(pin_codes), note, trim_scale(cost_amount), cost_currency,
       attempts, version, callback_url, reference, created_at, sent_at, completed_at, updated_at
  FROM product_orders
 WHERE ($2::uuid IS NULL OR tenant_id = $2)
   AND id IN (SELECT o.id FROM tenants t JOIN product_orders o ON o.tenant_id = t.id AND o.reference = $1
              UNION
              SELECT p.order_id FROM integrations i JOIN order_placements p ON p.integration_id = i.id AND p.referans = $1)
 ORDER BY id DESC
 LIMIT 1;

-- name: order_list
-- Newest first. $7 is the cursor; $8 bounds the walk by birth (ids are made in order of time).
SELECT id, tenant_id, product_id, package_id, user_identifier, extra_field, quantity, status, integration_id, provider,
       provider_referans, external_status, pin_code, array_to_json(pin_codes), note, trim_scale(cost_amount), cost_currency,
       attempts, version, callback_url, reference, created_at, sent_at, completed_at, updated_at
  FROM product_orders
 WHERE ($1::uuid IS NULL OR tenant_id = $1)
   AND ($2::text IS NULL OR status = $2)
   AND ($3::uuid IS NULL OR package_id = $3)
   AND ($4::timestamptz IS NULL OR created_at >= $4)
   AND ($5::timestamptz IS NULL OR created_at < $5)
   AND ($7::uuid IS NULL OR id < $7)
   AND ($8::uuid IS NULL OR id >= $8)
 ORDER BY id DESC
 LIMIT $6::int;

-- name: order_events
-- The creation is read from the order itself, so that accepting one writes no row here.
SELECT id, at, kind, status, unit, provider, referans, detail, actor
  FROM (SELECT 0::bigint AS id, created_at AS at, 'created' AS kind, 'pending' AS status, 0 AS unit, NULL AS provider,
               NULL AS referans, NULL AS detail, 'client' AS actor
          FROM product_orders WHERE id = $1::uuid AND $2::bigint < 0
        UNION ALL
        SELECT id, at, kind, status, coalesce(unit, 0), provider, referans, detail, actor
          FROM order_events WHERE order_id = $1::uuid AND id > $2::bigint) AS e
 ORDER BY id
 LIMIT $3::int;
