-- Whoever is given a request, or ends one, has another load: each of those writes puts the agent's metadata into the index anew. Kept
-- aside in a pending list, they made a search read all of the list: 6 ms after 20 000 of them, among 10 000 agents. Put where they belong
-- at once, writing costs the same and searching 0.02 ms. What is over is cleaned away early, for the sake of the ordered lists.
CREATE INDEX agents_by_metadata ON agents USING gin (metadata jsonb_path_ops) WITH (fastupdate = off);
DROP INDEX agents_metadata;
ALTER TABLE agents SET (autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_threshold = 1000,
                        autovacuum_analyze_scale_factor = 0.05);
