-- name: sealed_count
-- The key's id is the second field of a sealed value.
SELECT place, split_part(value, '.', 2), count(*)
  FROM (SELECT 'integrations.credentials', credentials FROM integrations
        UNION ALL SELECT 'order_placements.pin', pin FROM order_placements WHERE pin IS NOT NULL
        UNION ALL SELECT 'product_orders.pin_code', pin_code FROM product_orders WHERE pin_code IS NOT NULL
        UNION ALL SELECT 'product_orders.pin_codes', v FROM product_orders, unnest(pin_codes) v WHERE v IS NOT NULL
        UNION ALL SELECT 'tenants.webhook_secret', webhook_secret FROM tenants WHERE webhook_secret IS NOT NULL)
       AS sealed (place, value)
 GROUP BY 1, 2
 ORDER BY 1, 2;

-- The next values of a place that are not under key $3, behind ($1, $2): id, unit, context, value. $4: how many.

-- name: reseal_read_integrations
SELECT id, 0, 'integration_credentials:' || id, credentials
  FROM integrations
 WHERE (id, 0) > (coalesce($1::uuid, '00000000-0000-0000-0000-000000000000'), $2::int)
   AND split_part(credentials, '.', 2) <> $3
 ORDER BY id
 LIMIT $4::int;

-- name: reseal_read_tenants
SELECT id, 0, 'webhook_secret:' || id, webhook_secret
  FROM tenants
 WHERE (id, 0) > (coalesce($1::uuid, '00000000-0000-0000-0000-000000000000'), $2::int)
   AND split_part(webhook_secret, '.', 2) <> $3
 ORDER BY id
 LIMIT $4::int;

-- name: reseal_read_placements
SELECT id, 0, 'order_pin:' || order_id || ':' || unit, pin
  FROM order_placements
 WHERE (id, 0) > (coalesce($1::bigint, 0), $2::int) AND pin IS NOT NULL AND split_part(pin, '.', 2) <> $3
 ORDER BY id
 LIMIT $4::int;

-- name: reseal_read_orders
SELECT id, 0, 'order_pin:' || id || ':1', pin_code
  FROM product_orders
 WHERE (id, 0) > (coalesce($1::uuid, '00000000-0000-0000-0000-000000000000'), $2::int)
   AND pin_code IS NOT NULL AND split_part(pin_code, '.', 2) <> $3
 ORDER BY id
 LIMIT $4::int;

-- name: reseal_read_units
SELECT o.id, p.unit, 'order_pin:' || o.id || ':' || p.unit, p.value
  FROM product_orders o, unnest(o.pin_codes) WITH ORDINALITY AS p (value, unit)
 WHERE o.pin_codes IS NOT NULL
   AND (o.id, p.unit) > (coalesce($1::uuid, '00000000-0000-0000-0000-000000000000'), $2::int)
   AND split_part(p.value, '.', 2) <> $3
 ORDER BY o.id, p.unit
 LIMIT $4::int;

-- ids, units, what was read, what stands for it now.

-- name: reseal_write_integrations
UPDATE integrations t
   SET credentials = n.sealed
  FROM unnest($1::uuid[], $2::int[], $3::text[], $4::text[]) AS n (id, unit, old, sealed)
 WHERE t.id = n.id AND t.credentials = n.old;

-- name: reseal_write_tenants
UPDATE tenants t
   SET webhook_secret = n.sealed
  FROM unnest($1::uuid[], $2::int[], $3::text[], $4::text[]) AS n (id, unit, old, sealed)
 WHERE t.id = n.id AND t.webhook_secret = n.old;

-- name: reseal_write_placements
UPDATE order_placements t
   SET pin = n.sealed
  FROM unnest($1::bigint[], $2::int[], $3::text[], $4::text[]) AS n (id, unit, old, sealed)
 WHERE t.id = n.id AND t.pin = n.old;

-- name: reseal_write_orders
UPDATE product_orders t
   SET pin_code = n.sealed
  FROM unnest($1::uuid[], $2::int[], $3::text[], $4::text[]) AS n (id, unit, old, sealed)
 WHERE t.id = n.id AND t.pin_code = n.old;

-- name: reseal_write_units
-- An order's array is written once, whatever number of its units is new.
UPDATE product_orders o
   SET pin_codes = (SELECT array_agg(coalesce(n.sealed, p.value) ORDER BY p.unit)
                      FROM unnest(o.pin_codes) WITH ORDINALITY AS p (value, unit)
                      LEFT JOIN unnest($1::uuid[], $2::int[], $3::text[], $4::text[]) AS n (id, unit, old, sealed)
                        ON n.id = o.id AND n.unit = p.unit AND n.old = p.value)
 WHERE o.id = ANY ($1::uuid[]) AND o.pin_codes IS NOT NULL;
