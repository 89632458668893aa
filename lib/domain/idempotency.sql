-- name: idempotency_find
SELECT body_hash, http_status, body
  FROM idempotency_keys WHERE tenant_id = $1::uuid AND route = $2 AND idempotency_key = $3;

-- name: idempotency_store
INSERT INTO idempotency_keys (tenant_id, route, idempotency_key, body_hash, http_status, body)
VALUES ($1::uuid, $2, $3, $4, $5::int, $6)
ON CONFLICT DO NOTHING;
