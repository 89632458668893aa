-- What an order and its job cost less, while everything that they keep stays as it is.

-- The job of an order is found by its key, 'order.dispatch:ID' or 'order.check:ID', of which one lives at a time. By its subject nobody looks
-- for a job: that index was the widest of the seven that each order went into.
DROP INDEX jobs_subject;

-- The same bounds, bytes first: a text has no more characters than bytes, and characters are counted one by one. NOT VALID, because what
-- is there was held to the same; nothing is read.
ALTER DOMAIN job_queue    DROP CONSTRAINT job_queue_check;
ALTER DOMAIN job_queue    ADD  CONSTRAINT job_queue_check    CHECK (VALUE <> '' AND (octet_length(VALUE) <= 64 OR length(VALUE) <= 64)) NOT VALID;
ALTER DOMAIN job_task     DROP CONSTRAINT job_task_check;
ALTER DOMAIN job_task     ADD  CONSTRAINT job_task_check     CHECK (VALUE <> '' AND (octet_length(VALUE) <= 128 OR length(VALUE) <= 128)) NOT VALID;
ALTER DOMAIN job_key      DROP CONSTRAINT job_key_check;
ALTER DOMAIN job_key      ADD  CONSTRAINT job_key_check      CHECK (VALUE <> '' AND (octet_length(VALUE) <= 255 OR length(VALUE) <= 255)) NOT VALID;
ALTER DOMAIN job_subject  DROP CONSTRAINT job_subject_check;
ALTER DOMAIN job_subject  ADD  CONSTRAINT job_subject_check  CHECK (octet_length(VALUE) <= 128 OR length(VALUE) <= 128) NOT VALID;
ALTER DOMAIN job_trace    DROP CONSTRAINT job_trace_check;
ALTER DOMAIN job_trace    ADD  CONSTRAINT job_trace_check    CHECK (octet_length(VALUE) <= 128 OR length(VALUE) <= 128) NOT VALID;
ALTER DOMAIN order_player DROP CONSTRAINT order_player_check;
ALTER DOMAIN order_player ADD  CONSTRAINT order_player_check CHECK (VALUE <> '' AND (octet_length(VALUE) <= 255 OR length(VALUE) <= 255)) NOT VALID;
ALTER DOMAIN order_extra  DROP CONSTRAINT order_extra_check;
ALTER DOMAIN order_extra  ADD  CONSTRAINT order_extra_check  CHECK (octet_length(VALUE) <= 255 OR length(VALUE) <= 255) NOT VALID;
