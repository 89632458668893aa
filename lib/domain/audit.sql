-- name: audit_write
INSERT INTO audit_log (tenant_id, actor, action, object_type, object_id, detail)
VALUES ($1::uuid, $2, $3, $4, $5, coalesce($6, '{}')::jsonb);

-- name: audit_list
SELECT id, at, tenant_id, actor, action, object_type, object_id, detail
  FROM audit_log
 WHERE ($1::text IS NULL OR object_type = $1) AND ($2::text IS NULL OR object_id = $2)
 ORDER BY id DESC
 LIMIT $3::int;
