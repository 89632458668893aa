/* program.h - how mihwar-hub, -worker and -beat begin: the same options, the same answers.
 *
 *   --config FILE   settings from a file (the environment, then the command line win over it)
 *   --NAME VALUE    any setting, with dashes for underscores: --hub-listen 127.0.0.1:0
 *   --check-config  say whether the settings are right, and leave
 *   --version, --help
 */
#pragma once
#include "base/settings.h"

/* Reads the command line into s, applies the log settings. Returns -1 when the program should go on
 * (s is then the caller's to release), otherwise the exit status: 0 done, 2 usage or a wrong
 * setting (said on stderr). `check` (may be NULL) looks at what only this program knows. */
int program_begin(int argc, char **argv, const char *name, const char *what, struct settings *s,
                  rc (*check)(struct cx *cx, const struct settings *s));
/* At SIGHUP, after program_begin: the file, the environment and the command line are read once more, and what may change is
 * taken over into live (settings_adopt), the log settings too. A mistake is logged with its words (settings.refused) and
 * changes nothing: false. */
bool program_reread(struct settings *live, bool (*may_change)(const char *name));
/* Is name in the NULL-terminated list? */
bool setting_in(const char *name, const char *const *list);
/* "0.1.0" */
const char *program_version(void);
/* Memory of this process that is in RAM; 0: not to be learnt. */
int64_t program_resident_bytes(void);
/* Processor time of this process so far, all threads, user and system, in microseconds. */
int64_t program_cpu_us(void);
