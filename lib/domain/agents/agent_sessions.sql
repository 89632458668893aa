-- name: agent_token_take
-- A session begins with a token that is good at this moment: its row is held until the commit, so that a revocation comes before
-- or after, never in between.
UPDATE agent_auth_tokens SET last_used_at = now()
 WHERE token_id = $1::uuid AND agent_id = $2 AND status = 'active' AND (expires_at IS NULL OR expires_at > now())
RETURNING 1;

-- name: agent_session_begin
-- An agent that rests goes on resting: a reconnect heals nothing. What was provisioned counts before what it says itself.
UPDATE agents a
   SET session_id = $2::uuid, hub_instance_id = $3, token_id = $4::uuid,
       status = CASE WHEN a.cooldown_ms > 0 THEN 'cooldown' ELSE 'active' END,
       last_ip_address = coalesce($5::inet, a.last_ip_address), agent_version = coalesce($6, a.agent_version),
       metadata = $7::jsonb || a.provisioned,
       first_seen_at = coalesce(a.first_seen_at, now()), last_seen_at = now(), registered_at = now(), updated_at = now()
  FROM tenants t
 WHERE a.agent_id = $1 AND a.enabled AND t.id = a.tenant_id AND t.enabled
   AND EXISTS (SELECT FROM agent_auth_tokens k WHERE k.token_id = $4::uuid AND k.agent_id = a.agent_id AND k.status = 'active'
                                                     AND (k.expires_at IS NULL OR k.expires_at > now()))
RETURNING a.agent_id, a.tenant_id, a.status, a.agent_type, a.agent_version, host(a.last_ip_address), a.hub_instance_id, a.session_id,
       a.first_seen_at, a.last_seen_at, a.registered_at, a.provisioned, a.metadata, a.enabled, a.load, a.failures,
       a.cooldown_until, a.probing, a.created_at, a.updated_at;

-- name: agent_session_end
UPDATE agents
   SET status = 'inactive', session_id = NULL, hub_instance_id = NULL, token_id = NULL, registered_at = NULL,
       last_seen_at = now(), updated_at = now()
 WHERE agent_id = $1 AND session_id = $2::uuid;

-- name: agent_sessions_end_of
-- Sessions that stand on a token that is good no more. $2 NULL: on any.
UPDATE agents
   SET status = 'inactive', session_id = NULL, hub_instance_id = NULL, token_id = NULL, registered_at = NULL, updated_at = now()
 WHERE agent_id = $1 AND session_id IS NOT NULL AND ($2::uuid IS NULL OR token_id = $2)
   AND ($3::uuid IS NULL OR tenant_id = $3)
   AND NOT EXISTS (SELECT FROM agent_auth_tokens k WHERE k.token_id = agents.token_id AND k.status = 'active');

-- name: agents_seen
-- Answers with the places of those whose session is still theirs, and still permitted: time ends a token without a word, and so does
-- who switches a tenant off. Rows are locked in one order, as everywhere.
WITH input AS (
    SELECT * FROM unnest($1::text[], $2::uuid[]) WITH ORDINALITY AS i (agent_id, session_id, ord)
), held AS MATERIALIZED (
    SELECT a.agent_id, i.ord FROM agents a JOIN input i ON i.agent_id = a.agent_id AND i.session_id = a.session_id
      JOIN agent_auth_tokens k ON k.token_id = a.token_id JOIN tenants t ON t.id = a.tenant_id
     WHERE a.enabled AND t.enabled AND k.status = 'active' AND (k.expires_at IS NULL OR k.expires_at > now())
     ORDER BY a.agent_id FOR NO KEY UPDATE OF a
), seen AS (
    UPDATE agents a SET last_seen_at = now() FROM held h WHERE a.agent_id = h.agent_id
)
SELECT ord FROM held;

-- name: agents_regain
-- This hub was taken for dead, and its sessions stand: those that no other has replaced are the agents' again. As at the begin of one,
-- tokens are held first, and must be good. Answers with the places of those that are regained.
WITH input AS (
    SELECT * FROM unnest($2::text[], $3::uuid[], $4::uuid[]) WITH ORDINALITY AS i (agent_id, session_id, token_id, ord)
), good AS MATERIALIZED (
    SELECT i.agent_id, i.session_id, i.token_id, i.ord FROM agent_auth_tokens k
      JOIN input i ON i.token_id = k.token_id AND i.agent_id = k.agent_id
     WHERE k.status = 'active' AND (k.expires_at IS NULL OR k.expires_at > now())
     ORDER BY k.token_id FOR SHARE OF k
), held AS MATERIALIZED (
    SELECT g.* FROM agents a JOIN good g ON g.agent_id = a.agent_id JOIN tenants t ON t.id = a.tenant_id
     WHERE a.session_id IS NULL AND a.enabled AND t.enabled
     ORDER BY a.agent_id FOR NO KEY UPDATE OF a
), regained AS (
    UPDATE agents a
       SET session_id = h.session_id, hub_instance_id = $1, token_id = h.token_id,
           status = CASE WHEN a.cooldown_ms > 0 THEN 'cooldown' ELSE 'active' END,
           last_seen_at = now(), registered_at = now(), updated_at = now()
      FROM held h WHERE a.agent_id = h.agent_id
)
SELECT ord FROM held;

-- name: hub_instance_seen
INSERT INTO hub_instances (id, host, pid) VALUES ($1, $2, $3::int)
ON CONFLICT (id) DO UPDATE SET seen_at = now();

-- name: hub_instance_gone
DELETE FROM hub_instances WHERE id = $1;

-- name: hub_instances_bury
-- $1: silent for so many ms.
DELETE FROM hub_instances WHERE seen_at < now() - $1::bigint * interval '1 millisecond';

-- name: agents_sweep
-- Agents of hubs that are no more. Who is busy with one of them now (a new session, an end) is right about it.
WITH orphans AS MATERIALIZED (
    SELECT a.agent_id FROM agents a
     WHERE a.hub_instance_id IS NOT NULL AND NOT EXISTS (SELECT FROM hub_instances h WHERE h.id = a.hub_instance_id)
     ORDER BY a.agent_id LIMIT $1::int
       FOR NO KEY UPDATE SKIP LOCKED
)
UPDATE agents a
   SET status = 'inactive', session_id = NULL, hub_instance_id = NULL, token_id = NULL, registered_at = NULL, updated_at = now()
  FROM orphans o
 WHERE a.agent_id = o.agent_id;
