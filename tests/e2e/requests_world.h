/* requests_world.h - what the tests of requests share: agents made over the API, requests posted, what
 * PostgreSQL says of them. */
#pragma once
#include "tests/e2e/e2e.h"

#define REQUEST_ENDS_MS 60000

/* A statement's first value; "" when there is none. */
#define db_says(h, ...)                                                                            \
    ({                                                                                             \
        const char *says_ = pg_one((h)->stores.database_url, __VA_ARGS__);                         \
        says_ ? says_ : "";                                                                        \
    })

/* POST that must be answered with `status`; the field of the answer, in one of 16 buffers. */
static inline const char *posted(struct house *h, const char *path, const char *body, int status,
                                 const char *field)
{
    static char texts[16][128];
    static unsigned turn;
    char *out = texts[turn++ % COUNT(texts)];
    _cleanup_(web_reply_release) struct web_reply r = house_post(h, path, body);

    ck_assert_msg(r.status == status, "%s %s: %d %s %s", path, body, r.status, r.why, r.body);
    snprintf(out, sizeof texts[0], "%s", web_text(&r, field));
    return out;
}

/* An agent and a token for it; the token, in one of 16 buffers. */
static inline const char *new_agent(struct house *h, const char *id, const char *type,
                                    const char *metadata)
{
    _cleanup_(freep) char *body =
        xasprintf("{\"agent_id\":\"%s\",\"agent_type\":\"%s\",\"metadata\":%s}", id, type,
                  metadata ? metadata : "{}");
    _cleanup_(freep) char *path = xasprintf("/v1/agents/%s/tokens", id);

    posted(h, "/v1/agents", body, 201, "agent_id");
    return posted(h, path, "{}", 201, "token");
}

/* POST /v1/requests; its id. */
static inline const char *new_request(struct house *h, const char *body)
{
    return posted(h, "/v1/requests", body, 202, "request_id");
}

static inline bool request_is(struct house *h, const char *id, const char *status)
{
    const char *is = pg_try(h->stores.database_url, NULL,
                            "SELECT status FROM requests WHERE request_id = '%s'", id);

    return is && strcmp(is, status) == 0;
}
