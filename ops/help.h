/* help.h - what the rows of verbs[] say: help, completion, man page. */
#pragma once

/* All verbs, those of one noun, or one verb; to stdout. The exit status: 0, or 2 when nothing is
 * called so. */
int help_print(const char *noun, const char *verb);
/* "unknown: …" to stderr; 2. */
int help_usage(const char *word);
/* A completion script for bash or zsh to stdout, or "man": the manual page in roff. 2 for another
 * word. */
int help_completion(const char *shell);
