-- What a column may hold becomes its type. The CHECK constraints of a table are read from their stored form by every statement that writes
-- to it: 20 kB of it for an order and its job, a tenth of the statement that accepts orders. Those of a type are read once a session. A
-- column that a trigger or another column is made of keeps its type, and rules between columns stay with their tables.
-- Words that only machines compare are compared byte by byte (COLLATE "C"): in an index the order of a human language costs a twentieth
-- more for each new order, and nobody reads these in an order of theirs.
-- Both tables are written anew: some minutes for ten million rows, in which nobody else reads or writes them.

CREATE DOMAIN job_queue      AS text COLLATE "C" CHECK (length(VALUE) BETWEEN 1 AND 64);
CREATE DOMAIN job_task       AS text COLLATE "C" CHECK (length(VALUE) BETWEEN 1 AND 128);
CREATE DOMAIN job_key        AS text COLLATE "C" CHECK (length(VALUE) BETWEEN 1 AND 255);
CREATE DOMAIN job_subject    AS text COLLATE "C" CHECK (length(VALUE) <= 128);
CREATE DOMAIN job_trace      AS text COLLATE "C" CHECK (length(VALUE) <= 128);
CREATE DOMAIN job_priority   AS smallint         CHECK (VALUE BETWEEN 0 AND 9);
CREATE DOMAIN job_count      AS integer          CHECK (VALUE >= 0);
CREATE DOMAIN job_timeout_ms AS bigint           CHECK (VALUE >= 0);

ALTER TABLE jobs
    DROP CONSTRAINT job_columns,
    DROP CONSTRAINT jobs_ended_has_time,
    ALTER queue        TYPE job_queue,
    ALTER task         TYPE job_task,
    ALTER unique_key   TYPE job_key,
    ALTER subject      TYPE job_subject,
    ALTER trace        TYPE job_trace,
    ALTER priority     TYPE job_priority,
    ALTER max_attempts TYPE job_count,
    ALTER timeout_ms   TYPE job_timeout_ms,
    ADD CONSTRAINT job_states CHECK (state IN ('ready', 'scheduled', 'completed', 'dead', 'cancelled')),
    ADD CONSTRAINT job_numbers CHECK (generation >= 1 AND snoozes BETWEEN 0 AND attempt),
    ADD CONSTRAINT job_options CHECK (octet_length(options::text) <= 1024),
    ADD CONSTRAINT jobs_ended_has_time CHECK (live = (finished_at IS NULL));

CREATE DOMAIN order_player        AS text             CHECK (length(VALUE) BETWEEN 1 AND 255);
CREATE DOMAIN order_extra         AS text             CHECK (length(VALUE) <= 255);
CREATE DOMAIN order_quantity      AS integer          CHECK (VALUE BETWEEN 1 AND 100);
CREATE DOMAIN order_provider_word AS text             CHECK (length(VALUE) <= 64);
CREATE DOMAIN order_note          AS text             CHECK (length(VALUE) <= 1000);
CREATE DOMAIN order_currency      AS text COLLATE "C" CHECK (VALUE ~ '^[A-Z]{3}$');
CREATE DOMAIN order_count         AS integer          CHECK (VALUE >= 0);
CREATE DOMAIN order_url           AS text COLLATE "C" CHECK (length(VALUE) <= 2048);
CREATE DOMAIN order_client_ref    AS text COLLATE "C" CHECK (length(VALUE) BETWEEN 1 AND 128);
CREATE DOMAIN order_key           AS text COLLATE "C" CHECK (length(VALUE) BETWEEN 1 AND 255);
CREATE DOMAIN order_hash          AS text COLLATE "C" CHECK (length(VALUE) = 64);

ALTER TABLE product_orders
    DROP CONSTRAINT order_columns,
    ALTER user_identifier   TYPE order_player,
    ALTER extra_field       TYPE order_extra,
    ALTER quantity          TYPE order_quantity,
    ALTER external_status   TYPE order_provider_word,
    ALTER note              TYPE order_note,
    ALTER cost_currency     TYPE order_currency,
    ALTER attempts          TYPE order_count,
    ALTER callback_url      TYPE order_url,
    ALTER reference         TYPE order_client_ref,
    ALTER idempotency_key   TYPE order_key,
    ALTER body_hash         TYPE order_hash,
    ALTER provider_referans TYPE text COLLATE "C",
    ADD CONSTRAINT order_states CHECK (status IN ('pending', 'sending', 'sent', 'unconfirmed', 'completed', 'failed', 'cancelled',
                                                  'review'));

-- Lists walk it backwards. New orders come at its end, where there is room, instead of splitting pages at the front of their shop's part.
DROP INDEX order_of_tenant;
CREATE INDEX order_of_tenant ON product_orders (tenant_id, id);
