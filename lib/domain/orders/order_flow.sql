-- name: order_route
-- Who may be asked for this order's package, the first choice first.
SELECT i.id, i.name, i.enabled, m.external_product, m.external_kupur
  FROM product_orders o
  JOIN package_routing r ON r.package_id = o.package_id
  JOIN package_mappings m ON m.package_id = o.package_id AND m.integration_id IN (r.primary_id, r.fallback_id)
  JOIN integrations i ON i.id = m.integration_id
 WHERE o.id = $1::uuid
 ORDER BY (i.id = r.primary_id) DESC;

-- name: placement_begin
-- The reference is made here, so that no two processes can make the same one: 13 digits of time, 5 of a sequence; or a UUID.
INSERT INTO order_placements (order_id, unit, integration_id, call_token, referans)
VALUES ($1::uuid, $2::int, $3::uuid, $5::bigint,
        CASE WHEN $4::boolean THEN gen_random_uuid()::text
             ELSE floor(extract(epoch FROM clock_timestamp()) * 1000)::bigint::text
                  || lpad((nextval('order_referans_seq') % 100000)::text, 5, '0') END)
RETURNING id, referans, created_at;

-- name: placement_move
UPDATE order_placements
   SET status = $2::text,
       external_id = coalesce($3, external_id),
       external_status = coalesce($4, external_status),
       note = coalesce($5, note),
       cost_amount = coalesce(abs($6::numeric), cost_amount),
       cost_currency = coalesce($7, cost_currency),
       pin = coalesce($8, pin),
       asked = asked + $9::int,
       asked_at = CASE WHEN $9::int > 0 THEN now() ELSE asked_at END,
       calls = calls + $10::int,
       sent_at = CASE WHEN $11::boolean THEN coalesce(sent_at, now()) ELSE sent_at END,
       gave_up = $12::boolean,
       call_token = coalesce(nullif($13::bigint, 0), call_token),
       ended_at = CASE WHEN $2::text IN ('completed', 'failed') THEN clock_timestamp() END,
       updated_at = now()
 WHERE id = $1::bigint;

-- name: order_move
-- After its placements were written: the costs and PINs are theirs. $11 is a PIN that no placement holds, $12: the reference is
-- unit 1's, which is the one shown.
UPDATE product_orders o
   SET status = $2::text,
       integration_id = coalesce($3::uuid, integration_id),
       provider = coalesce($4, provider),
       provider_referans = CASE WHEN $12::boolean THEN coalesce($5, provider_referans) ELSE coalesce(provider_referans, $5) END,
       external_status = coalesce($6, external_status),
       sent_at = CASE WHEN $7::boolean THEN coalesce(sent_at, now()) ELSE sent_at END,
       completed_at = CASE WHEN $2::text IN ('completed', 'failed', 'cancelled') THEN clock_timestamp() END,
       note = coalesce($8, note),
       attempts = attempts + $9::int,
       pin_code = CASE WHEN $2::text = 'completed' THEN coalesce($11, c.pins[1]) END,
       pin_codes = CASE WHEN $2::text = 'completed' AND quantity > 1 THEN c.pins END,
       cost_amount = CASE WHEN c.currencies = 1 THEN c.amount END,
       cost_currency = CASE WHEN c.currencies = 1 THEN c.currency END,
       version = version + 1,
       updated_at = now()
  FROM (SELECT (SELECT array_agg(p.pin ORDER BY u.unit)
                  FROM generate_series(1, $10::int) AS u (unit)
                  LEFT JOIN order_placements p ON p.order_id = $1::uuid AND p.unit = u.unit AND p.status = 'completed') AS pins,
               count(DISTINCT cost_currency) AS currencies, sum(cost_amount) AS amount, min(cost_currency) AS currency
          FROM order_placements WHERE order_id = $1::uuid AND status <> 'failed') AS c
 WHERE o.id = $1::uuid;

-- name: order_event
-- $3 NULL: the order's own status, which did not change.
INSERT INTO order_events (order_id, kind, status, unit, provider, referans, actor, detail)
SELECT o.id, $2, coalesce($3, o.status), nullif($4::int, 0), $5, $6, $7, $8 FROM product_orders o WHERE o.id = $1::uuid;

-- name: order_announce
SELECT pg_notify('mw_order', $1);
