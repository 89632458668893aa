/* ptext.h - a provider's words made safe to store: UTF-8, bounded, without control characters; and folded to compare.
 *
 * Nobody documents the charset. All clients seen read UTF-8; bytes that are not UTF-8 are read as windows-1254 (Turkish, a
 * superset of ISO 8859-9). Some panels percent-encode their texts (providers' facts, "Q6"). Results live in the arena. */
#pragma once
#include "base/arena.h"

/* n bytes as valid UTF-8; U+0000 becomes U+FFFD. */
char *ptext_utf8(struct arena *a, const char *s, size_t n);
/* For people: UTF-8, percent-decoded when it is a percent-encoded text, control characters as spaces, trimmed, at most max
 * bytes. Never NULL. */
char *ptext_clean(struct arena *a, const char *s, size_t n, size_t max);
/* For comparing: lower case, Turkish letters as ASCII (ı, İ -> i, ş -> s ...), runs of white space as one space. */
char *ptext_fold(struct arena *a, const char *s);
/* Does the folded text contain one of the words (NULL-terminated list)? */
bool ptext_has(const char *folded, const char *const *words);
/* Tags and the common entities removed, dots and dashes at the ends trimmed: for catalogue names. */
char *ptext_plain(struct arena *a, const char *s, size_t max);
/* Reads a decimal with point or comma ("12.5", "12,50", "-3.00", " 1 "), at most 15 digits before and 6 after the mark, into
 * the form "12.5"; NULL when it is none. */
char *ptext_decimal(struct arena *a, const char *s, size_t n);
/* s with every occurrence of each secret (3 bytes or longer; NULL-terminated list) replaced by "***". */
char *ptext_redact(struct arena *a, const char *s, const char *const *secrets);
