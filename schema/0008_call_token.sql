-- Whose call is it? A placement that certainly never left us (unsent) is called again under the same reference, and its row looks
-- then as it looked before. Whoever comes late with a word about the older call (its answer was stored in doubt and is stored
-- again, a frozen process wakes up) must not be taken for the caller of the newer one: believed, "it never left us" would let
-- a third call go out beside the second. So each time that 'sending' is stored, a number of the caller's own making is stored with
-- it, and the words that free a reference hold only for that number.
ALTER TABLE order_placements ADD COLUMN call_token bigint NOT NULL DEFAULT 0;

-- pending -> sent: an operator calls one unit of a waiting order delivered, the others still wait.
CREATE OR REPLACE FUNCTION order_may_move(a text, b text) RETURNS boolean IMMUTABLE LANGUAGE sql AS $$
    SELECT CASE a
        WHEN 'pending'     THEN b IN ('sending', 'sent', 'failed', 'cancelled', 'review', 'completed')
        WHEN 'sending'     THEN b IN ('pending', 'sent', 'unconfirmed', 'completed', 'failed', 'review')
        WHEN 'sent'        THEN b IN ('pending', 'sending', 'unconfirmed', 'completed', 'failed', 'review')
        WHEN 'unconfirmed' THEN b IN ('pending', 'sending', 'sent', 'completed', 'failed', 'review')
        WHEN 'review'      THEN b IN ('pending', 'sent', 'unconfirmed', 'completed', 'failed')
        ELSE false
    END
$$;
