/* test_history.c - the black box: what goes in, what comes out masked, who is refused to change it, and what verification says of what was
 * changed all the same. The schema belongs to an ordinary user here, as in a real house; SIDE is the superuser. */
#include "agents_world.h"
#include "base/clock.h"

static char owner_url[192];

/* Words of the server when the owner of the schema tries, NULL when it was taken. */
static const char *owner_refused(const char *sql)
{
    const char *words = NULL;

    pg_try(owner_url, &words, "%s", sql);
    return words && words[0] ? words : NULL;
}

/* Past the triggers, as only a superuser can. */
static void forge(const char *sql)
{
    SIDE("SET session_replication_role = replica");
    SIDE("%s", sql);
    SIDE("SET session_replication_role = origin");
}

/* Requests that end: their place in the chain is their order. */
static void history_put(struct cx *cx, struct command_request *q, int n)
{
    for (int i = 0; i < n; i++) {
        request_put(cx, &(struct request_new){.payload = "{\"n\":1.50,\"t\":\"نص\"}"}, &q[i]);
        struct assigned a;
        struct command c;
        ck_ok(request_assign(cx, db, q[i].request_id, &a));
        take(cx, q[i].request_id, &c);
        end_of(cx, q[i].job_id, "a1", i % 2 ? REQUEST_FAILED : REQUEST_COMPLETED);
        SIDE("UPDATE agents SET failures = 0");
    }
}

static void tell(void *arg, const struct history_fault *f)
{
    static const char *const kinds[] = {"changed", "rewritten", "missing",
                                        "extra",   "head",      "anchor"};
    struct buf *b = arg;

    buf_printf(b, "%s%s %" PRId64, b->len ? ", " : "", kinds[f->kind], f->seq);
    if (f->kind == HISTORY_MISSING && f->last_seq != f->seq)
        buf_printf(b, "-%" PRId64, f->last_seq);
}

/* "kind seq, …" of what is found; "" when the chain is whole. */
static const char *faults(struct cx *cx, const struct history_anchor *anchor,
                          struct history_verdict *v)
{
    _cleanup_(buf_release) struct buf b = BUF(KiB(64));

    ck_ok(history_verify(cx, db, anchor, tell, &b, v));
    return arena_strdup(&cx->arena, buf_str(&b));
}

/* ---------------------------------------------------------------- what goes in */

