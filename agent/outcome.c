/* outcome.c - see outcome.h. */
#include "agent/outcome.h"
#include <stdarg.h>
#include <stdio.h>

struct outcome outcome_new(void)
{
    return (struct outcome){.completed = true, .response = cJSON_CreateObject()};
}

void outcome_release(struct outcome *o)
{
    cJSON_Delete(o->response);
    o->response = NULL;
}

void outcome_fail(struct outcome *o, const char *code, const char *fmt, ...)
{
    char message[400];
    va_list ap;

    va_start(ap, fmt);
    vsnprintf(message, sizeof message, fmt, ap);
    va_end(ap);
    cJSON *error = cJSON_CreateObject();
    cJSON_AddStringToObject(error, "code", code);
    cJSON_AddStringToObject(error, "message", message);
    cJSON_DeleteItemFromObjectCaseSensitive(o->response, "error");
    cJSON_AddItemToObject(o->response, "error", error);
    o->completed = false;
}
