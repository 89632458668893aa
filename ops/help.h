/* help.h - what the rows of verbs[] and option_rows[] say: help, completion, man page. */
#pragma once

/* All verbs (argc 0), those of one noun, or one verb with its options; to stdout. The exit status:
 * 0, or 2 when nothing is called so. */
int help_print(int argc, char *const *argv);
/* "there is no 'order frob'; …" and what there is, to stderr; 2. */
int help_unknown(int argc, char *const *argv);
/* A completion script for bash or zsh, or "man": the manual page in roff; to stdout. 2 for another
 * word. */
int help_completion(const char *what);