WORLD_TEST(each_end_is_a_row)
{
    struct command_request q[4], got;
    struct history_row *list;
    struct history_filter f = {.tenant_id = TENANT, .limit = 3};
    struct history_verdict v;
    int64_t next;
    size_t n;

    ck_assert_str_eq(faults(cx, NULL, &v), "");
    ck_assert(v.rows == 0 && v.first_seq == 0);
    agent_put("a1", "CPE", "{}");
    history_put(cx, q, 3);
    request_put(cx,
                &(struct request_new){
                    .command = "reboot", .requested_by = NOBODY, .requested_by_name = "nina"},
                &q[3]);
    ck_ok(request_cancel(cx, db, &rules, TENANT, q[3].request_id, NINA, &got));

    ck_ok(history_list(cx, db, &f, &list, &n, &next));
    ck_assert(n == 3 && next == 2);
    ck_assert(list[0].seq == 4 && str_eq(list[0].job_id, q[3].job_id) &&
              str_eq(list[0].request_id, q[3].request_id));
    ck_assert_str_eq(list[0].command, "reboot");
    ck_assert_str_eq(list[0].status, "failed");
    ck_assert_str_eq(list[0].response, "{\"error\": \"cancelled\"}");
    ck_assert_str_eq(list[0].requested_by, "nina");
    ck_assert_str_eq(list[0].requested_by_user_id, NOBODY);
    ck_assert_ptr_null(list[0].agent_id);
    ck_assert_str_eq(list[1].agent_id, "a1");
    ck_assert_str_eq(list[1].payload, "{\"n\": 1.50, \"t\": \"نص\"}");
    ck_assert_str_eq(list[1].response, "{\"uptime\": 5}");
    ck_assert(list[1].created_ms && list[1].completed_ms >= list[1].created_ms &&
              list[1].archived_ms >= list[1].completed_ms);
    f.after = next;
    ck_ok(history_list(cx, db, &f, &list, &n, &next));
    ck_assert(n == 1 && next == 0 && list[0].seq == 1);

    const struct {
        struct history_filter f;
        size_t want;
    } cases[] = {
        {{.tenant_id = TENANT2}, 0}, {{.agent_id = "a1"}, 3},      {{.command = "reboot"}, 1},
        {{.status = "failed"}, 2},   {{.job_id = q[1].job_id}, 1}, {{.since_ms = 4102444800000}, 0},
        {{.until_ms = 1000}, 0},     {{.since_ms = 1000}, 4},
    };
    for (size_t i = 0; i < COUNT(cases); i++) {
        ck_ok(history_list(cx, db, &cases[i].f, &list, &n, &next));
        ck_assert_msg(n == cases[i].want, "filter %zu: %zu rows", i, n);
    }
    f = (struct history_filter){.status = "asleep"};
    ck_rc(history_list(cx, db, &f, &list, &n, &next), E_INVALID_FIELD);
    f = (struct history_filter){.job_id = "x"};
    ck_rc(history_list(cx, db, &f, &list, &n, &next), E_INVALID_FIELD);

    _cleanup_(buf_release) struct buf b = BUF(KiB(8));
    cJSON *json;
    ck_ok(history_row_json(cx, &list[0], &b));
    ck_ok(json_parse(cx, buf_str(&b), b.len, KiB(8), &json));
    ck_assert_str_eq(json_text(cx, json_path(json, "command_name")), "reboot");
    ck_assert_str_eq(faults(cx, NULL, &v), "");
    ck_assert(v.rows == 4 && v.first_seq == 1 && v.last_seq == 4);
    return OK;
}

WORLD_TEST(secrets_are_masked)
{
    struct end_rules masking = rules;
    struct command_request q, got;
    struct assigned a;
    struct command c;
    struct mask *m;

    ck_ok(mask_new(cx, "/password, /wifi/*/psk, /config/key", &m));
    masking.mask = m;
    agent_put("a1", "CPE", "{}");
    request_put(
        cx,
        &(struct request_new){
            .mask = m,
            .payload =
                "{\"password\":\"geheim\",\"wifi\":[{\"psk\":\"p1\"},{\"psk\":\"p2\"}],\"n\":1.0}"},
        &q);
    ck_ok(request_assign(cx, db, q.request_id, &a));
    take(cx, q.request_id, &c);
    ck_assert_ptr_nonnull(strstr(c.payload, "geheim")); /* the agent needs it */
    struct request_end e = {.job_id = q.job_id,
                            .agent_id = "a1",
                            .to = REQUEST_COMPLETED,
                            .response = "{\"config\":{\"key\":\"k1\",\"x\":1}}"};
    ck_ok(requests_end_all(cx, db, &masking, &e, 1));
    ck_ok(request_get(cx, db, TENANT, q.request_id, &got));
    ck_assert_str_eq(
        got.payload,
        "{\"n\": 1.0, \"wifi\": [{\"psk\": \"***\"}, {\"psk\": \"***\"}], \"password\": \"***\"}");
    ck_assert_str_eq(got.result,
                     "{\"config\": {\"x\": 1, \"key\": \"k1\"}}"); /* whoever asked is told */
    ck_assert_str_eq(
        SIDE("SELECT request_payload::text || response_payload::text FROM command_history"),
        "{\"n\": 1.0, \"wifi\": [{\"psk\": \"***\"}, {\"psk\": \"***\"}], \"password\": \"***\"}"
        "{\"config\": {\"x\": 1, \"key\": \"***\"}}");
    ck_assert_int_eq(SIDE_INT("SELECT count(*) FROM requests WHERE command_payload::text LIKE "
                              "'%%geheim%%' OR masked_payload::text "
                              "LIKE '%%geheim%%'"),
                     0);
    mask_free(m);
    return OK;
}

/* ---------------------------------------------------------------- who may not */

