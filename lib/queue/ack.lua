#!lua flags=allow-oom
-- ack.lua: finish leased jobs.
-- KEYS: 7
-- KEYS[1] jobs  KEYS[2] lease  KEYS[3] stats  KEYS[4] rate  KEYS[5] cancel  KEYS[6] unique  KEYS[7] unique_of
-- ARGV[1] now, ms ('': Redis TIME)  ARGV[2] how many of them died  ARGV[3..] tokens
-- returns {done, refused}
-- include: now
-- include: options
-- include: shape/tally
-- include: gone
-- include: finish
local done, refused = finish({jobs = KEYS[1], lease = KEYS[2], stats = KEYS[3], rate = KEYS[4], cancel = KEYS[5],
                              unique = KEYS[6], unique_of = KEYS[7]}, 3, clock(ARGV[1]), tonumber(ARGV[2]))
return {done, refused}
