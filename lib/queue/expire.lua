#!lua flags=allow-oom
-- expire.lua: jobs that were not begun in time are taken out; those under way go on.
-- KEYS: 5
-- KEYS[1] jobs  KEYS[2] lease  KEYS[3] cancel  KEYS[4] unique  KEYS[5] unique_of
-- ARGV[1..n] id
-- returns a digit for each: 0 not known here, 1 taken out, 2 leased
-- include: part
return (part(KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5], ARGV))
