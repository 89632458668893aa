-- name: tenant_add
WITH made AS (
    INSERT INTO tenants (id, name, webhook_secret) VALUES ($1::uuid, $2, $3)
    ON CONFLICT (name) DO NOTHING
    RETURNING *
), noted AS (
    INSERT INTO audit_log (tenant_id, actor, action, object_type, object_id, detail)
    SELECT id, $4, 'tenant.add', 'tenant', id::text, jsonb_build_object('name', name) FROM made
)
SELECT id, name, enabled, created_at FROM made;

-- name: tenant_get
SELECT id, name, enabled, created_at FROM tenants WHERE id = $1::uuid OR name = $2;

-- name: tenant_list
SELECT id, name, enabled, created_at FROM tenants ORDER BY name;

-- name: tenant_secret
SELECT webhook_secret FROM tenants WHERE id = $1::uuid;
