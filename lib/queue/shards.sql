-- A queue over several shards.

-- name: shards_closed
-- Queues with shards that take nothing new, long enough for every producer to have heard of it.
SELECT queue, coalesce((policy ->> 'shards')::integer, 1), shards_held::integer FROM queue_states
 WHERE shards_held > coalesce((policy ->> 'shards')::integer, 1) AND updated_at < now() - $1::bigint * interval '1 millisecond';

-- name: shards_retire
-- The last shard was found empty. No row: somebody has spread the queue again meanwhile.
UPDATE queue_states SET shards_held = $2::integer - 1
 WHERE queue = $1 AND shards_held = $2::integer AND coalesce((policy ->> 'shards')::integer, 1) < $2::integer RETURNING shards_held;

-- name: shards_limited
-- A limit of the queue as a whole.
SELECT 1 FROM queue_limits WHERE queue = $1 AND key = '=';
