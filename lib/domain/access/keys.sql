-- name: key_create
WITH made AS (
    INSERT INTO api_keys (id, tenant_id, name, prefix, hash, permissions, expires_at)
    SELECT $1::uuid, t.id, $3, $4, $5, string_to_array($6, ' '), $7::timestamptz FROM tenants t WHERE t.id = $2::uuid
    RETURNING *
), held AS (
    INSERT INTO api_key_roles (tenant_id, key_id, role_id)
    SELECT m.tenant_id, m.id, r.id FROM made m JOIN roles r ON r.tenant_id = m.tenant_id AND r.name = ANY ($9::text[])
), noted AS (
    INSERT INTO audit_log (tenant_id, actor, action, object_type, object_id, detail)
    SELECT tenant_id, $8, 'key.create', 'api_key', id::text,
           jsonb_build_object('name', name, 'prefix', prefix, 'permissions', permissions, 'roles', $9::text[], 'expires_at', expires_at)
      FROM made
)
SELECT id, tenant_id, name, prefix, array_to_string(permissions, ' '), array_to_string($9::text[], ' '), created_at, expires_at,
       revoked_at, last_used_at
  FROM made;

-- name: key_load
-- Its roles as lines of "permissions TAB commands" (identity_grant_roles).
SELECT k.hash, CASE WHEN k.revoked_at IS NOT NULL THEN 'revoked' WHEN k.expires_at <= now() THEN 'expired'
                    WHEN NOT t.enabled THEN 'disabled' ELSE 'good' END,
       k.tenant_id, k.id, k.name, array_to_string(k.permissions, ' '), k.expires_at,
       (SELECT string_agg(array_to_string(r.permissions, ' ') || E'\t' || array_to_string(r.commands, ' '), E'\n' ORDER BY r.name)
          FROM api_key_roles h JOIN roles r ON r.id = h.role_id WHERE h.key_id = k.id)
  FROM api_keys k JOIN tenants t ON t.id = k.tenant_id
 WHERE k.prefix = $1;

-- name: key_revoke
-- Revoking twice keeps the first time, and is audited once.
WITH found AS (
    SELECT id, tenant_id, revoked_at FROM api_keys WHERE id = $1::uuid OR prefix = $2 FOR UPDATE
), done AS (
    UPDATE api_keys k SET revoked_at = now() FROM found f WHERE k.id = f.id AND f.revoked_at IS NULL
    RETURNING k.id, k.tenant_id, k.name, k.prefix
), noted AS (
    INSERT INTO audit_log (tenant_id, actor, action, object_type, object_id, detail)
    SELECT tenant_id, $3, 'key.revoke', 'api_key', id::text, jsonb_build_object('name', name, 'prefix', prefix) FROM done
)
SELECT id FROM found;

-- name: key_list
SELECT id, tenant_id, name, prefix, array_to_string(permissions, ' '),
       (SELECT coalesce(string_agg(r.name, ' ' ORDER BY r.name), '') FROM api_key_roles h JOIN roles r ON r.id = h.role_id WHERE h.key_id = k.id),
       created_at, expires_at, revoked_at, last_used_at
  FROM api_keys k
 WHERE $1::uuid IS NULL OR tenant_id = $1
 ORDER BY tenant_id, id;

-- name: key_touch
UPDATE api_keys SET last_used_at = now() WHERE id = ANY ($1::uuid[]);
