-- What ended of late, over all jobs: for those who follow along (mihwar job tail). Rows come in the order of time, so that a block
-- range index finds the last minutes among millions of them, and costs the writers next to nothing: a tree by time would cost each
-- attempt a page of its own. A range that nobody has summed up is read whole by every question, so each is summed up as soon as the
-- next one begins, and is as large as autovacuum can follow: a megabyte, some 8000 attempts.
CREATE INDEX job_attempts_finished ON job_attempts USING brin (finished_at) WITH (pages_per_range = 128, autosummarize = on);
