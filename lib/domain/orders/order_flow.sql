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

-- name: placements_move
-- Many as placement_move: a row of the arrays is its parameters.
UPDATE order_placements p
   SET status = n.status,
       external_id = coalesce(n.external_id, p.external_id),
       external_status = coalesce(n.external_status, p.external_status),
       note = coalesce(n.note, p.note),
       cost_amount = coalesce(abs(n.cost_amount), p.cost_amount),
       cost_currency = coalesce(n.cost_currency, p.cost_currency),
       pin = coalesce(n.pin, p.pin),
       asked = p.asked + n.asked,
       asked_at = CASE WHEN n.asked > 0 THEN now() ELSE p.asked_at END,
       calls = p.calls + n.called,
       sent_at = CASE WHEN n.arrived THEN coalesce(p.sent_at, now()) ELSE p.sent_at END,
       gave_up = n.gave_up,
       call_token = coalesce(nullif(n.call_token, 0), p.call_token),
       ended_at = CASE WHEN n.status IN ('completed', 'failed') THEN clock_timestamp() END,
       updated_at = now()
  FROM unnest($1::bigint[], $2::text[], $3::text[], $4::text[], $5::text[], $6::numeric[], $7::text[], $8::text[], $9::int[], $10::int[],
              $11::boolean[], $12::boolean[], $13::bigint[])
       AS n (id, status, external_id, external_status, note, cost_amount, cost_currency, pin, asked, called, arrived, gave_up, call_token)
 WHERE p.id = n.id;

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

-- name: orders_move
-- Many as order_move: a row of the arrays is its parameters.
UPDATE product_orders o
   SET status = n.status,
       integration_id = coalesce(n.integration_id, o.integration_id),
       provider = coalesce(n.provider, o.provider),
       provider_referans = CASE WHEN n.shown THEN coalesce(n.referans, o.provider_referans) ELSE coalesce(o.provider_referans, n.referans) END,
       external_status = coalesce(n.external_status, o.external_status),
       sent_at = CASE WHEN n.arrived THEN coalesce(o.sent_at, now()) ELSE o.sent_at END,
       completed_at = CASE WHEN n.status IN ('completed', 'failed', 'cancelled') THEN clock_timestamp() END,
       note = coalesce(n.note, o.note),
       attempts = o.attempts + n.begun,
       pin_code = CASE WHEN n.status = 'completed' THEN coalesce(n.pin, c.pins[1]) END,
       pin_codes = CASE WHEN n.status = 'completed' AND o.quantity > 1 THEN c.pins END,
       cost_amount = CASE WHEN c.currencies = 1 THEN c.amount END,
       cost_currency = CASE WHEN c.currencies = 1 THEN c.currency END,
       version = o.version + 1,
       updated_at = now()
  FROM unnest($1::uuid[], $2::text[], $3::uuid[], $4::text[], $5::text[], $6::text[], $7::boolean[], $8::text[], $9::int[], $10::int[],
              $11::text[], $12::boolean[])
       AS n (id, status, integration_id, provider, referans, external_status, arrived, note, begun, units, pin, shown)
       CROSS JOIN LATERAL
       (SELECT (SELECT array_agg(p.pin ORDER BY u.unit)
                  FROM generate_series(1, n.units) AS u (unit)
                  LEFT JOIN order_placements p ON p.order_id = n.id AND p.unit = u.unit AND p.status = 'completed') AS pins,
               count(DISTINCT cost_currency) AS currencies, sum(cost_amount) AS amount, min(cost_currency) AS currency
          FROM order_placements WHERE order_id = n.id AND status <> 'failed') AS c
 WHERE o.id = n.id;

-- name: order_event
-- $3 NULL: the order's own status, which did not change.
INSERT INTO order_events (order_id, kind, status, unit, provider, referans, actor, detail)
SELECT o.id, $2, coalesce($3, o.status), nullif($4::int, 0), $5, $6, $7, $8 FROM product_orders o WHERE o.id = $1::uuid;

-- name: orders_event
-- Many as order_event; each says its order's status.
INSERT INTO order_events (order_id, kind, status, unit, provider, referans, actor, detail)
SELECT n.id, n.kind, n.status, nullif(n.unit, 0), n.provider, n.referans, n.actor, n.detail
  FROM unnest($1::uuid[], $2::text[], $3::text[], $4::int[], $5::text[], $6::text[], $7::text[], $8::text[])
       AS n (id, kind, status, unit, provider, referans, actor, detail);

-- name: order_announce
SELECT pg_notify('mw_order', $1);

-- name: orders_announce
SELECT pg_notify('mw_order', n.id) FROM unnest($1::text[]) AS n (id);
