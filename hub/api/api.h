/* api.h - the handlers behind the routes; each file is one noun of the API. The table that names
 * them is routes.c. */
#pragma once
#include "hub/gather.h"
#include "hub/request.h"

/* once.c: a POST that creates, answered once: with an Idempotency-Key seen before, the first answer
 * is given again and fn does not run. fn replies into q. Not for orders, which carry their key in
 * their row. Parks. */
rc answer_once(struct cx *cx, struct request *q,
               rc (*fn)(struct cx *cx, struct request *q, void *arg), void *arg) MW_PARKS;
/* A UUID (version 8, RFC 9562) out of what names a thing: tenant, key, and what it is among those that
 * the request makes. */
void derived_id(const struct request *q, const char *key, const char *what, char out[ID_LEN + 1]);
/* task_rule.c: FORBIDDEN for the tasks that the house starts itself (order.*, webhook.*,
 * provider.*, request.*): a caller could otherwise set them on another's order or request. */
rc task_allowed(struct cx *cx, const char *task);
/* The same for a job that is to be: UNKNOWN_TASK for a name that only a task of ours could have. */
rc task_startable(struct cx *cx, const char *task);

/* agent_session.c */
rc agent_session_get(struct cx *cx, struct request *q) MW_PARKS;
/* orders.c */
extern const struct gather_kind gather_orders;
rc orders_post(struct cx *cx, struct request *q) MW_PARKS;
rc orders_post_dj(struct cx *cx, struct request *q) MW_PARKS;
rc orders_list(struct cx *cx, struct request *q) MW_PARKS;
rc orders_get(struct cx *cx, struct request *q) MW_PARKS;
rc orders_cancel(struct cx *cx, struct request *q) MW_PARKS;
/* order_events.c */
rc orders_events(struct cx *cx, struct request *q) MW_PARKS;
/* requests.c */
extern const struct gather_kind gather_requests;
rc requests_post(struct cx *cx, struct request *q) MW_PARKS;
rc requests_list(struct cx *cx, struct request *q) MW_PARKS;
rc requests_get(struct cx *cx, struct request *q) MW_PARKS;
rc requests_cancel(struct cx *cx, struct request *q) MW_PARKS;
/* agents.c */
rc agents_list(struct cx *cx, struct request *q) MW_PARKS;
rc agents_post(struct cx *cx, struct request *q) MW_PARKS;
rc agents_get(struct cx *cx, struct request *q) MW_PARKS;
rc agents_patch(struct cx *cx, struct request *q) MW_PARKS;
rc agent_tokens_get(struct cx *cx, struct request *q) MW_PARKS;
rc agent_tokens_post(struct cx *cx, struct request *q) MW_PARKS;
rc agent_tokens_delete(struct cx *cx, struct request *q) MW_PARKS;
/* history.c */
rc history_get(struct cx *cx, struct request *q) MW_PARKS;
/* jobs.c */
rc jobs_post(struct cx *cx, struct request *q) MW_PARKS;
rc jobs_get(struct cx *cx, struct request *q) MW_PARKS;
rc jobs_explain(struct cx *cx, struct request *q) MW_PARKS;
rc jobs_events(struct cx *cx, struct request *q) MW_PARKS;
rc jobs_cancel(struct cx *cx, struct request *q) MW_PARKS;
rc jobs_retry(struct cx *cx, struct request *q) MW_PARKS;
/* workflows.c */
rc workflows_post(struct cx *cx, struct request *q) MW_PARKS;
rc workflows_list(struct cx *cx, struct request *q) MW_PARKS;
rc workflows_get(struct cx *cx, struct request *q) MW_PARKS;
rc workflows_cancel(struct cx *cx, struct request *q) MW_PARKS;
rc workflows_retry(struct cx *cx, struct request *q) MW_PARKS;
/* queues.c */
rc queues_list(struct cx *cx, struct request *q) MW_PARKS;
rc queues_pause(struct cx *cx, struct request *q) MW_PARKS;
rc queues_resume(struct cx *cx, struct request *q) MW_PARKS;
rc queues_drain(struct cx *cx, struct request *q) MW_PARKS;
rc queues_policy_get(struct cx *cx, struct request *q) MW_PARKS;
rc queues_policy_put(struct cx *cx, struct request *q) MW_PARKS;
rc queues_purge(struct cx *cx, struct request *q) MW_PARKS;
/* workers.c */
rc workers_get(struct cx *cx, struct request *q) MW_PARKS;
/* dlq.c */
rc dlq_list_get(struct cx *cx, struct request *q) MW_PARKS;
rc dlq_replay_post(struct cx *cx, struct request *q) MW_PARKS;
rc dlq_delete(struct cx *cx, struct request *q) MW_PARKS;
/* limits.c */
rc limits_get(struct cx *cx, struct request *q) MW_PARKS;
rc limits_put(struct cx *cx, struct request *q) MW_PARKS;
rc limits_remove(struct cx *cx, struct request *q) MW_PARKS;
rc limits_breaker(struct cx *cx, struct request *q) MW_PARKS;
/* schedules.c */
rc schedules_get(struct cx *cx, struct request *q) MW_PARKS;
rc schedules_post(struct cx *cx, struct request *q) MW_PARKS;
rc schedules_patch(struct cx *cx, struct request *q) MW_PARKS;
rc schedules_delete(struct cx *cx, struct request *q) MW_PARKS;
/* security.c */
rc security_events_get(struct cx *cx, struct request *q) MW_PARKS;
/* health.c */
rc health_get(struct cx *cx, struct request *q);
rc ready_get(struct cx *cx, struct request *q) MW_PARKS;
/* metrics.c */
rc metrics_get(struct cx *cx, struct request *q) MW_PARKS;
/* health.c */
rc openapi_get(struct cx *cx, struct request *q);
