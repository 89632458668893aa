/* options.c - what the options mean: one row each, sorted, whichever verbs take them. Help and man
 * page print them; a test holds them against the verbs. */
#include "ops/verb.h"
#include <string.h>

const struct option_row option_rows[] = {
    {"after", "ID", "go on behind this one; the page before named it"},
    {"agent", "AGENT",
     "this agent; of an identity: the only one that it may speak for, \"\": bound to none"},
    {"all", "", "all of them"},
    {"anchor", "SEQ:HASH", "what an earlier run printed, kept where nobody could change it"},
    {"args", "JSON", "the task's arguments; @FILE reads them from a file"},
    {"as", "DECISION", "completed, failed, or ask (the provider is asked again)"},
    {"broker", "", "keep it in Redis only: faster, and lost when Redis is lost"},
    {"command", "COMMAND", "of this command"},
    {"commands", "LIST",
     "patterns of commands that may be sent, comma separated: get_*; left out: all"},
    {"countdown", "DURATION", "not before this has passed"},
    {"credentials", "JSON", "an object of strings; @FILE reads it from a file, @- from stdin"},
    {"cron", "RULE", "\"MINUTE HOUR DAY MONTH WEEKDAY\", in --timezone"},
    {"days", "N", "good for so many days (a CA 3650, a certificate 365, a revocation list 30)"},
    {"delay", "DURATION", "not before this has passed"},
    {"dir", "PATH", "the CA's folder; ./ca if left out"},
    {"disable", "", "let it in no more"},
    {"dns", "NAMES", "DNS names of a server, or the one that is the holder's identity"},
    {"enable", "", "let it in again"},
    {"error", "WORD", "a fingerprint or an error code, as 'dlq ls' shows them"},
    {"eta", "TIME", "not before this time (RFC 3339)"},
    {"every", "DURATION", "the distance from one time to the next"},
    {"expires", "DURATION", "from now; left out: never"},
    {"fair", "", "share the work between tenants first, then by priority"},
    {"fallback", "PROVIDER", "who is asked after a certain refusal by the first"},
    {"for", "DURATION", "from now; left out: until somebody ends it (breaker: 1m)"},
    {"grace", "DURATION", "the agent's other tokens end after this; left out: they stay"},
    {"ip", "ADDRESSES", "addresses of a server"},
    {"jitter", "DURATION", "each start is put off by a random part of this"},
    {"job", "ID", "of this job, the id that a command has in frames and in the history"},
    {"kind", "KIND",
     "of a provider: znet (the default) or json; of a certificate: client (the default), agent or "
     "server; of a refusal: no_credentials, forbidden and others"},
    {"kod", "TEXT", "znet: the account's number; @FILE reads it from a file"},
    {"kupur", "TEXT", "the provider's word for the size of the good"},
    {"kwargs", "JSON", "keyword arguments: an object; @FILE reads it from a file"},
    {"limit", "N", "at most so many"},
    {"mappings", "", "the mappings instead of the routes"},
    {"match", "TEXT",
     "of agents: a JSON object that the metadata must contain; of a catalogue: part of a name"},
    {"max-attempts", "N", "the task's own, if left out"},
    {"max-bytes", "N", "refuse jobs beyond so many bytes of jobs that have not ended; 0: no bound"},
    {"max-length", "N", "refuse jobs beyond so many that have not ended; 0: no bound"},
    {"metadata", "JSON", "an object that requests can match; @FILE reads it from a file"},
    {"misfire", "HOW", "times that were missed: skip, once (the default) or all"},
    {"no-fair", "", "serve all tenants alike, as their jobs come"},
    {"note", "TEXT", "why; it stands on the order and in the audit log"},
    {"object", "ID", "only deeds on this object"},
    {"payload", "JSON", "an object for the command; @FILE reads it from a file, @- from stdin"},
    {"permissions", "LIST",
     "comma separated, or *, or such as orders:*; a key's, left out: what a shop's front end "
     "needs"},
    {"pin", "TEXT", "the PIN that was delivered; @FILE reads it from a file, @- from stdin"},
    {"plain", "", "forget the policy; what else is named is set anew"},
    {"primary", "PROVIDER", "who is asked first"},
    {"priority", "N", "0 to 9, higher first; 5 if left out"},
    {"product", "TEXT", "the provider's word for the good"},
    {"queue", "QUEUE", "of this queue; for a new job: into this one"},
    {"rate", "N", "at most so many a second"},
    {"role", "LIST", "roles, comma separated; \"\": none"},
    {"settings", "JSON",
     "an object (docs/providers.md tells its fields); @FILE reads it from a file"},
    {"sifre", "TEXT", "znet: the password; better @FILE, or @- for stdin"},
    {"since", "TIME", "created then or later: 2026-01-05T10:11:12Z"},
    {"source", "ADDRESS", "from there only; a net such as 10.0.0.0/8 as well"},
    {"status", "STATUS",
     "of an order: pending, sending, sent, unconfirmed, review, completed, failed, cancelled; of a "
     "request: pending, assigned, sent, completed, failed, timeout, cancelled; of an agent: "
     "inactive, "
     "pending_activation, active, cooldown; of a workflow: running, completed, failed, cancelled"},
    {"strict", "", "a higher priority always goes first"},
    {"sure", "", "although several goods of the provider have this name"},
    {"task", "TASK", "of this task"},
    {"tenant", "NAME", "the shop; may be left out where there is only one"},
    {"tenant-max-length", "N",
     "refuse a tenant's jobs beyond so many that have not ended; 0: no bound"},
    {"timeout", "DURATION",
     "of one attempt of a job (left out: the task's own); of a request: until its end (left out: "
     "request_timeout)"},
    {"times", "N", "so many times, instead of until Ctrl-C"},
    {"timezone", "ZONE", "such as Asia/Riyadh; UTC if left out"},
    {"token", "TEXT", "json: the token; better @FILE, or @- for stdin"},
    {"type", "TYPE",
     "of agents of this type; only deeds on objects of this type, as 'audit ls' shows it"},
    {"unique", "KEY", "at most one live job has this key"},
    {"unit", "N", "which unit of an order of several; left out: the whole order"},
    {"until", "TIME", "created before this: 2026-01-05T10:11:12Z"},
    {"uri", "URI", "the holder's identity, such as urn:shop:7"},
    {"url", "URL", "the provider's address: http(s)://host[:port][/path]"},
    {"wait", "DURATION", "wait so long for the end"},
    {"weight", "TENANT=N,...",
     "shares of tenants in a fair queue; 1 for all others, which TENANT=1 goes back to"},
    {"weighted", "N:N:...", "ten weights, of the priorities 9 to 0: each gets its share"},
    {"yes", "", "do it: it cannot be undone"},
};
const size_t option_count = COUNT(option_rows);

const struct option_row *option_row(const char *name, size_t n)
{
    for (size_t i = 0; i < option_count; i++) {
        if (strncmp(option_rows[i].name, name, n) == 0 && option_rows[i].name[n] == 0)
            return &option_rows[i];
    }
    return NULL;
}
