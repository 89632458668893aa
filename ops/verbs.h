/* verbs.h - the functions behind the rows of verbs.c, by file. */
#pragma once
#include "ops/verb.h"

/* RFC 3339 in cx's arena; NULL for 0. tenant.c */
const char *when(struct cx *cx, int64_t ms);
/* A line to stderr, behind what stdout got so far. verbs.c */
void hint(const char *fmt, ...) _printf_(1, 2);
/* "12" in cx's arena. verbs.c */
const char *number(struct cx *cx, int64_t n);
/* "a b" -> "a,b" in cx's arena, as lists are given; NULL for "" and NULL. verbs.c */
const char *commas(struct cx *cx, const char *list);
/* Waits until a durable job has ended, at most wait_ms; its result (JSON, arena) or its failure.
 * job.c. Parks. */
rc job_wait(struct cx *cx, struct ops *o, const char *job_id, int64_t wait_ms,
            const char **ret_result) MW_PARKS;

#define VERB(name) rc verb_##name(struct cx *cx, struct ops *o) MW_PARKS
VERB(db_migrate);
VERB(db_status);
VERB(tenant_add);
VERB(tenant_ls);
VERB(tenant_secret);
VERB(key_add);
VERB(key_ls);
VERB(key_revoke);
VERB(role_add);
VERB(role_set);
VERB(role_ls);
VERB(role_rm);
VERB(identity_add);
VERB(identity_set);
VERB(identity_ls);
VERB(identity_rm);
VERB(product_add);
VERB(product_ls);
VERB(package_add);
VERB(package_ls);
VERB(package_show);
VERB(package_enable);
VERB(package_disable);
VERB(provider_add);
VERB(provider_change);
VERB(provider_ls);
VERB(provider_test);
VERB(provider_pause);
VERB(provider_resume);
VERB(provider_enable);
VERB(provider_disable);
VERB(provider_breaker);
VERB(catalogue_import);
VERB(catalogue_ls);
VERB(route_ls);
VERB(route_map);
VERB(route_set);
VERB(order_ls);
VERB(order_show);
VERB(order_resolve);
VERB(order_cancel);
VERB(agent_ls);
VERB(agent_add);
VERB(agent_show);
VERB(agent_set);
VERB(agent_enable);
VERB(agent_disable);
VERB(agent_token_add);
VERB(agent_token_ls);
VERB(agent_token_revoke);
VERB(request_send);
VERB(request_ls);
VERB(request_show);
VERB(request_cancel);
VERB(queue_ls);
VERB(queue_pause);
VERB(queue_resume);
VERB(queue_purge);
VERB(queue_drain);
VERB(queue_policy_show);
VERB(queue_policy_set);
VERB(worker_ls);
VERB(worker_drain);
VERB(worker_resume);
VERB(limit_ls);
VERB(limit_set);
VERB(limit_rm);
VERB(limit_breaker);
VERB(job_add);
VERB(job_show);
VERB(job_explain);
VERB(job_log);
VERB(job_tail);
VERB(job_wait);
VERB(job_cancel);
VERB(job_retry);
/* flow.c */
VERB(flow_add);
VERB(flow_ls);
VERB(flow_show);
VERB(flow_cancel);
VERB(flow_retry);
VERB(celery_send);
VERB(celery_result);
VERB(dlq_ls);
VERB(dlq_show);
VERB(dlq_replay);
VERB(dlq_drop);
VERB(dlq_export);
VERB(schedule_ls);
VERB(schedule_add);
VERB(schedule_pause);
VERB(schedule_resume);
VERB(schedule_run);
VERB(schedule_rm);
VERB(seal_ls);
VERB(seal_rotate);
VERB(ca_init);
VERB(ca_issue);
VERB(ca_revoke);
VERB(ca_ls);
VERB(ca_crl);
VERB(security_ls);
VERB(audit_ls);
VERB(audit_verify);
VERB(history_ls);
VERB(doctor);
VERB(top);
#undef VERB
