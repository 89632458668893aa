/* words.h - the command line, before anything is opened: which row of verbs[] it names, and
 * whether its options and arguments are those of the row. */
#pragma once
#include "ops/verb.h"

#define VERB_WORDS 3 /* at most: "agent token add" */
/* One to three words name a verb; *ret_used says how many. NULL: none is called so. */
const struct verb *verb_find(int argc, char *const *argv, int *ret_used);
/* "agent token": the first n words with a space between; cut when they do not fit. */
void words_join(int n, char *const *argv, char *out, size_t size);
/* What follows the verb, into o (whose verb is set); --json, --config and "--" are understood
 * everywhere. USAGE. */
rc words_read(struct cx *cx, struct ops *o, int argc, char *const *argv);
