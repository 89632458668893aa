-- name: integration_add
WITH made AS (
    INSERT INTO integrations (id, tenant_id, name, kind, base_url, credentials, settings)
    SELECT $1::uuid, t.id, $3, $4, $5, $6, $7::jsonb FROM tenants t WHERE t.id = $2::uuid
    RETURNING *
), noted AS (
    INSERT INTO audit_log (tenant_id, actor, action, object_type, object_id, detail)
    SELECT tenant_id, $8, 'integration.add', 'integration', id::text,
           jsonb_build_object('name', name, 'kind', kind, 'base_url', base_url, 'settings', settings)
      FROM made
)
SELECT id, tenant_id, name, kind, base_url, credentials, settings, enabled, paused_until = 'infinity',
       nullif(paused_until, 'infinity'), breaker, breaker_failures, breaker_until, trim_scale(balance),
       trim_scale(balance_debt), balance_updated_at, created_at, account_since
  FROM made;

-- name: integration_list
-- By tenant ($1), id ($2), name ($3); NULL: any. $4: only enabled ones.
SELECT id, tenant_id, name, kind, base_url, credentials, settings, enabled, paused_until = 'infinity',
       nullif(paused_until, 'infinity'), breaker, breaker_failures, breaker_until, trim_scale(balance),
       trim_scale(balance_debt), balance_updated_at, created_at, account_since
  FROM integrations
 WHERE ($1::uuid IS NULL OR tenant_id = $1) AND ($2::uuid IS NULL OR id = $2) AND ($3::text IS NULL OR name = $3)
   AND (enabled OR NOT $4::boolean)
 ORDER BY tenant_id, name;

-- name: integration_change
WITH done AS (
    UPDATE integrations
       SET credentials = coalesce($2, credentials), settings = coalesce($3::jsonb, settings),
           base_url = coalesce($4, base_url),
           account_since = CASE WHEN coalesce($2, $4) IS NULL THEN account_since ELSE now() END
     WHERE id = $1::uuid
    RETURNING *
), noted AS (
    INSERT INTO audit_log (tenant_id, actor, action, object_type, object_id, detail)
    SELECT tenant_id, $5, 'integration.change', 'integration', id::text,
           jsonb_build_object('credentials', $2::text IS NOT NULL, 'settings', settings, 'base_url', base_url)
      FROM done
)
SELECT id FROM done;

-- name: integration_enable
WITH done AS (
    UPDATE integrations SET enabled = $2::boolean WHERE id = $1::uuid RETURNING *
), noted AS (
    INSERT INTO audit_log (tenant_id, actor, action, object_type, object_id, detail)
    SELECT tenant_id, $3, 'integration.enable', 'integration', id::text, jsonb_build_object('enabled', enabled) FROM done
)
SELECT id FROM done;

-- name: integration_pause
-- $3: for ever, else until $2 (NULL: resumed).
WITH done AS (
    UPDATE integrations
       SET paused_until = CASE WHEN $3::boolean THEN 'infinity'::timestamptz ELSE $2::timestamptz END
     WHERE id = $1::uuid
    RETURNING *
), noted AS (
    INSERT INTO audit_log (tenant_id, actor, action, object_type, object_id, detail)
    SELECT tenant_id, $4, CASE WHEN paused_until IS NULL THEN 'integration.resume' ELSE 'integration.pause' END,
           'integration', id::text, jsonb_build_object('until', paused_until)
      FROM done
)
SELECT id FROM done;

-- name: integration_breaker
UPDATE integrations SET breaker = $2, breaker_failures = $3::int, breaker_until = $4::timestamptz WHERE id = $1::uuid;

-- name: integration_balance
UPDATE integrations
   SET balance = $2::numeric, balance_debt = $3::numeric, balance_updated_at = now()
 WHERE id = $1::uuid;
