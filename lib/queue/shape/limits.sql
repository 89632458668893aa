-- Limits of queues and keys.

-- name: limit_set
-- The same limit for each of the queues; more than one share it.
INSERT INTO queue_limits (queue, key, shared, definition)
SELECT q, $2, CASE WHEN cardinality($1::text[]) > 1 THEN $1::text[] END, $3::json FROM unnest($1::text[]) AS q
ON CONFLICT (queue, key) DO UPDATE SET shared = excluded.shared, definition = excluded.definition, updated_at = now();

-- name: limit_sharers
-- Queues that hold this limit now, and those that it is set for.
SELECT DISTINCT q FROM (
    SELECT unnest($1::text[]) AS q
     UNION ALL SELECT unnest(shared) FROM queue_limits WHERE queue = ANY ($1::text[]) AND key = $2) AS all_of_them ORDER BY q;

-- name: limit_remove
DELETE FROM queue_limits WHERE key = $2 AND (queue = $1 OR $1 = ANY (shared)) RETURNING queue;

-- name: limit_force
UPDATE queue_limits
   SET definition = jsonb_set(definition::jsonb, '{breaker,forced}', coalesce(to_jsonb($3::text), 'null'))::json, updated_at = now()
 WHERE key = $2 AND (queue = $1 OR $1 = ANY (shared)) AND json_typeof(definition -> 'breaker') = 'object' RETURNING queue;

-- name: limit_known
SELECT 1 FROM queue_limits WHERE queue = $1 AND key = $2;

-- name: limits_list
SELECT queue, array_to_string(shared, ','), definition FROM queue_limits WHERE ($1::text IS NULL OR queue = $1) ORDER BY queue, key;

-- name: limits_queue_row
-- Beat copies the gates of queues that have a row.
INSERT INTO queue_states (queue) SELECT unnest($1::text[]) ON CONFLICT DO NOTHING;
