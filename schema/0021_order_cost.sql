-- What accepting an order costs here is what bounds the front door. Of some 30 us a row in a batch of 32, a fifth went into keys that were
-- looked up row by row, and a tenth into setting up 27 CHECK constraints, each statement anew. The rules stay; how they are looked at changes.

-- An order's package: all packages of a statement are looked at and locked at once. The lock is the foreign key's (FOR KEY SHARE): a
-- package that is being deleted is waited for, and found gone; one that an order has been given is not deleted.
CREATE FUNCTION order_packages_exist() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    missing record;
BEGIN
    WITH named AS MATERIALIZED (SELECT DISTINCT tenant_id, package_id FROM fresh),
         found AS MATERIALIZED (SELECT p.tenant_id, p.id FROM named n JOIN packages p ON p.tenant_id = n.tenant_id AND p.id = n.package_id
                                   FOR KEY SHARE OF p)
    SELECT n.tenant_id, n.package_id INTO missing
      FROM named n LEFT JOIN found f ON f.tenant_id = n.tenant_id AND f.id = n.package_id
     WHERE f.id IS NULL LIMIT 1;
    IF FOUND THEN
        RAISE EXCEPTION 'an order names package % of shop %, which does not exist', missing.package_id, missing.tenant_id
            USING ERRCODE = 'foreign_key_violation', CONSTRAINT = 'order_has_package', TABLE = 'product_orders';
    END IF;
    RETURN NULL;
END $$;
CREATE TRIGGER order_has_package AFTER INSERT ON product_orders REFERENCING NEW TABLE AS fresh
    FOR EACH STATEMENT EXECUTE FUNCTION order_packages_exist();

CREATE FUNCTION order_package_stays() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'order % stays an order of its shop and its package', OLD.id
        USING ERRCODE = 'foreign_key_violation', CONSTRAINT = 'order_has_package', TABLE = 'product_orders';
END $$;
CREATE TRIGGER order_package_stays BEFORE UPDATE OF tenant_id, package_id ON product_orders FOR EACH ROW
    WHEN (OLD.tenant_id <> NEW.tenant_id OR OLD.package_id <> NEW.package_id) EXECUTE FUNCTION order_package_stays();

-- The other end. A snapshot from before the order was committed would not show it: so only READ COMMITTED, where each look is a new one.
CREATE FUNCTION package_is_ordered() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF current_setting('transaction_isolation') <> 'read committed' THEN
        RAISE EXCEPTION 'packages are deleted in READ COMMITTED: the orders of others must be seen' USING ERRCODE = 'foreign_key_violation',
            CONSTRAINT = 'order_has_package', TABLE = 'packages';
    END IF;
    IF TG_OP = 'TRUNCATE' THEN
        IF EXISTS (SELECT FROM product_orders) THEN
            RAISE EXCEPTION 'packages have orders' USING ERRCODE = 'foreign_key_violation', CONSTRAINT = 'order_has_package',
                TABLE = 'packages';
        END IF;
    ELSIF EXISTS (SELECT FROM product_orders WHERE tenant_id = OLD.tenant_id AND package_id = OLD.id) THEN
        RAISE EXCEPTION 'package % has orders', OLD.id USING ERRCODE = 'foreign_key_violation', CONSTRAINT = 'order_has_package',
            TABLE = 'packages';
    END IF;
    RETURN NULL;
END $$;
CREATE TRIGGER package_is_ordered AFTER DELETE ON packages FOR EACH ROW EXECUTE FUNCTION package_is_ordered();
CREATE TRIGGER package_is_renamed AFTER UPDATE OF tenant_id, id ON packages FOR EACH ROW
    WHEN (OLD.tenant_id <> NEW.tenant_id OR OLD.id <> NEW.id) EXECUTE FUNCTION package_is_ordered();
CREATE TRIGGER packages_are_ordered AFTER TRUNCATE ON packages FOR EACH STATEMENT EXECUTE FUNCTION package_is_ordered();
-- What is there has been looked at by the foreign key.
ALTER TABLE product_orders DROP CONSTRAINT product_orders_tenant_id_package_id_fkey;

-- The integration of an order is that of the placement last touched, and each placement has the foreign key: this one was looked at, with
-- NULL, for every new order, and could never have refused what the other lets through.
ALTER TABLE product_orders DROP CONSTRAINT product_orders_integration_id_fkey;

-- Ceilings and ranges of single columns, as one expression each table. The rules between columns keep their names.
ALTER TABLE product_orders
    DROP CONSTRAINT product_orders_user_identifier_check, DROP CONSTRAINT product_orders_extra_field_check,
    DROP CONSTRAINT product_orders_quantity_check, DROP CONSTRAINT product_orders_status_check,
    DROP CONSTRAINT product_orders_external_status_check, DROP CONSTRAINT product_orders_note_check,
    DROP CONSTRAINT product_orders_cost_currency_check, DROP CONSTRAINT product_orders_attempts_check,
    DROP CONSTRAINT product_orders_callback_url_check, DROP CONSTRAINT product_orders_reference_check,
    DROP CONSTRAINT product_orders_idempotency_key_check, DROP CONSTRAINT product_orders_body_hash_check,
    ADD CONSTRAINT order_columns CHECK (
        length(user_identifier) BETWEEN 1 AND 255 AND length(extra_field) <= 255 AND quantity BETWEEN 1 AND 100
        AND status IN ('pending', 'sending', 'sent', 'unconfirmed', 'completed', 'failed', 'cancelled', 'review')
        AND length(external_status) <= 64 AND length(note) <= 1000 AND cost_currency ~ '^[A-Z]{3}$' AND attempts >= 0
        AND length(callback_url) <= 2048 AND length(reference) BETWEEN 1 AND 128 AND length(idempotency_key) BETWEEN 1 AND 255
        AND length(body_hash) = 64);
ALTER TABLE jobs
    DROP CONSTRAINT jobs_queue_check, DROP CONSTRAINT jobs_task_check, DROP CONSTRAINT jobs_state_check,
    DROP CONSTRAINT jobs_generation_check, DROP CONSTRAINT jobs_attempt_check, DROP CONSTRAINT jobs_check,
    DROP CONSTRAINT jobs_max_attempts_check, DROP CONSTRAINT jobs_priority_check, DROP CONSTRAINT jobs_timeout_ms_check,
    DROP CONSTRAINT jobs_unique_key_check, DROP CONSTRAINT jobs_subject_check, DROP CONSTRAINT jobs_trace_check,
    DROP CONSTRAINT jobs_options_check,
    ADD CONSTRAINT job_columns CHECK (
        length(queue) BETWEEN 1 AND 64 AND length(task) BETWEEN 1 AND 128
        AND state IN ('ready', 'scheduled', 'completed', 'dead', 'cancelled')
        AND generation >= 1 AND snoozes BETWEEN 0 AND attempt AND max_attempts >= 0 AND priority BETWEEN 0 AND 9 AND timeout_ms >= 0
        AND length(unique_key) BETWEEN 1 AND 255 AND length(subject) <= 128 AND length(trace) <= 128
        AND octet_length(options::text) <= 1024);
