/* inbox.c - notes as JSON in a Redis list, read in gulps. */
#include "domain/agents/inbox.h"
#include "base/json.h"
#include "base/log.h"
#include "base/text.h"
#include "domain/agents/agents.lua.h"
#include "queue/keys.h"
#include <assert.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define EXPIRE_S   "60"
#define NOTE_MAX   KiB(2)
#define ANSWER_MS  5000 /* of Redis, beyond the wait itself */
#define STRING_(n) #n
#define STRING(n)  STRING_(n)

static const char *const types[] = {
    [INBOX_COMMAND] = "command", [INBOX_SUPERSEDED] = "superseded", [INBOX_REVOKED] = "revoked"};

/* {"t":"command","a":agent_id,"r":request_id}; s: session_id, k: token_id or null. */
static const char *note_write(struct cx *cx, const struct inbox_note *n)
{
    _cleanup_(buf_release) struct buf b = BUF(NOTE_MAX);

    buf_puts(&b, "{\"t\":");
    buf_json_str(&b, types[n->kind]);
    buf_json_field(&b, "a", n->agent_id);
    if (n->kind == INBOX_COMMAND)
        buf_json_field(&b, "r", n->request_id);
    if (n->kind == INBOX_SUPERSEDED)
        buf_json_field(&b, "s", n->session_id);
    if (n->kind == INBOX_REVOKED)
        buf_json_field(&b, "k", str_empty(n->token_id) ? NULL : n->token_id);
    buf_putc(&b, '}');
    assert(buf_ok(&b)); /* its fields have their sizes */
    return arena_strdup(&cx->arena, buf_str(&b));
}

rc inbox_push(struct cx *cx, struct redis *r, const char *hub_id, const struct inbox_note *notes,
              size_t n)
{
    _cleanup_(redis_reply_freep) redisReply *reply = NULL;
    char key[HUB_KEY_MAX];

    if (n == 0)
        return OK;
    assert(n <= INBOX_BATCH);
    const char **argv = arena_alloc(&cx->arena, (n + 3) * sizeof(const char *));
    argv[0] = hub_key(hub_id, key);
    argv[1] = STRING(INBOX_MAX);
    argv[2] = EXPIRE_S;
    for (size_t i = 0; i < n; i++)
        argv[3 + i] = note_write(cx, &notes[i]);
    try(redis_eval(cx, r, &reply, &SCRIPT_INBOX_PUSH, (int)n + 3, argv, NULL));
    if (reply->type != REDIS_REPLY_INTEGER || reply->integer != 1)
        return fail(cx, OVERLOADED, "hub %s has not read its last %d notes", hub_id, INBOX_MAX);
    return OK;
}

/* ---------------------------------------------------------------- */

static bool id_or_none(const cJSON *o, const char *name, char *out)
{
    const cJSON *v = cJSON_GetObjectItemCaseSensitive(o, name);

    if (!v || cJSON_IsNull(v))
        return true;
    return cJSON_IsString(v) && id_parse(v->valuestring, out);
}

static bool note_read(struct cx *cx, const char *s, size_t len, struct inbox_note *n)
{
    cJSON *o;

    if (json_parse(cx, s, len, NOTE_MAX, &o) != OK)
        return false;
    const char *type = cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(o, "t"));
    const char *agent = cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(o, "a"));
    size_t kind = 0;
    while (kind < COUNT(types) && !str_eq(type, types[kind]))
        kind++;
    if (kind == COUNT(types) || !agent_id_valid(agent))
        return false;
    *n = (struct inbox_note){.kind = (enum inbox_kind)kind};
    strcpy(n->agent_id, agent);
    return id_or_none(o, "r", n->request_id) && id_or_none(o, "s", n->session_id) &&
           id_or_none(o, "k", n->token_id) && (n->kind != INBOX_COMMAND || n->request_id[0]) &&
           (n->kind != INBOX_SUPERSEDED || n->session_id[0]);
}

/* BLMPOP answers nil, or {key, {note, ...}}. */
static rc notes_read(struct cx *cx, const redisReply *reply, struct inbox_note **ret, size_t *ret_n)
{
    *ret_n = 0;
    if (reply->type == REDIS_REPLY_NIL ||
        (reply->type == REDIS_REPLY_ARRAY && reply->elements == 0))
        return OK;
    if (reply->type != REDIS_REPLY_ARRAY || reply->elements != 2)
        return fail(cx, REDIS, "BLMPOP answered something else than a list");
    const redisReply *list = reply->element[1];
    struct inbox_note *notes = arena_alloc(&cx->arena, (list->elements + 1) * sizeof(*notes));
    size_t n = 0;
    for (size_t i = 0; i < list->elements; i++) {
        const redisReply *e = list->element[i];
        if (e->type == REDIS_REPLY_STRING && note_read(cx, e->str, e->len, &notes[n]))
            n++;
        else
            log_ev(LOG_WARN, "inbox.unreadable", kv_str("note", e->str ? e->str : ""));
    }
    *ret = notes;
    *ret_n = n;
    return OK;
}

rc inbox_pop(struct cx *cx, struct redis *blocking, const char *hub_id, int64_t wait_ms,
             struct inbox_note **ret, size_t *ret_n)
{
    _cleanup_(redis_reply_freep) redisReply *reply = NULL;
    _cleanup_(cx_deadline_restore) struct cx_deadline d =
        cx_deadline_within(cx, wait_ms + ANSWER_MS);
    char key[HUB_KEY_MAX], wait[32];

    /* 0 would wait for ever */
    snprintf(wait, sizeof(wait), "%" PRId64 ".%03" PRId64, MAX(wait_ms, INT64_C(1)) / 1000,
             MAX(wait_ms, INT64_C(1)) % 1000);
    const char *argv[] = {"BLMPOP",           wait, "1", hub_key(hub_id, key), "LEFT", "COUNT",
                          STRING(INBOX_BATCH)};
    *ret_n = 0;
    try(redis_argv(cx, blocking, &reply, COUNT(argv), argv, NULL));
    return notes_read(cx, reply, ret, ret_n);
}
