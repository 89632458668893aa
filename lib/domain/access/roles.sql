-- name: role_add
WITH made AS (
    INSERT INTO roles (id, tenant_id, name, permissions, commands)
    SELECT $1::uuid, t.id, $3, string_to_array($4, ' '), string_to_array($5, ' ') FROM tenants t WHERE t.id = $2::uuid
    ON CONFLICT (tenant_id, name) DO NOTHING
    RETURNING *
), noted AS (
    INSERT INTO audit_log (tenant_id, actor, action, object_type, object_id, detail)
    SELECT tenant_id, $6, 'role.add', 'role', name, jsonb_build_object('permissions', permissions, 'commands', commands) FROM made
)
SELECT id, tenant_id, name, array_to_string(permissions, ' '), array_to_string(commands, ' '), 0, created_at, updated_at FROM made;

-- name: role_set
WITH done AS (
    UPDATE roles SET permissions = coalesce(string_to_array($3, ' '), permissions),
                     commands = coalesce(string_to_array($4, ' '), commands), updated_at = now()
     WHERE tenant_id = $1::uuid AND name = $2
    RETURNING *
), noted AS (
    INSERT INTO audit_log (tenant_id, actor, action, object_type, object_id, detail)
    SELECT tenant_id, $5, 'role.set', 'role', name, jsonb_build_object('permissions', permissions, 'commands', commands) FROM done
)
SELECT id, tenant_id, name, array_to_string(permissions, ' '), array_to_string(commands, ' '),
       (SELECT count(*) FROM identity_roles h WHERE h.role_id = done.id) + (SELECT count(*) FROM api_key_roles h WHERE h.role_id = done.id),
       created_at, updated_at
  FROM done;

-- name: role_remove
-- found: there is such a role; gone: it was held by nobody.
WITH found AS (
    SELECT id, (SELECT count(*) FROM identity_roles h WHERE h.role_id = r.id) +
               (SELECT count(*) FROM api_key_roles h WHERE h.role_id = r.id) AS holders
      FROM roles r WHERE tenant_id = $1::uuid AND name = $2
), gone AS (
    DELETE FROM roles r USING found f WHERE r.id = f.id AND f.holders = 0 RETURNING r.*
), noted AS (
    INSERT INTO audit_log (tenant_id, actor, action, object_type, object_id, detail)
    SELECT tenant_id, $3, 'role.remove', 'role', name, jsonb_build_object('permissions', permissions, 'commands', commands) FROM gone
)
SELECT holders FROM found;

-- name: role_list
SELECT id, tenant_id, name, array_to_string(permissions, ' '), array_to_string(commands, ' '),
       (SELECT count(*) FROM identity_roles h WHERE h.role_id = r.id) + (SELECT count(*) FROM api_key_roles h WHERE h.role_id = r.id),
       created_at, updated_at
  FROM roles r
 WHERE $1::uuid IS NULL OR tenant_id = $1
 ORDER BY tenant_id, name;

-- name: role_unknown
SELECT w FROM unnest($2::text[]) w WHERE NOT EXISTS (SELECT 1 FROM roles WHERE tenant_id = $1::uuid AND name = w) LIMIT 1;
