-- Limits: how often jobs of a key may begin, how many at once, and when its breaker opens (lib/queue/limits.h). A row a queue and
-- key; what several queues share stands in each of their rows, with the same list of queues.
CREATE TABLE queue_limits (
    queue      text NOT NULL CHECK (length(queue) BETWEEN 1 AND 64),
    key        text NOT NULL CHECK (key ~ '^([A-Za-z0-9_.:@-]{1,64}|[*=])$'),
    shared     text[] CHECK (cardinality(shared) BETWEEN 2 AND 32 AND queue = ANY (shared)),
    definition json NOT NULL CHECK (octet_length(definition::text) <= 2048),
    updated_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (queue, key)
);
