/* verbs.c - the table of all verbs; rows of one noun stand together. A new verb is a function in
 * its noun's file and a row here. */
#include "ops/verbs.h"

#define PG     (NEEDS_PG | NEEDS_SCHEMA)
#define SEALED (PG | NEEDS_SEAL)
#define STORES NEEDS_STORES

const struct verb verbs[] = {
    {"db migrate", 0, 0, NEEDS_PG, "", "", "bring the schema up to date", verb_db_migrate},
    {"db status", 0, 0, NEEDS_PG, "", "", "which steps of the schema are applied", verb_db_status},

    {"tenant add", 1, 1, SEALED, "NAME", "", "make a shop", verb_tenant_add},
    {"tenant ls", 0, 0, PG, "", "", "the shops", verb_tenant_ls},
    {"tenant secret", 0, 0, SEALED, "", "tenant=", "the secret that signs a shop's callbacks",
     verb_tenant_secret},

    {"key add", 1, 1, PG, "NAME",
     "tenant= permissions= expires=", "make an API key; it is shown once", verb_key_add},
    {"key ls", 0, 0, PG, "", "tenant=", "API keys, by prefix", verb_key_ls},
    {"key revoke", 1, 1, PG, "ID|PREFIX", "", "refuse a key from now on", verb_key_revoke},

    {"product add", 1, 1, PG, "NAME", "tenant=", "what is sold", verb_product_add},
    {"product ls", 0, 0, PG, "", "tenant=", "the products of a shop", verb_product_ls},
    {"package add", 2, 2, PG, "PRODUCT NAME", "tenant=", "in which size it is sold",
     verb_package_add},
    {"package ls", 0, 1, PG, "[PRODUCT]", "tenant=", "packages, and whether they are routed",
     verb_package_ls},
    {"package show", 1, 1, PG, "PACKAGE", "tenant=", "one package: id, name or PRODUCT/NAME",
     verb_package_show},

    {"provider add", 1, 1, SEALED, "NAME",
     "tenant= kind= url= kod= sifre= token= credentials= settings=",
     "an account at a provider; kind znet or json; a value @FILE is read from a file",
     verb_provider_add},
    {"provider ls", 0, 0, PG, "", "tenant=", "accounts, balances, breakers", verb_provider_ls},
    {"provider test", 1, 1, STORES, "NAME", "tenant=", "let a worker ask for the balance",
     verb_provider_test},
    {"provider pause", 1, 1, PG, "NAME", "tenant= for=",
     "send nothing to it; its jobs wait without using attempts", verb_provider_pause},
    {"provider resume", 1, 1, PG, "NAME", "tenant=", "go on", verb_provider_resume},
    {"provider breaker", 1, 2, PG, "NAME [open|close]",
     "tenant= for=", "the breaker: see it, set it", verb_provider_breaker},
    {"catalogue import", 1, 1, STORES, "PROVIDER",
     "tenant=", "let a worker read what the provider offers", verb_catalogue_import},
    {"catalogue ls", 1, 1, PG, "PROVIDER",
     "tenant= match= limit=", "what the provider offered last", verb_catalogue_ls},

    {"route map", 2, 2, PG, "PACKAGE PROVIDER", "tenant= product= kupur= sure",
     "which good of the provider a package is", verb_route_map},
    {"route set", 1, 1, PG, "PACKAGE", "tenant= primary= fallback=",
     "who is asked first, and who after a certain refusal", verb_route_set},
    {"route ls", 0, 0, PG, "", "tenant= mappings", "routes; with --mappings what they rest on",
     verb_route_ls},

    {"order ls", 0, 0, PG, "", "tenant= status= since= after= limit=", "orders, newest first",
     verb_order_ls},
    {"order show", 1, 1, PG, "ID|REFERENCE", "", "one order: its placements and its timeline",
     verb_order_show},
    {"order resolve", 1, 1, STORES | NEEDS_SEAL, "ID|REFERENCE", "as= note= pin= unit=",
     "decide an order in review: --as completed, failed or ask; --note says why",
     verb_order_resolve},
    {"order cancel", 1, 1, PG, "ID|REFERENCE", "",
     "take it back while it is certainly at no provider", verb_order_cancel},

    {"queue ls", 0, 0, STORES, "", "", "queues with depth, age and counters", verb_queue_ls},
    {"queue pause", 1, 1, STORES, "QUEUE", "", "claim nothing more from it", verb_queue_pause},
    {"queue resume", 1, 1, STORES, "QUEUE", "", "go on", verb_queue_resume},
    {"queue purge", 1, 1, STORES, "QUEUE", "yes", "cancel everything that waits in it",
     verb_queue_purge},

    {"job add", 1, 1, STORES, "TASK",
     "args= queue= priority= delay= unique= max-attempts= timeout= broker wait=",
     "enqueue a job; --wait DURATION waits for its end", verb_job_add},
    {"job show", 1, 1, STORES, "ID", "", "a job with its attempts", verb_job_show},
    {"job cancel", 1, 1, STORES, "ID", "", "queued: at once; running: at its next wait",
     verb_job_cancel},
    {"job retry", 1, 1, STORES, "ID", "", "run a dead or cancelled job again", verb_job_retry},

    {"dlq ls", 0, 0, PG, "", "queue= task= error= after= limit=", "dead letters, newest first",
     verb_dlq_ls},
    {"dlq show", 1, 1, PG, "ID", "", "one dead letter with each attempt's error", verb_dlq_show},
    {"dlq replay", 0, 64, STORES, "[ID…]", "queue= task= error= rate=",
     "put dead jobs back: ids, or a filter; --rate per second", verb_dlq_replay},
    {"dlq drop", 1, 64, PG, "ID…", "", "forget dead letters", verb_dlq_drop},
    {"dlq export", 0, 0, PG, "", "queue= task= error=", "dead letters as JSON lines",
     verb_dlq_export},

    {"schedule ls", 0, 0, PG, "", "tenant= after=", "what is started by the clock",
     verb_schedule_ls},
    {"schedule add", 2, 2, PG, "NAME TASK", "every= cron= timezone= args= queue= misfire= tenant=",
     "start a task by the clock", verb_schedule_add},
    {"schedule pause", 1, 1, PG, "NAME", "", "start it no more", verb_schedule_pause},
    {"schedule resume", 1, 1, PG, "NAME", "", "go on", verb_schedule_resume},
    {"schedule run", 1, 1, STORES, "NAME", "", "start it now, besides its times",
     verb_schedule_run},
    {"schedule rm", 1, 1, PG, "NAME", "", "remove it", verb_schedule_rm},

    {"audit ls", 0, 0, PG, "", "type= object= limit=", "what people did by hand, newest first",
     verb_audit_ls},
    {"top", 0, 0, STORES, "", "every-ms= times=", "the queues, again and again", verb_top},
};
const size_t verb_count = COUNT(verbs);

const char *number(struct cx *cx, int64_t n)
{
    return arena_printf(&cx->arena, "%lld", (long long)n);
}
