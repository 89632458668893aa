-- name: identity_add
WITH made AS (
    INSERT INTO identities (id, tenant_id, name, agent_id)
    SELECT $1::uuid, t.id, $3, $4 FROM tenants t WHERE t.id = $2::uuid
    ON CONFLICT (name) DO NOTHING
    RETURNING *
), held AS (
    INSERT INTO identity_roles (tenant_id, identity_id, role_id)
    SELECT m.tenant_id, m.id, r.id FROM made m JOIN roles r ON r.tenant_id = m.tenant_id AND r.name = ANY ($5::text[])
), noted AS (
    INSERT INTO audit_log (tenant_id, actor, action, object_type, object_id, detail)
    SELECT tenant_id, $6, 'identity.add', 'identity', id::text,
           jsonb_build_object('name', name, 'agent_id', agent_id, 'roles', $5::text[]) FROM made
)
SELECT id, tenant_id, name, agent_id, array_to_string(ARRAY(SELECT w FROM unnest($5::text[]) w ORDER BY w), ' '), enabled, created_at, last_used_at
  FROM made;

-- name: identity_find
SELECT id FROM identities WHERE tenant_id = $1::uuid AND (id = $2::uuid OR name = $3);

-- name: identity_set
-- $3: the agent ('' none, NULL as it is); $4: the roles (NULL as they are). The identity's own row is written even when only its
-- roles change, so that two changes wait for each other.
WITH done AS (
    UPDATE identities SET agent_id = CASE WHEN $3::text IS NULL THEN agent_id ELSE nullif($3, '') END,
                          enabled = coalesce($5::boolean, enabled)
     WHERE tenant_id = $1::uuid AND id = $2::uuid
    RETURNING *
), wanted AS (
    SELECT r.id FROM roles r JOIN done d ON r.tenant_id = d.tenant_id WHERE r.name = ANY ($4::text[])
), dropped AS (
    DELETE FROM identity_roles h USING done d
     WHERE $4::text[] IS NOT NULL AND h.identity_id = d.id AND h.role_id NOT IN (SELECT id FROM wanted)
), held AS (
    INSERT INTO identity_roles (tenant_id, identity_id, role_id)
    SELECT d.tenant_id, d.id, w.id FROM done d, wanted w
    ON CONFLICT DO NOTHING
), noted AS (
    INSERT INTO audit_log (tenant_id, actor, action, object_type, object_id, detail)
    SELECT tenant_id, $6, 'identity.set', 'identity', id::text,
           jsonb_strip_nulls(jsonb_build_object('name', name, 'agent_id', $3::text, 'roles', $4::text[], 'enabled', $5::boolean)) FROM done
)
SELECT d.id, d.tenant_id, d.name, d.agent_id,
       CASE WHEN $4::text[] IS NULL
            THEN (SELECT coalesce(string_agg(r.name, ' ' ORDER BY r.name), '') FROM identity_roles h JOIN roles r ON r.id = h.role_id WHERE h.identity_id = d.id)
            ELSE array_to_string(ARRAY(SELECT w FROM unnest($4::text[]) w ORDER BY w), ' ') END,
       d.enabled, d.created_at, d.last_used_at
  FROM done d;

-- name: identity_remove
WITH gone AS (
    DELETE FROM identities WHERE tenant_id = $1::uuid AND id = $2::uuid RETURNING *
), noted AS (
    INSERT INTO audit_log (tenant_id, actor, action, object_type, object_id, detail)
    SELECT tenant_id, $3, 'identity.remove', 'identity', id::text, jsonb_build_object('name', name, 'agent_id', agent_id) FROM gone
)
SELECT id FROM gone;

-- name: identity_list
SELECT i.id, i.tenant_id, i.name, i.agent_id,
       (SELECT coalesce(string_agg(r.name, ' ' ORDER BY r.name), '') FROM identity_roles h JOIN roles r ON r.id = h.role_id WHERE h.identity_id = i.id),
       i.enabled, i.created_at, i.last_used_at
  FROM identities i
 WHERE $1::uuid IS NULL OR i.tenant_id = $1
 ORDER BY i.tenant_id, i.name;

-- name: identity_load
-- Its roles as lines of "permissions TAB commands" (identity_grant_roles).
SELECT i.tenant_id, i.id, i.name, i.agent_id, i.enabled AND t.enabled,
       (SELECT string_agg(array_to_string(r.permissions, ' ') || E'\t' || array_to_string(r.commands, ' '), E'\n' ORDER BY r.name)
          FROM identity_roles h JOIN roles r ON r.id = h.role_id WHERE h.identity_id = i.id)
  FROM identities i JOIN tenants t ON t.id = i.tenant_id
 WHERE i.name = $1;

-- name: identities_load
-- Many names at once; the first column is the place of the name. A name that is nobody's is not there.
SELECT n.ord, i.tenant_id, i.id, i.name, i.agent_id, i.enabled AND t.enabled,
       (SELECT string_agg(array_to_string(r.permissions, ' ') || E'\t' || array_to_string(r.commands, ' '), E'\n' ORDER BY r.name)
          FROM identity_roles h JOIN roles r ON r.id = h.role_id WHERE h.identity_id = i.id)
  FROM unnest($1::text[]) WITH ORDINALITY AS n (name, ord)
  JOIN identities i ON i.name = n.name JOIN tenants t ON t.id = i.tenant_id;

-- name: identity_touch
UPDATE identities SET last_used_at = now() WHERE id = ANY ($1::uuid[]);
