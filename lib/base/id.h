/* id.h - UUIDv7 (RFC 9562 §5.7): sorts by birth, so that new rows land on one side of an index.
 *
 *   48 bits ms since 1970 | 4 bits 7 | 12 bits counter in the ms | 2 bits 10 | 62 random bits */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define ID_LEN 36

/* A new id as lower-case text; out holds ID_LEN + 1 bytes; returns out. Ids of one thread
 * never go back, and none repeat. */
char *id_new(char *out);
/* Lower-cases and copies s when it is a UUID of any version in the 8-4-4-4-12 form; false
 * otherwise. */
bool id_parse(const char *s, char *out);
/* The 16 bytes of what id_parse would take; false otherwise. */
bool id_bytes(const char *s, unsigned char out[16]);
/* When a UUIDv7 was made, ms since 1970; 0 for another version. s is what id_parse took. */
int64_t id_time_ms(const char *s);
/* n random bytes from the kernel's generator (buffered; fork-safe). */
void random_bytes(void *out, size_t n);
/* Uniform in [0, n); n > 0. Not for secrets: jitter, sampling. */
uint64_t random_below(uint64_t n);
