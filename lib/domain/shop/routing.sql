-- name: mapping_ambiguous
SELECT count(*) FROM catalogue_items WHERE integration_id = $1::uuid AND product = $2 AND kupur = $3;

-- name: mapping_set
WITH done AS (
    INSERT INTO package_mappings (tenant_id, package_id, integration_id, external_product, external_kupur)
    SELECT p.tenant_id, p.id, i.id, $4, $5
      FROM packages p JOIN integrations i ON i.tenant_id = p.tenant_id
     WHERE p.tenant_id = $1::uuid AND p.id = $2::uuid AND i.id = $3::uuid
    ON CONFLICT (package_id, integration_id) DO UPDATE
       SET external_product = excluded.external_product, external_kupur = excluded.external_kupur, updated_at = now()
    RETURNING *
), noted AS (
    INSERT INTO audit_log (tenant_id, actor, action, object_type, object_id, detail)
    SELECT tenant_id, $6, 'mapping.set', 'package', package_id::text,
           jsonb_build_object('integration_id', integration_id, 'product', external_product, 'kupur', external_kupur)
      FROM done
)
SELECT package_id FROM done;

-- name: mapping_list
SELECT m.package_id, m.integration_id, i.name, m.external_product, m.external_kupur
  FROM package_mappings m JOIN integrations i ON i.id = m.integration_id
 WHERE m.tenant_id = $1::uuid AND ($2::uuid IS NULL OR m.package_id = $2)
 ORDER BY m.package_id, i.name;

-- name: mapping_get
SELECT m.package_id, m.integration_id, i.name, m.external_product, m.external_kupur
  FROM package_mappings m JOIN integrations i ON i.id = m.integration_id
 WHERE m.package_id = $1::uuid AND m.integration_id = $2::uuid;

-- name: route_set
WITH done AS (
    INSERT INTO package_routing (tenant_id, package_id, primary_id, fallback_id)
    SELECT p.tenant_id, p.id, $3::uuid, $4::uuid FROM packages p WHERE p.tenant_id = $1::uuid AND p.id = $2::uuid
    ON CONFLICT (package_id) DO UPDATE
       SET primary_id = excluded.primary_id, fallback_id = excluded.fallback_id, updated_at = now()
    RETURNING *
), noted AS (
    INSERT INTO audit_log (tenant_id, actor, action, object_type, object_id, detail)
    SELECT tenant_id, $5, 'route.set', 'package', package_id::text,
           jsonb_build_object('primary_id', primary_id, 'fallback_id', fallback_id)
      FROM done
)
SELECT package_id FROM done;

-- name: route_list
SELECT r.package_id, d.name || '/' || p.name, r.primary_id, a.name, r.fallback_id, b.name
  FROM package_routing r
  JOIN packages p ON p.id = r.package_id
  JOIN products d ON d.id = p.product_id
  JOIN integrations a ON a.id = r.primary_id
  LEFT JOIN integrations b ON b.id = r.fallback_id
 WHERE r.tenant_id = $1::uuid
 ORDER BY 2;
