-- What most jobs do not have (a deadline to begin, a limit's key, a place in a workflow …): one flat JSON object, so that a
-- plain job pays a NULL. lib/queue/options.h says what is in it; whoever must find jobs by one of its members makes an
-- index WHERE options IS NOT NULL, which plain jobs never enter.
ALTER TABLE jobs ADD COLUMN options json CHECK (octet_length(options::text) <= 1024);
ALTER TABLE dead_letters ADD COLUMN options text CHECK (octet_length(options) <= 1024);
