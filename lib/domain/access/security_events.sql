-- name: security_events_add
INSERT INTO security_events (at, tenant_id, kind, door, identity, source, route, detail, times)
SELECT at, tenant_id, kind, door, left(identity, 300), source, left(route, 128), left(detail, 400), times
  FROM unnest($1::timestamptz[], $2::uuid[], $3::text[], $4::text[], $5::text[], $6::inet[], $7::text[], $8::text[], $9::int[])
       AS e (at, tenant_id, kind, door, identity, source, route, detail, times);

-- name: security_event_list
SELECT id, at, tenant_id, kind, door, identity, host(source), route, detail, times
  FROM security_events
 WHERE ($1::uuid IS NULL OR tenant_id = $1) AND ($2::text IS NULL OR kind = $2) AND ($3::inet IS NULL OR source <<= $3)
   AND ($4::text IS NULL OR identity = $4) AND ($5::timestamptz IS NULL OR at >= $5) AND ($6::bigint = 0 OR id < $6)
 ORDER BY id DESC
 LIMIT $7::int;
