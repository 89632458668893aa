-- One queue spread over several shards (lib/queue/shards.h). Over how many its new jobs go is a member of its policy; so many of
-- its shards, from the first on, may have jobs: more than that after the number was lowered, until beat has found the others empty.

ALTER TABLE queue_states
    ADD COLUMN shards_held smallint NOT NULL DEFAULT 1 CHECK (shards_held BETWEEN 1 AND 16);
