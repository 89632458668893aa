/* words.h - the command line, before anything is opened: which row of verbs[] it names, and
 * whether its options and arguments are those of the row. */
#pragma once
#include "ops/verb.h"

/* One or two words name a verb; *ret_used says how many. NULL: none is called so. */
const struct verb *verb_find(int argc, char *const *argv, int *ret_used);
/* What follows the verb, into o (whose verb is set); --json, --config and "--" are understood
 * everywhere. USAGE. */
rc words_read(struct cx *cx, struct ops *o, int argc, char *const *argv);