static const struct {
    const char *title, *sql, *by_rights, *by_trigger;
} forbidden[] = {
    {"UPDATE", "UPDATE command_history SET agent_id = 'x'", "permission denied", "append-only"},
    {"DELETE", "DELETE FROM command_history", "permission denied", "append-only"},
    {"TRUNCATE", "TRUNCATE command_history", "permission denied", "append-only"},
    {"UPDATE of a partition", "UPDATE command_history_%s SET agent_id = 'x'", "permission denied",
     "append-only"},
    {"DELETE from a partition", "DELETE FROM command_history_%s", "permission denied",
     "append-only"},
    {"TRUNCATE of a partition", "TRUNCATE command_history_%s", "permission denied", "append-only"},
    {"TRUNCATE of the default one", "TRUNCATE command_history_default", "permission denied",
     "append-only"},
    {"the head set back", "UPDATE command_history_head SET seq = 0", "moves with the history",
     "moves with the history"},
    {"the head moved on", "UPDATE command_history_head SET seq = seq + 1, prev_hash = hash",
     "moves with the history", "moves with the history"},
    {"the head taken away", "DELETE FROM command_history_head", "permission denied",
     "moves with the history"},
    {"the head truncated", "TRUNCATE command_history_head", "permission denied",
     "moves with the history"},
};

WORLD_LOOP_TEST(nobody_changes_it)
{
    struct command_request q;
    struct history_verdict v;
    const char *words, *sql;

    agent_put("a1", "CPE", "{}");
    history_put(cx, &q, 1);
    sql = arena_strdup(&cx->arena, forbidden[world_row].sql);
    if (strstr(sql, "%s"))
        sql = arena_printf(&cx->arena, "%.*s%s%s", (int)(strstr(sql, "%s") - sql), sql,
                           SIDE("SELECT to_char(now() AT TIME ZONE 'UTC', 'YYYYMM')"),
                           strstr(sql, "%s") + 2);
    words = owner_refused(sql);
    ck_assert_msg(words && strstr(words, forbidden[world_row].by_rights), "%s, by the owner: %s",
                  sql, words ? words : "taken");
    pg_try(stores.database_url, &words, "%s", sql);
    ck_assert_msg(words && strstr(words, forbidden[world_row].by_trigger), "%s, by a superuser: %s",
                  sql, words ? words : "taken");
    ck_assert_str_eq(faults(cx, NULL, &v), "");
    ck_assert_int_eq(v.rows, 1);
    return OK;
}

/* ---------------------------------------------------------------- what is found */

#define MATERIAL(prev)                                                                             \
    "sha256(" prev " || convert_to(jsonb_build_array(seq, job_id, request_id, tenant_id, "         \
    "agent_id, requested_by_user_id, "                                                             \
    "requested_by, command_name, request_payload, status, response_payload, to_char(created_at "   \
    "AT TIME ZONE 'UTC', "                                                                         \
    "'YYYY-MM-DD\"T\"HH24:MI:SS.US\"Z\"'), to_char(completed_at AT TIME ZONE 'UTC', "              \
    "'YYYY-MM-DD\"T\"HH24:MI:SS.US\"Z\"'), "                                                       \
    "to_char(archived_at AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS.US\"Z\"'))::text, "        \
    "'UTF8'))"

