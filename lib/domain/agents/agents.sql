-- name: agent_add
WITH made AS (
    INSERT INTO agents (agent_id, tenant_id, agent_type, provisioned, metadata)
    SELECT $2, t.id, $3, $4::jsonb, $4::jsonb FROM tenants t WHERE t.id = $1::uuid
    ON CONFLICT (agent_id) DO NOTHING
    RETURNING *
), noted AS (
    INSERT INTO audit_log (tenant_id, actor, action, object_type, object_id, detail)
    SELECT tenant_id, $5, 'agent.add', 'agent', left(agent_id, 160), jsonb_build_object('agent_type', agent_type, 'metadata', provisioned)
      FROM made
)
SELECT a.agent_id, a.tenant_id, a.status, a.agent_type, a.agent_version, host(a.last_ip_address), a.hub_instance_id, a.session_id,
       a.first_seen_at, a.last_seen_at, a.registered_at, a.provisioned, a.metadata, a.enabled, a.load, a.failures,
       a.cooldown_until, a.probing, a.created_at, a.updated_at
  FROM tenants t LEFT JOIN made a ON true WHERE t.id = $1::uuid;

-- name: agent_get
SELECT a.agent_id, a.tenant_id, a.status, a.agent_type, a.agent_version, host(a.last_ip_address), a.hub_instance_id, a.session_id,
       a.first_seen_at, a.last_seen_at, a.registered_at, a.provisioned, a.metadata, a.enabled, a.load, a.failures,
       a.cooldown_until, a.probing, a.created_at, a.updated_at
  FROM agents a
 WHERE a.agent_id = $1 AND ($2::uuid IS NULL OR a.tenant_id = $2);

-- name: agent_list
-- $5 is the cursor.
SELECT a.agent_id, a.tenant_id, a.status, a.agent_type, a.agent_version, host(a.last_ip_address), a.hub_instance_id, a.session_id,
       a.first_seen_at, a.last_seen_at, a.registered_at, a.provisioned, a.metadata, a.enabled, a.load, a.failures,
       a.cooldown_until, a.probing, a.created_at, a.updated_at
  FROM agents a
 WHERE ($1::uuid IS NULL OR a.tenant_id = $1)
   AND ($2::text IS NULL OR a.status = $2)
   AND ($3::text IS NULL OR a.agent_type = $3)
   AND ($4::jsonb IS NULL OR a.metadata @> $4)
   AND ($5::text IS NULL OR a.agent_id > $5)
 ORDER BY a.agent_id
 LIMIT $6::int;

-- name: agent_lock
-- Which session stands before it is changed.
SELECT hub_instance_id, session_id FROM agents
 WHERE agent_id = $1 AND ($2::uuid IS NULL OR tenant_id = $2)
   FOR NO KEY UPDATE;

-- name: agent_change
-- What is provisioned anew replaces what was; what the agent said of itself stays under it.
WITH done AS (
    UPDATE agents a
       SET agent_type = coalesce($3, agent_type),
           provisioned = coalesce($4::jsonb, provisioned),
           metadata = CASE WHEN $4::jsonb IS NULL THEN metadata
                           ELSE (metadata - ARRAY(SELECT jsonb_object_keys(provisioned))) || $4::jsonb END,
           enabled = coalesce($5::boolean, enabled),
           status = CASE WHEN NOT coalesce($5::boolean, enabled) THEN 'inactive' ELSE status END,
           session_id = CASE WHEN coalesce($5::boolean, enabled) THEN session_id END,
           hub_instance_id = CASE WHEN coalesce($5::boolean, enabled) THEN hub_instance_id END,
           token_id = CASE WHEN coalesce($5::boolean, enabled) THEN token_id END,
           registered_at = CASE WHEN coalesce($5::boolean, enabled) THEN registered_at END,
           updated_at = now()
     WHERE agent_id = $1 AND ($2::uuid IS NULL OR tenant_id = $2)
    RETURNING *
), noted AS (
    INSERT INTO audit_log (tenant_id, actor, action, object_type, object_id, detail)
    SELECT tenant_id, $6, 'agent.change', 'agent', left(agent_id, 160),
           jsonb_strip_nulls(jsonb_build_object('agent_type', $3::text, 'metadata', $4::jsonb, 'enabled', $5::boolean))
      FROM done
)
SELECT a.agent_id, a.tenant_id, a.status, a.agent_type, a.agent_version, host(a.last_ip_address), a.hub_instance_id, a.session_id,
       a.first_seen_at, a.last_seen_at, a.registered_at, a.provisioned, a.metadata, a.enabled, a.load, a.failures,
       a.cooldown_until, a.probing, a.created_at, a.updated_at
  FROM done a;
