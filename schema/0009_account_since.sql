-- Since when a row names the account that it names; NULL: since it was made. An order in doubt is sent again under its reference where
-- the provider merges duplicates, and the provider is the account that was called: another base URL or other credentials may be
-- another account, which knows nothing of the first call and would deliver beside it.
ALTER TABLE integrations ADD COLUMN account_since timestamptz;
