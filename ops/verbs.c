/* verbs.c - the table of all verbs; rows of one noun stand together. A new verb is a function in
 * its noun's file and a row here. */
#include "ops/verbs.h"
#include "base/text.h"
#include <stdarg.h>
#include <stdio.h>

#define PG     (NEEDS_PG | NEEDS_SCHEMA)
#define SEALED (PG | NEEDS_SEAL)
#define STORES NEEDS_STORES

const struct verb verbs[] = {
    {"db migrate", 0, 0, NEEDS_PG | CHANGES, "", "", "bring the schema up to date",
     verb_db_migrate},
    {"db status", 0, 0, NEEDS_PG, "", "", "which steps of the schema are applied", verb_db_status},

    {"tenant add", 1, 1, SEALED | CHANGES, "NAME", "", "make a shop", verb_tenant_add},
    {"tenant ls", 0, 0, PG, "", "", "the shops", verb_tenant_ls},
    {"tenant secret", 0, 0, SEALED | CHANGES, "",
     "tenant=", "show the secret that signs a shop's callbacks; that somebody looked is on record",
     verb_tenant_secret},

    {"key add", 1, 1, PG | CHANGES, "NAME",
     "tenant= permissions= role= expires=", "make an API key; it is shown once", verb_key_add},
    {"key ls", 0, 0, PG, "", "tenant=", "API keys, by prefix", verb_key_ls},
    {"key revoke", 1, 1, PG | CHANGES, "ID|PREFIX|KEY", "", "refuse a key from now on",
     verb_key_revoke},

    {"role add", 1, 1, PG | CHANGES, "NAME",
     "tenant= permissions= commands=", "what may be done, under a name", verb_role_add},
    {"role set", 1, 1, PG | CHANGES, "NAME",
     "tenant= permissions= commands=", "change it; every hub goes by it at once", verb_role_set},
    {"role ls", 0, 0, PG, "", "tenant=", "roles, and how many hold each", verb_role_ls},
    {"role rm", 1, 1, PG | CHANGES, "NAME", "tenant=", "remove a role that nobody holds",
     verb_role_rm},
    {"identity add", 1, 1, PG | CHANGES, "NAME",
     "tenant= role= agent=", "let the certificates with this name in", verb_identity_add},
    {"identity set", 1, 1, PG | CHANGES, "NAME|ID", "tenant= role= agent= enable disable",
     "change what it may do, or whether it may come in", verb_identity_set},
    {"identity ls", 0, 0, PG, "", "tenant=", "the names that are known, and their roles",
     verb_identity_ls},
    {"identity rm", 1, 1, PG | CHANGES, "NAME|ID", "tenant=", "know this name no more",
     verb_identity_rm},

    {"product add", 1, 1, PG | CHANGES, "NAME", "tenant=", "what is sold", verb_product_add},
    {"product ls", 0, 0, PG, "", "tenant=", "the products of a shop", verb_product_ls},
    {"package add", 2, 2, PG | CHANGES, "PRODUCT NAME", "tenant=", "in which size it is sold",
     verb_package_add},
    {"package ls", 0, 1, PG, "[PRODUCT]", "tenant=", "packages, and whether they are routed",
     verb_package_ls},
    {"package show", 1, 1, PG, "PACKAGE", "tenant=", "one package: by id, name or PRODUCT/NAME",
     verb_package_show},
    {"package enable", 1, 1, PG | CHANGES, "PACKAGE", "tenant=", "sell it", verb_package_enable},
    {"package disable", 1, 1, PG | CHANGES, "PACKAGE",
     "tenant=", "take no more orders for it; those accepted go on", verb_package_disable},

    {"provider add", 1, 1, SEALED | CHANGES, "NAME",
     "tenant= kind= url= kod= sifre= token= credentials= settings=",
     "an account at a provider; its credentials are sealed", verb_provider_add},
    {"provider change", 1, 1, SEALED | CHANGES, "NAME",
     "tenant= url= kod= sifre= token= credentials= settings=",
     "replace what is named; credentials and settings as a whole", verb_provider_change},
    {"provider ls", 0, 0, PG, "", "tenant=", "accounts, balances, breakers", verb_provider_ls},
    {"provider test", 1, 1, STORES, "NAME", "tenant= wait=", "let a worker ask for the balance",
     verb_provider_test},
    {"provider pause", 1, 1, PG | CHANGES, "NAME", "tenant= for=",
     "send nothing to it; its jobs wait without using attempts", verb_provider_pause},
    {"provider resume", 1, 1, PG | CHANGES, "NAME", "tenant=", "go on", verb_provider_resume},
    {"provider enable", 1, 1, PG | CHANGES, "NAME", "tenant=", "route orders to it",
     verb_provider_enable},
    {"provider disable", 1, 1, PG | CHANGES, "NAME",
     "tenant=", "route no orders to it and ask it nothing; a package that has only it is refused",
     verb_provider_disable},
    {"provider breaker", 1, 2, PG | CHANGES, "NAME [open|close]",
     "tenant= for=", "the breaker: see it, set it", verb_provider_breaker},
    {"catalogue import", 1, 1, STORES | CHANGES, "PROVIDER",
     "tenant= wait=", "let a worker read what the provider offers", verb_catalogue_import},
    {"catalogue ls", 1, 1, PG, "PROVIDER",
     "tenant= match= limit=", "what the provider offered last", verb_catalogue_ls},

    {"route map", 2, 2, PG | CHANGES, "PACKAGE PROVIDER", "tenant= product= kupur= sure",
     "which good of the provider a package is", verb_route_map},
    {"route set", 1, 1, PG | CHANGES, "PACKAGE", "tenant= primary= fallback=",
     "who is asked first, and who after a certain refusal", verb_route_set},
    {"route ls", 0, 0, PG, "", "tenant= mappings", "routes; with --mappings what they rest on",
     verb_route_ls},

    {"order ls", 0, 0, PG, "", "tenant= status= since= after= limit=", "orders, newest first",
     verb_order_ls},
    {"order show", 1, 1, PG, "ID|REFERENCE", "", "one order: its placements and its timeline",
     verb_order_show},
    {"order resolve", 1, 1, SEALED | WANTS_REDIS | CHANGES, "ID|REFERENCE", "as= note= pin= unit=",
     "decide an order that cannot be decided from here; --note says why", verb_order_resolve},
    {"order cancel", 1, 1, PG | CHANGES, "ID|REFERENCE", "",
     "take it back while it is certainly at no provider", verb_order_cancel},

    {"agent ls", 0, 0, PG, "", "tenant= status= type= match= after= limit=", "agents, by id",
     verb_agent_ls},
    {"agent add", 1, 1, PG | CHANGES, "AGENT", "tenant= type= metadata=", "provision an agent",
     verb_agent_add},
    {"agent show", 1, 1, PG, "AGENT", "", "one agent, and what it says of itself", verb_agent_show},
    {"agent set", 1, 1, PG | CHANGES, "AGENT",
     "type= metadata=", "change what is provisioned; metadata as a whole", verb_agent_set},
    {"agent enable", 1, 1, PG | CHANGES, "AGENT", "", "let it in again", verb_agent_enable},
    {"agent disable", 1, 1, PG | WANTS_REDIS | CHANGES, "AGENT", "",
     "end its session and let it in no more", verb_agent_disable},
    {"agent token add", 1, 1, PG | CHANGES, "AGENT",
     "expires= grace=", "a token for an agent; it is shown once", verb_agent_token_add},
    {"agent token ls", 1, 1, PG, "AGENT", "", "its tokens, newest first", verb_agent_token_ls},
    {"agent token revoke", 1, 2, PG | WANTS_REDIS | CHANGES, "AGENT [TOKEN]", "all",
     "refuse a token from now on; a session that began with it ends", verb_agent_token_revoke},

    {"request send", 1, 1, PG | WANTS_REDIS | CHANGES, "COMMAND",
     "tenant= agent= type= match= payload= timeout= wait=",
     "send a command to an agent: by id, or to the least loaded that fits", verb_request_send},
    {"request ls", 0, 0, PG, "", "tenant= status= agent= command= since= after= limit=",
     "requests, newest first", verb_request_ls},
    {"request show", 1, 1, PG, "ID", "", "one request: its result and its timeline",
     verb_request_show},
    {"request cancel", 1, 1, PG | CHANGES, "ID", "", "take it back while it was certainly not sent",
     verb_request_cancel},

    {"queue ls", 0, 0, STORES, "", "", "queues with depth, age, counters, switches and bounds",
     verb_queue_ls},
    {"queue pause", 1, 1, STORES | CHANGES, "QUEUE", "", "claim nothing more from it",
     verb_queue_pause},
    {"queue resume", 1, 1, STORES | CHANGES, "QUEUE", "", "go on", verb_queue_resume},
    {"queue purge", 1, 1, STORES | CHANGES, "QUEUE", "yes", "cancel everything that waits in it",
     verb_queue_purge},
    {"queue drain", 1, 1, STORES | CHANGES, "QUEUE", "wait=",
     "take no more jobs; those in it are carried out; 'queue resume' ends it", verb_queue_drain},
    {"queue policy show", 1, 1, STORES, "QUEUE", "",
     "how it shares out its work, how much it takes", verb_queue_policy_show},
    {"queue policy set", 1, 1, STORES | CHANGES, "QUEUE",
     "strict weighted= fair no-fair weight= max-length= max-bytes= tenant-max-length= shards= "
     "plain",
     "change that; what is not named stays", verb_queue_policy_set},

    {"worker ls", 0, 0, NEEDS_REDIS, "", "", "worker processes, and what they do", verb_worker_ls},
    {"worker drain", 0, 1, STORES | CHANGES, "[WORKER]", "all",
     "claim nothing more; what runs goes on; it stays so until it is resumed or restarted",
     verb_worker_drain},
    {"worker resume", 0, 1, STORES | CHANGES, "[WORKER]", "all", "claim again", verb_worker_resume},

    {"limit ls", 0, 0, STORES, "", "queue=", "limits of keys and queues, and what they are doing",
     verb_limit_ls},
    {"limit set", 2, 2, STORES | CHANGES, "QUEUE[,QUEUE…] KEY",
     "rate= burst= concurrency= breaker= least= window= open= probes=",
     "limit a key (* each key, = the queue); several queues share it", verb_limit_set},
    {"limit rm", 2, 2, STORES | CHANGES, "QUEUE KEY", "", "take a limit away: what it held goes on",
     verb_limit_rm},
    {"limit breaker", 3, 3, STORES | CHANGES, "QUEUE KEY open|closed|auto", "",
     "force a breaker, or leave it to itself", verb_limit_breaker},

    {"job add", 1, 1, STORES | CHANGES, "TASK",
     "args= queue= priority= delay= unique= max-attempts= timeout= broker wait=", "enqueue a job",
     verb_job_add},
    {"job show", 1, 1, STORES, "ID", "", "a job with its attempts", verb_job_show},
    {"job explain", 1, 1, NEEDS_PG | NEEDS_SCHEMA | MAY_ASK_REDIS, "ID", "",
     "why it is not being carried out, and what to do", verb_job_explain},
    {"job log", 1, 1, STORES, "ID", "after= limit=", "what a job told while it ran", verb_job_log},
    {"job tail", 0, 1, STORES, "[ID]", "queue= task= every= times=",
     "what a job tells until it ends; or, without one, each attempt that ends", verb_job_tail},
    {"job wait", 1, 1, STORES, "ID", "timeout=", "until it has ended, a minute where not said",
     verb_job_wait},
    {"job cancel", 1, 1, STORES | CHANGES, "ID", "", "queued: at once; running: at its next wait",
     verb_job_cancel},
    {"job retry", 1, 1, STORES | CHANGES, "ID", "", "run a dead or cancelled job again",
     verb_job_retry},

    {"flow add", 1, 1, STORES | CHANGES, "FILE|-", "tenant= wait=",
     "begin the workflow that a file describes: a chain, a group, a chord", verb_flow_add},
    {"flow ls", 0, 0, PG, "", "tenant= status= after= limit=", "workflows, newest first",
     verb_flow_ls},
    {"flow show", 1, 1, PG, "ID", "after= limit=", "a workflow with its steps", verb_flow_show},
    {"flow cancel", 1, 1, STORES | CHANGES, "ID", "",
     "take back the whole: what has not begun never will", verb_flow_cancel},
    {"flow retry", 1, 1, STORES | CHANGES, "ID", "",
     "run again what died or was cancelled; what is done stays", verb_flow_retry},

    {"celery send", 1, 1, 0, "TASK", "args= kwargs= queue= eta= countdown= expires= wait=",
     "call a task of a Celery worker; with --wait its result", verb_celery_send},
    {"celery result", 1, 1, 0, "ID", "wait=", "what came of a Celery task", verb_celery_result},

    {"dlq ls", 0, 0, PG, "", "queue= task= error= after= limit=", "dead letters, newest first",
     verb_dlq_ls},
    {"dlq show", 1, 1, PG, "ID", "", "one dead letter with each attempt's error", verb_dlq_show},
    {"dlq replay", 0, 64, STORES | CHANGES, "[ID…]", "queue= task= error= rate=",
     "put dead jobs back: these, or all that a filter finds", verb_dlq_replay},
    {"dlq drop", 1, 64, PG | CHANGES, "ID…", "yes", "forget dead letters", verb_dlq_drop},
    {"dlq export", 0, 0, PG, "", "queue= task= error=", "dead letters as lines of JSON",
     verb_dlq_export},

    {"schedule ls", 0, 0, PG, "", "tenant= after=", "what is started by the clock",
     verb_schedule_ls},
    {"schedule add", 2, 2, PG | CHANGES, "NAME TASK",
     "every= cron= timezone= args= queue= priority= jitter= misfire= tenant=",
     "start a task by the clock: --every or --cron", verb_schedule_add},
    {"schedule pause", 1, 1, PG | CHANGES, "NAME", "", "start it no more", verb_schedule_pause},
    {"schedule resume", 1, 1, PG | CHANGES, "NAME", "", "go on", verb_schedule_resume},
    {"schedule run", 1, 1, STORES | CHANGES, "NAME", "", "start it now, besides its times",
     verb_schedule_run},
    {"schedule rm", 1, 1, PG | CHANGES, "NAME", "yes", "remove it", verb_schedule_rm},

    {"seal ls", 0, 0, PG, "", "", "how many sealed values are under which key", verb_seal_ls},
    {"seal rotate", 0, 0, SEALED | CHANGES, "", "",
     "seal everything anew under the first of seal_keys; may be cut short and run again",
     verb_seal_rotate},

    {"ca init", 0, 1, 0, "[NAME]", "dir= days=", "make a certificate authority of our own",
     verb_ca_init},
    {"ca issue", 1, 1, 0, "NAME", "dir= kind= dns= uri= ip= days=",
     "a key and a certificate, for a door (server), a front end (client) or an agent",
     verb_ca_issue},
    {"ca revoke", 1, 1, 0, "NAME|SERIAL",
     "dir= days=", "let its holder in no more, once the doors have the new list", verb_ca_revoke},
    {"ca ls", 0, 0, 0, "", "dir=", "the certificates that it issued", verb_ca_ls},
    {"ca crl", 0, 0, 0, "", "dir= days=", "write the revocation list anew, before it ends",
     verb_ca_crl},

    {"security ls", 0, 0, PG, "", "tenant= since= kind= source= after= limit=",
     "what the doors refused, newest first", verb_security_ls},
    {"audit ls", 0, 0, PG, "", "type= object= limit=", "what people did by hand, newest first",
     verb_audit_ls},
    {"audit verify", 0, 0, PG, "", "anchor=",
     "is the command history as it was written? Names the row that is not; prints the anchor to "
     "keep elsewhere",
     verb_audit_verify},
    {"history ls", 0, 0, PG, "", "tenant= agent= command= status= job= since= until= after= limit=",
     "commands that ended: who asked, who carried them out, what came of it; newest first",
     verb_history_ls},
    {"doctor", 0, 0, NEEDS_PG | NEEDS_REDIS, "", "",
     "what is wrong, or soon will be, and what to do; status 1 when something is bad", verb_doctor},
    {"top", 0, 0, STORES, "",
     "every= times=", "queues, tasks, workers and what runs longest, again and again", verb_top},
};
const size_t verb_count = COUNT(verbs);

const char *number(struct cx *cx, int64_t n)
{
    return arena_printf(&cx->arena, "%lld", (long long)n);
}

const char *commas(struct cx *cx, const char *list)
{
    char *out = arena_strdup(&cx->arena, list);

    for (char *p = out; p && *p; p++)
        *p = *p == ' ' ? ',' : *p;
    return str_empty(out) ? NULL : out;
}

void hint(const char *fmt, ...)
{
    va_list ap;

    fflush(stdout);
    va_start(ap, fmt);
    vfprintf(stderr, fmt, ap);
    va_end(ap);
    fputc('\n', stderr);
}
