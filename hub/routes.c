/* routes.c - the table. Rows of one path stand together (openapi.c prints them as one object). */
#include "hub/api/api.h"
#include "hub/router.h"

#define ENGINE_MS 3000    /* what only Redis can answer: it does, or it is away */
#define STREAM_MS 3600000 /* an event stream; the client reconnects after it */

const struct route routes[] = {
    {M_POST, "/v1/orders", PERM_ORDERS_WRITE, orders_post, 0, 201, "orders_post", "Place an order",
     "OrderNew", "Order", NULL},
    {M_GET, "/v1/orders", PERM_ORDERS_READ, orders_list, 0, 200, "orders_list",
     "Orders, newest first", NULL, "OrderList", "status package_id since until limit after"},
    {M_GET, "/v1/orders/{id}", PERM_ORDERS_READ, orders_get, 0, 200, "orders_get",
     "One order, with its PIN", NULL, "Order", NULL},
    {M_POST, "/v1/orders/{id}/cancel", PERM_ORDERS_WRITE, orders_cancel, 0, 200, "orders_cancel",
     "Take an order back while it is certainly at no provider", NULL, "Order", NULL},
    {M_GET, "/v1/orders/{id}/events", PERM_ORDERS_READ, orders_events, STREAM_MS, 200,
     "orders_events", "The order's timeline; live with Accept: text/event-stream", NULL,
     "OrderEvents", "after limit"},
    {M_POST, "/api-dj/orders", PERM_ORDERS_WRITE, orders_post_dj, 0, 201, "orders_post_dj",
     "Place an order in the names of the earlier system", "OrderNewDj", "Order", NULL},

    {M_POST, "/v1/jobs", PERM_JOBS_WRITE, jobs_post, 0, 201, "jobs_post",
     "Enqueue one job, or up to 1000", "JobNew", "JobCreated", NULL},
    {M_GET, "/v1/jobs/{id}", PERM_JOBS_READ, jobs_get, 0, 200, "jobs_get",
     "One job with its attempts", NULL, "Job", NULL},
    {M_POST, "/v1/jobs/{id}/cancel", PERM_JOBS_WRITE, jobs_cancel, 0, 200, "jobs_cancel",
     "Cancel: queued at once, running at its next wait", NULL, "Job", NULL},
    {M_POST, "/v1/jobs/{id}/retry", PERM_JOBS_WRITE, jobs_retry, 0, 200, "jobs_retry",
     "Run a dead or cancelled job again", NULL, "Job", NULL},

    {M_GET, "/v1/queues", PERM_QUEUES_READ, queues_list, ENGINE_MS, 200, "queues_list",
     "What waits where", NULL, "QueueList", NULL},
    {M_POST, "/v1/queues/{q}/pause", PERM_QUEUES_WRITE, queues_pause, ENGINE_MS, 200,
     "queues_pause", "Claim nothing more from it", NULL, "Queue", NULL},
    {M_POST, "/v1/queues/{q}/resume", PERM_QUEUES_WRITE, queues_resume, ENGINE_MS, 200,
     "queues_resume", "Go on", NULL, "Queue", NULL},
    {M_POST, "/v1/queues/{q}/purge", PERM_QUEUES_WRITE, queues_purge, 0, 200, "queues_purge",
     "Cancel everything that waits in it", NULL, "Purged", NULL},

    {M_GET, "/v1/dlq", PERM_DLQ_READ, dlq_list_get, 0, 200, "dlq_list",
     "Dead letters, newest first", NULL, "DeadLetterList", "queue task error limit after"},
    {M_POST, "/v1/dlq/replay", PERM_DLQ_WRITE, dlq_replay_post, 0, 200, "dlq_replay",
     "Put dead jobs back: by ids or by filter", "Replay", "Replayed", NULL},
    {M_DELETE, "/v1/dlq/{id}", PERM_DLQ_WRITE, dlq_delete, 0, 204, "dlq_drop", "Drop a dead letter",
     NULL, NULL, NULL},

    {M_GET, "/v1/schedules", PERM_SCHEDULES_READ, schedules_get, 0, 200, "schedules_list",
     "What is started by the clock", NULL, "ScheduleList", "limit after"},
    {M_POST, "/v1/schedules", PERM_SCHEDULES_WRITE, schedules_post, 0, 201, "schedules_post",
     "Start something by the clock", "ScheduleNew", "Schedule", NULL},
    {M_PATCH, "/v1/schedules/{id}", PERM_SCHEDULES_WRITE, schedules_patch, 0, 200,
     "schedules_patch", "Change a schedule", "ScheduleNew", "Schedule", NULL},
    {M_DELETE, "/v1/schedules/{id}", PERM_SCHEDULES_WRITE, schedules_delete, 0, 204,
     "schedules_delete", "Remove a schedule", NULL, NULL, NULL},

    {M_GET, "/healthz", PUBLIC, health_get, 0, 200, "healthz", "The process is alive", NULL,
     "Health", NULL},
    {M_GET, "/readyz", PUBLIC, ready_get, 0, 200, "readyz", "Stores reachable, schema current",
     NULL, "Ready", NULL},
    {M_GET, "/metrics", PUBLIC, metrics_get, 0, 200, "metrics", "Prometheus", NULL, NULL, NULL},
    {M_GET, "/openapi.json", PUBLIC, openapi_get, 0, 200, "openapi", "This document", NULL, "Any",
     NULL},
};
const size_t route_count = COUNT(routes);
