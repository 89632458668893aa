-- name: product_add
WITH made AS (
    INSERT INTO products (id, tenant_id, name) SELECT $1::uuid, t.id, $3 FROM tenants t WHERE t.id = $2::uuid
    RETURNING *
), noted AS (
    INSERT INTO audit_log (tenant_id, actor, action, object_type, object_id, detail)
    SELECT tenant_id, $4, 'product.add', 'product', id::text, jsonb_build_object('name', name) FROM made
)
SELECT id, tenant_id, name, enabled, created_at FROM made;

-- name: product_list
-- $2, $3: an id or a name; both NULL: all.
SELECT id, tenant_id, name, enabled, created_at
  FROM products
 WHERE tenant_id = $1::uuid AND ($2::uuid IS NULL OR id = $2) AND ($3::text IS NULL OR name = $3)
 ORDER BY name;

-- name: package_add
WITH made AS (
    INSERT INTO packages (id, tenant_id, product_id, name)
    SELECT $1::uuid, d.tenant_id, d.id, $4 FROM products d WHERE d.tenant_id = $2::uuid AND d.id = $3::uuid
    RETURNING *
), noted AS (
    INSERT INTO audit_log (tenant_id, actor, action, object_type, object_id, detail)
    SELECT tenant_id, $5, 'package.add', 'package', id::text, jsonb_build_object('name', name, 'product_id', product_id)
      FROM made
)
SELECT m.id, m.tenant_id, m.product_id, d.name, m.name, m.enabled, false, m.created_at
  FROM made m JOIN products d ON d.id = m.product_id;

-- name: package_list
-- By id ($2), product id ($3), package name ($4), product name ($5); NULL: any.
SELECT p.id, p.tenant_id, p.product_id, d.name, p.name, p.enabled,
       EXISTS (SELECT FROM package_routing r JOIN integrations i ON i.id IN (r.primary_id, r.fallback_id)
                WHERE r.package_id = p.id AND i.enabled),
       p.created_at
  FROM packages p JOIN products d ON d.id = p.product_id
 WHERE p.tenant_id = $1::uuid AND ($2::uuid IS NULL OR p.id = $2) AND ($3::uuid IS NULL OR p.product_id = $3)
   AND ($4::text IS NULL OR p.name = $4) AND ($5::text IS NULL OR d.name = $5)
 ORDER BY d.name, p.name;

-- name: package_enable
WITH done AS (
    UPDATE packages SET enabled = $2::boolean WHERE id = $1::uuid RETURNING *
), noted AS (
    INSERT INTO audit_log (tenant_id, actor, action, object_type, object_id, detail)
    SELECT tenant_id, $3, 'package.enable', 'package', id::text, jsonb_build_object('enabled', enabled) FROM done
)
SELECT id FROM done;

-- name: catalogue_put
INSERT INTO catalogue_items (integration_id, external_id, product, kupur, name, game, price, raw, seen_at)
SELECT DISTINCT ON (t.external_id)
       $1::uuid, t.external_id, t.product, t.kupur, t.name, t.game, t.price, t.raw, now()
  FROM unnest($2::text[], $3::text[], $4::text[], $5::text[], $6::text[], $7::numeric[], $8::jsonb[]) WITH ORDINALITY
           AS t (external_id, product, kupur, name, game, price, raw, ord)
 ORDER BY t.external_id, t.ord DESC
ON CONFLICT (integration_id, external_id) DO UPDATE
   SET product = excluded.product, kupur = excluded.kupur, name = excluded.name, game = excluded.game,
       price = excluded.price, raw = excluded.raw, seen_at = excluded.seen_at;

-- name: catalogue_collisions
-- Goods seen at the last import that share what the provider is told with another of them.
SELECT count(*)
  FROM (SELECT count(*) OVER (PARTITION BY product, kupur) AS alike
          FROM catalogue_items
         WHERE integration_id = $1::uuid
           AND seen_at = (SELECT max(seen_at) FROM catalogue_items WHERE integration_id = $1::uuid)) AS c
 WHERE alike > 1;

-- name: catalogue_list
SELECT external_id, product, kupur, name, game, trim_scale(price), raw, seen_at, collides
  FROM (SELECT *, count(*) OVER (PARTITION BY product, kupur) > 1 AS collides
          FROM catalogue_items WHERE integration_id = $1::uuid) AS c
 WHERE $2::text IS NULL OR strpos(lower(name || ' ' || game), lower($2)) > 0 OR external_id = $2
 ORDER BY game, name, external_id
 LIMIT $3::int;
