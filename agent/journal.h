/* journal.h - what this agent has begun, done and been thanked for: the memory that survives its death.
 *
 *      begin --on disk--> BEGUN --end--on disk--> DONE --result_ack--> ACKED --a day, or no room--> forgotten
 *                           `--the agent died--> DONE, failed: "interrupted"
 *
 * DIR/journal is a file of lines, one JSON object each, only ever appended to:
 *
 *      {"at":1795256625000,"job":"0197…","agent":"cpe-7","begun":"get_status"}
 *      {"at":1795256625040,"job":"0197…","done":"completed","response":{…}}
 *      {"at":1795256625090,"job":"0197…","acked":true}
 *
 * Two promises hang on it. A command starts only after its first line is on disk, and a job that has a line never starts again: so it is
 * carried out once at most, whatever dies. A result is kept until the hub has acknowledged it: so it is never lost.
 *
 * Lines of many commands at once are written and synced together, on the offload. Opening writes the file anew (DIR/journal.new, synced,
 * renamed): that drops a torn last line and what is forgotten. So does growing. One journal may serve many agents of one process. */
#pragma once
#include "base/cx.h"
#include "base/id.h"

enum journal_state { JOURNAL_BEGUN, JOURNAL_DONE, JOURNAL_ACKED };

struct journal_entry {
    char job_id[ID_LEN + 1];
    enum journal_state state;
    char *agent_id, *command;
    bool completed;          /* DONE, ACKED: completed, or failed */
    char *response;          /* DONE, ACKED: a JSON object as text */
    int64_t at_ms;           /* begun, done or acked */
    int64_t offered_mono_ms; /* the owner's: when the result was sent last; 0: not in this life */
};

struct journal_opts {
    size_t entries_max; /* kept; 0: 10 000 */
    size_t bytes_max;   /* of results and names; 0: 16 MiB */
    int64_t keep_ms;    /* how long an acknowledged one is known; 0: a day */
};

struct journal;
/* Blocks (at start, outside the loop). Makes dir (0700) if it is not there; only one process may have it open. Commands that were under way
 * become failed results. CONFLICT: another process has it. OS. CONFIG: a line that is not the last cannot be read: something else than a
 * crash has been at it, and going on could run a command twice. */
rc journal_open(struct cx *cx, const char *dir, const struct journal_opts *o, struct journal **ret);
/* Writes what waits; after the loop has ended. NULL in, NULL out. */
struct journal *journal_close(struct journal *j);

/* NULL: never seen, or forgotten. Entries are good until the next call that parks or begins one. */
struct journal_entry *journal_find(struct journal *j, const char *job_id);
/* Results that the hub has not acknowledged, oldest first: start with NULL. */
struct journal_entry *journal_next_unacked(struct journal *j, const char *agent_id,
                                           const struct journal_entry *after);
size_t journal_count(const struct journal *j);

/* OK: it is on disk, the command may start. ALREADY_EXISTS; OVERLOADED: full of results that nobody acknowledged; OS: the disk does not
 * take it, the command must not start. Parks. */
rc journal_begin(struct cx *cx, struct journal *j, const char *agent_id, const char *job_id,
                 const char *command) MW_PARKS;
/* The result, a JSON object as text without line ends. OK: on disk. OS, CANCELLED: it is remembered in this life, and may not be in the
 * next: then the job is reported as interrupted. Parks. */
rc journal_end(struct cx *cx, struct journal *j, const char *job_id, bool completed,
               const char *response) MW_PARKS;
/* The hub has it. Not synced: at worst the result is sent once more after a crash. */
void journal_ack(struct journal *j, const char *job_id);
