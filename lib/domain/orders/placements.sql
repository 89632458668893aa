-- name: placements_of_order
SELECT p.id, p.order_id, p.unit, p.integration_id, i.name, p.referans, p.status, p.calls, p.call_token, p.asked, p.gave_up, p.external_id,
       p.external_status, p.note, trim_scale(p.cost_amount), p.cost_currency, p.pin, p.created_at, p.sent_at, p.asked_at,
       p.ended_at
  FROM order_placements p JOIN integrations i ON i.id = p.integration_id
 WHERE p.order_id = $1::uuid
 ORDER BY p.unit, p.id;

-- name: placements_of_orders
-- The same of many, one order after the other.
SELECT p.id, p.order_id, p.unit, p.integration_id, i.name, p.referans, p.status, p.calls, p.call_token, p.asked, p.gave_up, p.external_id,
       p.external_status, p.note, trim_scale(p.cost_amount), p.cost_currency, p.pin, p.created_at, p.sent_at, p.asked_at,
       p.ended_at
  FROM order_placements p JOIN integrations i ON i.id = p.integration_id
 WHERE p.order_id = ANY ($1::uuid[])
 ORDER BY p.order_id, p.unit, p.id;
