/* commands.h - the allow-list: what a hub may ask of this machine, and nothing else.
 *
 *      get_status     built in (status.h)
 *      NAME           [command NAME] of the file: one program, its arguments as they stand there; nothing of a payload ever becomes
 *                     an argument, a path or part of the environment, and no shell reads anything
 *
 * What a program's end becomes:
 *
 *      exit 0              completed   {"exit_status":0,"output":…}
 *      exit n, a signal    failed      error exit_status, signal; exit_status, output, errors (stderr)
 *      its time is over    failed      error time_limit
 *      output too long     the same, with what came first as text and "truncated":true
 *
 * output is JSON when all of stdout is, else text. The program finds MIHWAR_JOB_ID in its environment: who must know whether something was
 * done already keeps that id. */
#pragma once
#include "agent/agent.h"
#include "agent/config.h"

/* The agent's carry_out (agent.h); config is a struct config. */
rc commands_carry_out(struct cx *cx, const struct agent_command *c, struct outcome *ret,
                      void *config) MW_PARKS;
