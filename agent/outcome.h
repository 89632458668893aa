/* outcome.h - what came of a command.
 *
 *      completed   "response": whatever the command has to say, an object
 *      failed      "response": {"error":{"code":"time_limit","message":"a sentence"}, …}
 *
 * The code is a stable word: not_allowed, bad_arguments, time_limit, exit_status, interrupted, too_large … */
#pragma once
#include "base/util.h"
#include <cjson/cJSON.h>

struct outcome {
    bool completed;
    cJSON *response; /* an object, owned here */
};

/* An empty response; completed until outcome_fail. */
struct outcome outcome_new(void);
void outcome_release(struct outcome *o); /* for _cleanup_ */
/* Adds the error; what the response says already stays. */
void outcome_fail(struct outcome *o, const char *code, const char *fmt, ...) _printf_(3, 4);
