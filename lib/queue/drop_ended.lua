#!lua flags=allow-oom
-- drop_ended.lua: forget jobs that PostgreSQL has ended; their tokens are dropped by the next claim that meets them.
-- KEYS: 4
-- KEYS[1] jobs  KEYS[2] cancel  KEYS[3] unique  KEYS[4] unique_of
-- ARGV[1..] ids
-- returns how many were there
-- include: options
-- include: shape/tally
-- include: gone
local ids = {}
for i = 1, #ARGV do
    ids[i] = ARGV[i]
end
return forget_jobs(KEYS[1], KEYS[2], KEYS[3], KEYS[4], ids)