static const struct {
    const char *title, *sql[3], *want;
} forgeries[] = {
    {"who carried it out",
     {"UPDATE command_history SET agent_id = 'a2' WHERE seq = 4"},
     "changed 4"},
    {"nobody did", {"UPDATE command_history SET agent_id = NULL WHERE seq = 4"}, "changed 4"},
    {"who asked", {"UPDATE command_history SET requested_by = 'x' WHERE seq = 1"}, "changed 1"},
    {"which identity",
     {"UPDATE command_history SET requested_by_user_id = tenant_id WHERE seq = 1"},
     "changed 1"},
    {"a number in the payload",
     {"UPDATE command_history SET request_payload = '{\"n\": 1.5, \"t\": \"نص\"}' WHERE seq = 3"},
     "changed 3"},
    {"how it ended", {"UPDATE command_history SET status = 'failed' WHERE seq = 5"}, "changed 5"},
    {"the answer taken away",
     {"UPDATE command_history SET response_payload = NULL WHERE seq = 2"},
     "changed 2"},
    {"a JSON null is not nothing",
     {"UPDATE command_history SET response_payload = 'null' WHERE seq = 2"},
     "changed 2"},
    {"a microsecond",
     {"UPDATE command_history SET completed_at = completed_at + interval '1 microsecond' WHERE seq "
      "= 6"},
     "changed 6"},
    {"another month",
     {"UPDATE command_history SET archived_at = archived_at + interval '1 month' WHERE seq = 6"},
     "changed 6"},
    {"another shop's",
     {"UPDATE command_history SET tenant_id = request_id WHERE seq = 2"},
     "changed 2"},
    {"two of them",
     {"UPDATE command_history SET command_name = 'x' WHERE seq IN (2, 5)"},
     "changed 2, changed 5"},
    {"all of them",
     {"UPDATE command_history SET command_name = 'x'"},
     "changed 1, changed 2, changed 3, changed 4, changed 5, changed 6"},
    {"its hash as well",
     {"UPDATE command_history SET agent_id = 'a2' WHERE seq = 4",
      "UPDATE command_history SET hash = " MATERIAL("prev_hash") " WHERE seq = 4"},
     "rewritten 4"},
    {"the last one, its hash as well",
     {"UPDATE command_history SET agent_id = 'a2' WHERE seq = 6",
      "UPDATE command_history SET hash = " MATERIAL("prev_hash") " WHERE seq = 6"},
     "head 6"},
    {"a hash alone",
     {"UPDATE command_history SET hash = sha256('x') WHERE seq = 3"},
     "changed 3, rewritten 3"},
    {"the first link",
     {"UPDATE command_history SET prev_hash = sha256('x') WHERE seq = 1"},
     "changed 1, changed 1"},
    {"one taken away", {"DELETE FROM command_history WHERE seq = 3"}, "missing 3"},
    {"some", {"DELETE FROM command_history WHERE seq IN (2, 3, 5)"}, "missing 2-3, missing 5"},
    {"the first", {"DELETE FROM command_history WHERE seq = 1"}, "missing 1"},
    {"the last", {"DELETE FROM command_history WHERE seq = 6"}, "missing 6"},
    {"everything", {"DELETE FROM command_history"}, "missing 1-6"},
    {"truncated", {"TRUNCATE command_history"}, "missing 1-6"},
    {"two exchanged",
     {"UPDATE command_history SET seq = CASE seq WHEN 2 THEN 3 ELSE 2 END WHERE seq IN (2, 3)"},
     "rewritten 1, changed 2, rewritten 2, changed 3, rewritten 3"},
    {"one twice",
     {"INSERT INTO command_history SELECT seq, 'ffffffff-ffff-4fff-bfff-ffffffffffff', request_id, "
      "tenant_id, agent_id, "
      "requested_by_user_id, requested_by, command_name, request_payload, status, "
      "response_payload, created_at, completed_at, archived_at, prev_hash, hash FROM "
      "command_history WHERE seq = 4"},
     "extra 4"},
    {"one beyond the head",
     {"INSERT INTO command_history SELECT 7, gen_random_uuid(), request_id, tenant_id, agent_id, "
      "requested_by_user_id, requested_by, command_name, request_payload, status, "
      "response_payload, created_at, completed_at, archived_at, prev_hash, hash FROM "
      "command_history WHERE seq = 4"},
     "extra 7"},
    {"one before the first",
     {"UPDATE command_history SET seq = 0 WHERE seq = 6"},
     "missing 6, extra 0"},
    {"the head set back",
     {"UPDATE command_history_head SET (seq, prev_hash, hash) = (SELECT seq, prev_hash, hash FROM "
      "command_history WHERE seq = 4)"},
     "extra 5, extra 6"},
    {"the head moved on", {"UPDATE command_history_head SET seq = 8"}, "missing 7-8"},
    {"the head's hash", {"UPDATE command_history_head SET hash = sha256('x')"}, "head 6"},
    {"nothing", {NULL}, ""},
};

