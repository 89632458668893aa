/* settings.h - one sorted table (settings.def) makes the struct, the file reader, the environment
 * and the help.
 *
 * Order: default, then the file, then the environment, then the command line; each value is checked
 * where it enters, and an error names the setting and where it came from.
 *
 * A file is lines of name=value; [sections] and lines that begin with # or ; are for the reader,
 * everything after the = (trimmed) is the value. */
#pragma once
#include "base/cx.h"
#include <stdio.h>

#define SETTING_TYPE_STR   char *
#define SETTING_TYPE_INT   int64_t
#define SETTING_TYPE_MS    int64_t
#define SETTING_TYPE_BYTES int64_t
#define SETTING_TYPE_BOOL  bool

struct settings {
#define SETTING(name, type, def, min, max, help) SETTING_TYPE_##type name;
#include "base/settings.def"
#undef SETTING
};

enum setting_type { SETTING_STR, SETTING_INT, SETTING_MS, SETTING_BYTES, SETTING_BOOL };
struct setting_row {
    const char *name;
    enum setting_type type;
    size_t offset;
    const char *def;
    int64_t min, max;
    const char *help;
};
extern const struct setting_row setting_rows[];
extern const size_t setting_count;

/* Defaults, then `file` (may be NULL), then the environment. Error: CONFIG, with the setting's
 * name. */
rc settings_load(struct cx *cx, struct settings *s, const char *file);
/* One value as text. `source` is for the error ("--lease", "MIHWAR_LEASE"). */
rc settings_set(struct cx *cx, struct settings *s, const char *name, const char *value,
                const char *source);
/* Applies log_level and log_format. */
rc settings_apply_log(struct cx *cx, const struct settings *s, const char *prog);
/* Takes over what differs and `may_change` allows: the values change places. Each is logged by its name
 * (settings.changed, or settings.need_restart for the others). How many were taken. */
int settings_adopt(struct settings *live, struct settings *fresh,
                   bool (*may_change)(const char *name));
void settings_release(struct settings *s);
/* The table as text for --help. */
void settings_print_help(FILE *out);
