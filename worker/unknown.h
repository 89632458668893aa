/* unknown.h - jobs of tasks that nobody knows here: left to others, told once in a while, never failed.
 *
 *   claimed --unknown--> put off (a snooze: no attempt) --> claimed by whoever comes first, perhaps by one who knows it
 *
 * Beside workers that know the task the job should not wait; where nobody does it should cost nothing. So it is put off
 * for a moment first, and for twice as long each time, up to a minute. */
#pragma once
#include "queue/queue.h"

/* How long this claim's job is left alone; random uniform in [0, 2^64): jobs that came together come back spread. */
int64_t unknown_put_off_ms(const struct job *j, int64_t now_ms, uint64_t random);
/* Counts one, and says it in the log: the first of a task at once, then at most once in ten seconds, with how many
 * there were. */
void unknown_note(const struct job *j, int64_t again_in_ms);