WORLD_LOOP_TEST(forgeries_are_found)
{
    struct command_request q[6];
    struct history_verdict v;

    agent_put("a1", "CPE", "{}");
    history_put(cx, q, 6);
    for (size_t i = 0; i < 3 && forgeries[world_row].sql[i]; i++)
        forge(forgeries[world_row].sql[i]);
    const char *found = faults(cx, NULL, &v);
    ck_assert_msg(str_eq(found, forgeries[world_row].want), "%s: '%s'", forgeries[world_row].title,
                  found);
    return OK;
}

static void keep_words(void *arg, const struct history_fault *f)
{
    char *out = arg;

    if (!out[0])
        snprintf(out, 256, "%s", f->words);
}

WORLD_TEST(the_row_is_named)
{
    struct command_request q[3];
    struct history_verdict v;
    char words[256] = "";

    agent_put("a1", "CPE", "{}");
    history_put(cx, q, 3);
    forge("UPDATE command_history SET status = 'completed' WHERE seq = 2");
    ck_ok(history_verify(cx, db, NULL, keep_words, words, &v));
    ck_assert_str_eq(words, arena_printf(&cx->arena, "row 2 (job %s) was changed", q[1].job_id));
    ck_assert_int_eq(v.faults, 1);
    ck_ok(history_verify(cx, db, NULL, NULL, NULL, &v)); /* only counted */
    ck_assert_int_eq(v.faults, 1);
    return OK;
}

/* Who rewrites everything behind, and the head, is found only by what somebody wrote down elsewhere. */
WORLD_TEST(an_anchor_finds_what_the_chain_cannot)
{
    struct history_verdict then, v;
    struct command_request q[4];
    struct history_anchor anchor;

    agent_put("a1", "CPE", "{}");
    history_put(cx, q, 3);
    ck_assert_str_eq(faults(cx, NULL, &then), "");
    anchor = (struct history_anchor){then.last_seq, then.head};
    history_put(cx, q + 3, 1);
    ck_assert_str_eq(faults(cx, &anchor, &v), "");
    forge("UPDATE command_history SET agent_id = 'a2' WHERE seq = 2");
    for (int seq = 2; seq <= 4; seq++)
        forge(arena_printf(&cx->arena,
                           "UPDATE command_history h SET prev_hash = p.hash, hash = " MATERIAL(
                               "p.hash") " FROM (SELECT hash FROM "
                                         "command_history WHERE seq = %d) p WHERE h.seq = %d",
                           seq - 1, seq));
    forge("UPDATE command_history_head SET (prev_hash, hash) = (SELECT prev_hash, hash FROM "
          "command_history WHERE seq = 4)");
    ck_assert_str_eq(faults(cx, NULL, &v), "");
    ck_assert_str_eq(faults(cx, &anchor, &v), "anchor 3");
    forge("DELETE FROM command_history WHERE seq > 1");
    forge("UPDATE command_history_head SET (seq, prev_hash, hash) = (SELECT seq, prev_hash, hash "
          "FROM command_history WHERE seq = 1)");
    ck_assert_str_eq(faults(cx, NULL, &v), "");
    ck_assert_str_eq(faults(cx, &anchor, &v), "head 1");
    return OK;
}

WORLD_TEST(a_long_chain_in_pieces)
{
    struct history_verdict v;

    SIDE("INSERT INTO command_history (job_id, request_id, tenant_id, requested_by, command_name, "
         "request_payload, status, created_at, "
         "completed_at, archived_at) SELECT gen_random_uuid(), gen_random_uuid(), '" TENANT
         "', 'x', 'c', '{}', 'completed', now(), "
         "now(), now() + (n %% 4) * interval '25 days' FROM generate_series(1, 2500) n");
    ck_assert_int_gt(SIDE_INT("SELECT count(DISTINCT tableoid) FROM command_history"), 2);
    ck_assert_str_eq(faults(cx, NULL, &v), "");
    ck_assert_int_eq(v.rows, 2500);
    forge("DELETE FROM command_history WHERE seq IN (999, 1000, 1001, 2001)");
    ck_assert_str_eq(faults(cx, NULL, &v), "missing 999-1001, missing 2001");
    return OK;
}

