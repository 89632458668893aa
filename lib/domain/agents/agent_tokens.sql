-- name: agent_token_add
-- $5 > 0: the others of the agent end after so many ms at the latest.
WITH owner AS (
    SELECT agent_id, tenant_id FROM agents WHERE agent_id = $2 AND ($8::uuid IS NULL OR tenant_id = $8)
), made AS (
    INSERT INTO agent_auth_tokens (token_id, agent_id, prefix, token_hash, expires_at)
    SELECT $1::uuid, agent_id, $3, $4, $6::timestamptz FROM owner
    RETURNING *
), grace AS (
    UPDATE agent_auth_tokens k SET expires_at = now() + $5::bigint * interval '1 millisecond'
      FROM owner o
     WHERE k.agent_id = o.agent_id AND k.status = 'active' AND $5::bigint > 0
       AND (k.expires_at IS NULL OR k.expires_at > now() + $5::bigint * interval '1 millisecond')
    RETURNING k.token_id
), awaited AS (
    UPDATE agents a SET status = 'pending_activation', updated_at = now()
      FROM owner o
     WHERE a.agent_id = o.agent_id AND a.status = 'inactive' AND a.first_seen_at IS NULL
), noted AS (
    INSERT INTO audit_log (tenant_id, actor, action, object_type, object_id, detail)
    SELECT o.tenant_id, $7, 'agent.token_add', 'agent', left(o.agent_id, 160),
           jsonb_build_object('token_id', m.token_id, 'prefix', m.prefix, 'expires_at', m.expires_at,
                              'older_end', (SELECT count(*) FROM grace))
      FROM made m JOIN owner o USING (agent_id)
)
SELECT token_id, agent_id, prefix, status, created_at, expires_at, last_used_at, revoked_at FROM made;

-- name: agent_token_load
SELECT k.token_hash, CASE WHEN k.status = 'revoked' THEN 'revoked' WHEN k.expires_at <= now() THEN 'expired'
                          WHEN NOT (a.enabled AND t.enabled) THEN 'disabled' ELSE 'good' END,
       a.tenant_id, a.agent_id, k.token_id, k.expires_at
  FROM agent_auth_tokens k JOIN agents a ON a.agent_id = k.agent_id JOIN tenants t ON t.id = a.tenant_id
 WHERE k.prefix = $1;

-- name: agent_token_list
SELECT k.token_id, a.agent_id, k.prefix, k.status, k.created_at, k.expires_at, k.last_used_at, k.revoked_at
  FROM agents a LEFT JOIN agent_auth_tokens k ON k.agent_id = a.agent_id
 WHERE a.agent_id = $1 AND ($2::uuid IS NULL OR a.tenant_id = $2)
 ORDER BY k.token_id DESC;

-- name: agent_token_revoke
-- Revoking twice keeps the first time, and is audited once. An agent that waited for its first session with this token waits no more.
WITH found AS (
    SELECT k.token_id, k.agent_id, a.tenant_id, k.status, k.prefix
      FROM agent_auth_tokens k JOIN agents a ON a.agent_id = k.agent_id
     WHERE k.agent_id = $1 AND ($2::uuid IS NULL OR a.tenant_id = $2) AND ($3::uuid IS NULL OR k.token_id = $3)
     ORDER BY k.token_id FOR UPDATE OF k
), done AS (
    UPDATE agent_auth_tokens k SET status = 'revoked', revoked_at = now()
      FROM found f WHERE k.token_id = f.token_id AND k.status = 'active'
    RETURNING k.token_id
), noted AS (
    INSERT INTO audit_log (tenant_id, actor, action, object_type, object_id, detail)
    SELECT f.tenant_id, $4, 'agent.token_revoke', 'agent', left(f.agent_id, 160),
           jsonb_build_object('token_id', f.token_id, 'prefix', f.prefix)
      FROM found f JOIN done d USING (token_id)
)
SELECT token_id FROM found;

-- name: agent_awaited_no_more
UPDATE agents a SET status = 'inactive', updated_at = now()
 WHERE a.agent_id = $1 AND a.status = 'pending_activation'
   AND NOT EXISTS (SELECT FROM agent_auth_tokens k WHERE k.agent_id = a.agent_id AND k.status = 'active'
                                                        AND (k.expires_at IS NULL OR k.expires_at > now()));

-- name: agent_tokens_touch
UPDATE agent_auth_tokens SET last_used_at = now() WHERE token_id = ANY ($1::uuid[]);
