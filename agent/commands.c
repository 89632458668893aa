/* commands.c - see commands.h. */
#include "agent/commands.h"
#include "agent/child.h"
#include "agent/status.h"
#include "base/json.h"
#include "base/text.h"
#include <stdio.h>
#include <string.h>

/* Text that came from a program: a byte that is not UTF-8, or that JSON has no room for, becomes a question mark. */
static void add_text(cJSON *o, const char *name, struct buf *b)
{
    for (size_t i = 0, n; i < b->len; i += n) {
        unsigned char lead = (unsigned char)b->p[i];
        n = lead < 0x80 ? 1 : lead < 0xe0 ? 2 : lead < 0xf0 ? 3 : 4;
        if (lead != 0 && i + n <= b->len && utf8_valid(b->p + i, n))
            continue;
        b->p[i] = '?';
        n = 1;
    }
    cJSON_AddStringToObject(o, name, buf_str(b));
}

/* JSON on one line stays as it was written, so that no digit of a number is lost. */
static void add_json(cJSON *o, char *text, const cJSON *parsed)
{
    char *line = str_trim(text);

    for (const char *p = line; *p; p++) {
        if ((unsigned char)*p < ' ') {
            cJSON_AddItemToObject(o, "output", cJSON_Duplicate(parsed, true));
            return;
        }
    }
    cJSON_AddRawToObject(o, "output", line);
}

static void add_output(struct cx *cx, cJSON *o, struct child_end *e)
{
    cJSON *json;

    if (e->cut) {
        cJSON_AddTrueToObject(o, "truncated");
        add_text(o, "output", &e->out);
    } else if (json_parse(cx, buf_str(&e->out), e->out.len, e->out.max, &json) == OK) {
        add_json(o, e->out.p, json);
    } else {
        add_text(o, "output", &e->out);
    }
}

static void describe(struct cx *cx, const struct config_command *command, struct child_end *e,
                     struct outcome *ret)
{
    if (e->exit_status >= 0)
        cJSON_AddNumberToObject(ret->response, "exit_status", e->exit_status);
    add_output(cx, ret->response, e);
    if (e->exit_status != 0 && e->err.len > 0)
        add_text(ret->response, "errors", &e->err);
    if (e->late)
        outcome_fail(ret, "time_limit", "the program was ended after %lld ms",
                     (long long)command->time_limit_ms);
    else if (e->signal)
        outcome_fail(ret, "signal", "the program was ended by signal %d", e->signal);
    else if (e->exit_status != 0)
        outcome_fail(ret, "exit_status", "the program ended with status %d", e->exit_status);
}

static rc run_program(struct cx *cx, const struct agent_command *c,
                      const struct config_command *command, struct outcome *ret)
{
    _cleanup_(child_end_release) struct child_end end = {0};
    char job[64], name[160];
    cJSON *payload;
    bool takes_payload = str_eq(command->args, "stdin");

    try(json_parse(cx, c->payload, strlen(c->payload), MiB(1), &payload));
    if (!takes_payload && cJSON_GetArraySize(payload) > 0) {
        outcome_fail(ret, "bad_arguments", "command %s takes no payload", c->name);
        return OK;
    }
    snprintf(job, sizeof job, "MIHWAR_JOB_ID=%s", c->job_id);
    snprintf(name, sizeof name, "MIHWAR_COMMAND=%s", c->name);
    try(child_run(cx,
                  &(struct child_opts){.argv = command->argv,
                                       .env = (const char *[]){job, name, NULL},
                                       .input = takes_payload ? c->payload : NULL,
                                       .output_max = (size_t)command->output_max,
                                       .limit_ms = command->time_limit_ms,
                                       .kill_ms = command->kill_after_ms},
                  &end));
    describe(cx, command, &end, ret);
    return OK;
}

rc commands_carry_out(struct cx *cx, const struct agent_command *c, struct outcome *ret,
                      void *config)
{
    const struct config *mine = config;
    const struct config_command *command = config_command(mine, c->name);

    if (command)
        return run_program(cx, c, command, ret);
    if (str_eq(c->name, "get_status"))
        status_add(ret->response, mine->version, mine->state_dir);
    else
        outcome_fail(ret, "not_allowed", "command %s is not on the list of this agent", c->name);
    return OK;
}