/* ---------------------------------------------------------------- partitions */

WORLD_TEST(months_have_their_partitions)
{
    int64_t made;

    ck_ok(history_partitions(cx, db, &made));
    ck_assert_int_eq(made, 0); /* the schema made them */
    ck_assert_int_eq(
        SIDE_INT("SELECT count(*) FROM pg_inherits WHERE inhparent = 'command_history'::regclass"),
        4);
    SIDE("DROP TABLE command_history_%s",
         SIDE("SELECT to_char((now() AT TIME ZONE 'UTC') + interval '1 month', 'YYYYMM')"));
    ck_ok(history_partitions(cx, db, &made));
    ck_assert_int_eq(made, 1);
    ck_assert_int_eq(
        SIDE_INT("SELECT count(*) FROM pg_inherits WHERE inhparent = 'command_history'::regclass"),
        4);

    /* a month that was not made in time: nothing is lost */
    SIDE("INSERT INTO command_history (job_id, request_id, tenant_id, requested_by, command_name, "
         "request_payload, status, created_at, "
         "completed_at, archived_at) VALUES ('" NOBODY "', '" NOBODY "', '" TENANT
         "', 'x', 'c', '{}', 'completed', now(), now(), "
         "'2031-05-07')");
    ck_assert_str_eq(SIDE("SELECT tableoid::regclass::text FROM command_history"),
                     "command_history_default");
    ck_assert_str_eq(SIDE("SELECT command_history_partition('2031-05-31')::text"), "false");
    ck_assert_str_eq(SIDE("SELECT command_history_partition('2031-06-30')::text"), "true");
    ck_assert_str_eq(SIDE("SELECT command_history_partition('2031-06-01')::text"), "false");
    ck_assert_str_eq(SIDE("SELECT pg_get_expr(relpartbound, oid) FROM pg_class WHERE relname = "
                          "'command_history_203106'"),
                     "FOR VALUES FROM ('2031-06-01 00:00:00+00') TO ('2031-07-01 00:00:00+00')");
    SIDE("DROP TABLE command_history_203106");
    return OK;
}

/* ---------------------------------------------------------------- a house whose schema belongs to an ordinary user */

static void owner_makes(const struct stores *s)
{
    char url[192];
    const char *host = strstr(s->database_url, "?host=");

    pg_one(s->database_url, "CREATE ROLE owner LOGIN");
    stores_new_database(s, "house", NULL, url);
    pg_one(s->database_url, "ALTER DATABASE house OWNER TO owner");
    pg_one(url, "ALTER SCHEMA public OWNER TO owner");
    snprintf(owner_url, sizeof(owner_url), "postgresql://owner@/house%s", host);
    stores_migrate(owner_url);
    pg_one(url, "INSERT INTO tenants (id, name) VALUES ('" TENANT "', 'shop'), ('" TENANT2
                "', 'other')");
    memcpy(stores.database_url, url, sizeof(url));
}

static rc as_owner(struct cx *cx, rc (*fn)(struct cx *cx))
{
    try(pg_new(cx, owner_url, 4, &db));
    rc r = fn(cx);
    db = pg_free(db);
    return r;
}

static Suite *suite(void)
{
    Suite *s = suite_create("history");
    TCase *tc = tcase_create("history");

    world_as = as_owner;
    tcase_set_timeout(tc, 60);
    tcase_add_test(tc, each_end_is_a_row);
    tcase_add_test(tc, secrets_are_masked);
    tcase_add_loop_test(tc, nobody_changes_it, 0, COUNT(forbidden));
    tcase_add_loop_test(tc, forgeries_are_found, 0, COUNT(forgeries));
    tcase_add_test(tc, the_row_is_named);
    tcase_add_test(tc, an_anchor_finds_what_the_chain_cannot);
    tcase_add_test(tc, a_long_chain_in_pieces);
    tcase_add_test(tc, months_have_their_partitions);
    suite_add_tcase(s, tc);
    return s;
}

int main(void)
{
    return stores_main(&stores, &(struct stores_opts){.no_redis = true}, owner_makes, suite);
}
