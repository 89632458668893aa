/* agent_certs.c - sessions that stand on a certificate, too, and what became of its identity.
 *
 * The interceptor looks at the identity when the session begins; a session lasts for weeks. Whenever access has changed (NOTIFY
 * mw_access) the identities of all of them are read again, many in one statement: who may not connect any more, or is bound to
 * another agent, is closed. What the certificate itself is worth (its time, revocation lists) is the door's business. */
#include "domain/access/identities.h"
#include "hub/realtime/session.h"
#include <string.h>

#define CERTS_MAX 256 /* in one statement */

static bool may_speak(const struct identity *who, const struct session *s)
{
    return identity_may(who, PERM_AGENTS_CONNECT) && strcmp(who->tenant_id, s->tenant_id) == 0 &&
           (!who->agent_id[0] || strcmp(who->agent_id, s->agent_id) == 0);
}

struct looks {
    struct identity who[CERTS_MAX];
    const char *names[CERTS_MAX];
};

static rc look_at(struct cx *cx, struct looks *l, struct session *const *some, size_t n)
{
    for (size_t i = 0; i < n; i++)
        l->names[i] = some[i]->cert_name;
    try(identities_load(cx, some[0]->all->hub->db, l->names, n, l->who));
    for (size_t i = 0; i < n; i++) {
        if (!may_speak(&l->who[i], some[i]))
            session_close(some[i], CLOSE_REVOKED, "revoked",
                          "the certificate may not speak for this agent any more");
    }
    return OK;
}

rc certs_look_again(struct cx *cx, struct agent_sessions *all)
{
    struct session **some = arena_alloc(&cx->arena, (all->n + 1) * sizeof *some), *s;
    struct looks *l = arena_alloc(&cx->arena, sizeof *l);
    size_t n = 0;
    rc r = OK;

    TAILQ_FOREACH(s, &all->connected, in_connected)
    {
        if (s->cert_name && s->state != SESSION_OVER)
            some[n++] = session_ref(s);
    }
    for (size_t i = 0; r == OK && i < n; i += CERTS_MAX)
        r = look_at(cx, l, some + i, MIN(n - i, (size_t)CERTS_MAX));
    for (size_t i = 0; i < n; i++)
        session_unref(some[i]);
    return r;
}
