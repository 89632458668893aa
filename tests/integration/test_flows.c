/* test_flows.c - workflows: what follows from what, under every way in which a member may end.
 *
 * A case is a workflow and a story. A job is named by its task. Words of a story:
 *
 *     a=JSON      a is carried out, with that result           a!   it dies
 *     a~          it is cancelled by hand                      a^   it is put back from the dead letters
 *     a?JSON      a is under way, and sees that before it      CANCEL, RETRY: the whole (with - : refused)
 *     HEED        the workers see who is wanted cancelled      DROP: CANCEL before the last jobs are claimed
 *     [STATES]    the workflow's state, then those of its jobs by step:
 *                 . waiting  r running  d done  f failed  c cancelled
 *
 * Between two words every job that is ready is claimed. At the end nothing may be left anywhere that
 * the last states do not tell of. */
#include "base/clock.h"
#include "domain/retention.h"
#include "queue/control.sql.h"
#include "queue/dlq.h"
#include "queue/end.h"
#include "queue/flow/flow_view.h"
#include "queue/flow/reached.h"
#include "queue/retry.h"
#include "tests/integration/queue_state.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define LEASE_MS 30000

static struct engine *ender; /* of fibers that end a job */

struct story {
    struct qtest *t;
    const char *title;
    char id[ID_LEN + 1];
    struct job held[64];
    size_t n;
};

static const char *look(struct story *s)
{
    return pg_one(
        s->t->database_url,
        "SELECT f.state || ' ' || (SELECT string_agg(CASE s.state WHEN 'waiting' THEN '.' "
        "ELSE left(s.state, 1) END, '' ORDER BY s.step) FROM workflow_steps s WHERE "
        "s.workflow_id = f.id AND s.kind = 'job') FROM workflows f WHERE f.id = '%s'",
        s->id);
}

static void claim_all(struct cx *cx, struct story *s)
{
    size_t refused;

    for (;;) {
        struct claim_result c;
        ck_ok(engine_claim(cx, s->t->e, Q, 16, LEASE_MS, NULL, 0, &c, &refused));
        size_t n = c.n;
        for (size_t i = 0; i < n; i++) {
            ck_assert_uint_lt(s->n, COUNT(s->held));
            s->held[s->n++] = c.jobs[i];
            c.jobs[i].storage = NULL;
        }
        claim_result_release(&c);
        if (n == 0)
            return;
    }
}

/* The job that runs under this name. */
static struct job *held(struct story *s, char name)
{
    for (size_t i = 0; i < s->n; i++)
        if (s->held[i].task[0] == name)
            return &s->held[i];
    ck_abort_msg("%s: %c is not under way: %s", s->title, name, look(s));
}

static void let_go(struct cx *cx, struct story *s, struct job *j)
{
    size_t refused;

    ck_ok(engine_ack(cx, s->t->e, Q, &j->lease, 1, &refused));
    job_release(j);
    *j = s->held[--s->n];
}

static void end(struct cx *cx, struct story *s, char name, const char *result)
{
    struct job *j = held(s, name);
    struct job_end e = {.outcome = result ? JOB_COMPLETED : JOB_DEAD,
                        .result = result,
                        .error_code = "upstream_refused",
                        .error = "no"};

    ck_ok(engine_end(cx, s->t->e, j, &e));
    let_go(cx, s, j);
}

static const char *job_id(struct story *s, char name)
{
    return pg_one(s->t->database_url,
                  "SELECT job_id FROM workflow_steps WHERE workflow_id = '%s' AND task = '%c'",
                  s->id, name);
}

/* As a worker would: who sees the wish ends the job as cancelled. */
static void heed_wishes(struct cx *cx, struct story *s)
{
    for (size_t i = 0; i < s->n;) {
        struct job *j = &s->held[i];
        bool lost, cancel;
        ck_ok(engine_extend(cx, s->t->e, Q, &j->lease, 1, LEASE_MS, &lost, &cancel));
        if (cancel) {
            ck_ok(engine_end(cx, s->t->e, j, &(struct job_end){.outcome = JOB_CANCELLED}));
            let_go(cx, s, j);
        } else {
            i++;
        }
    }
}

static void cancel_one(struct cx *cx, struct story *s, char name)
{
    bool running;

    ck_ok(engine_cancel(cx, s->t->e, job_id(s, name), &running));
    heed_wishes(cx, s);
}

static void put_back(struct cx *cx, struct story *s, char name)
{
    const char *letter = pg_one(
        s->t->database_url,
        "SELECT id FROM dead_letters WHERE job_id = '%s' AND replayed_at IS NULL", job_id(s, name));
    int64_t replayed, skipped;

    ck_ok(dlq_replay(cx, s->t->e, &letter, 1, NULL, 0, &replayed, &skipped));
    ck_assert_msg(replayed == 1, "%s: %c was not among the dead letters", s->title, name);
}

/* '_' is a blank; ERROR(a) is what stands for a job that did not end well. */
static void expected(struct story *s, const char *want, char *out)
{
    for (; *want; want++) {
        if (strncmp(want, "ERROR(", 6) == 0) {
            out += sprintf(out,
                           "{\"error\" : {\"code\" : \"upstream_refused\", \"message\" : \"no\", "
                           "\"job_id\" : \"%s\"}}",
                           job_id(s, want[6]));
            want += 7;
        } else {
            *out++ = *want == '_' ? ' ' : *want;
        }
    }
    *out = 0;
}

static void sees(struct cx *cx, struct story *s, char name, const char *word)
{
    const char *got;
    char want[1000];

    expected(s, word, want);
    ck_ok(flow_previous(cx, s->t->db, held(s, name), &got));
    got = got ? got : "nothing";
    ck_assert_msg(strcmp(got, want) == 0, "%s: %c sees %s, not %s", s->title, name, got, want);
}

static void word(struct cx *cx, struct story *s, char *w)
{
    if (strcmp(w, "DROP") == 0) {
        ck_ok(flow_cancel(cx, s->t->e, s->id, NULL));
        return;
    }
    claim_all(cx, s);
    if (strcmp(w, "CANCEL") == 0) {
        ck_ok(flow_cancel(cx, s->t->e, s->id, NULL));
    } else if (strcmp(w, "HEED") == 0) {
        heed_wishes(cx, s);
    } else if (strcmp(w, "RETRY") == 0) {
        ck_ok(flow_retry(cx, s->t->e, s->id, NULL));
    } else if (strcmp(w, "CANCEL-") == 0) {
        ck_rc(flow_cancel(cx, s->t->e, s->id, NULL), E_CONFLICT);
    } else if (strcmp(w, "RETRY-") == 0) {
        ck_rc(flow_retry(cx, s->t->e, s->id, NULL), E_CONFLICT);
    } else if (w[1] == '=') {
        end(cx, s, w[0], w + 2);
    } else if (w[1] == '!') {
        end(cx, s, w[0], NULL);
    } else if (w[1] == '~') {
        cancel_one(cx, s, w[0]);
    } else if (w[1] == '^') {
        put_back(cx, s, w[0]);
    } else if (w[1] == '?') {
        sees(cx, s, w[0], w + 2);
    } else {
        ck_abort_msg("%s: what is '%s'?", s->title, w);
    }
}

static void tell(struct cx *cx, struct story *s, const char *story)
{
    char text[2000];

    ck_assert_uint_lt(strlen(story), sizeof text);
    strcpy(text, story);
    for (char *p = text, *stop; *p; p = stop + strspn(stop, " ")) {
        bool states = *p == '[';
        stop = states ? strchr(p, ']') : p + strcspn(p, " ");
        bool more = *stop;
        *stop = 0;
        if (states)
            ck_assert_msg(strcmp(look(s), p + 1) == 0, "%s: it is '%s', not '%s', before '%s'",
                          s->title, look(s), p + 1, stop + 1);
        else
            word(cx, s, p);
        stop += more;
    }
}

static void start(struct cx *cx, struct story *s, const char *json)
{
    struct flow *f;
    cJSON *o;

    ck_ok(json_parse(cx, json, strlen(json), MiB(1), &o));
    ck_ok(flow_read(cx, o, NULL, &f));
    ck_ok(flow_start(cx, s->t->e, f));
    memcpy(s->id, f->id, sizeof s->id);
}

/* Short for {"task":"a","queue":"t"}: the letters of a case's tree. */
static const char *spelled(const char *tree)
{
    static char out[8000];
    size_t n = 0;

    for (const char *p = tree; *p; p++) {
        if (p[0] == '\'')
            out[n++] = '"';
        else if (p[0] == '$')
            n += (size_t)sprintf(out + n, "{\"task\":\"%c\",\"queue\":\"" Q "\"}", *++p);
        else
            out[n++] = *p;
    }
    out[n] = 0;
    return out;
}

static const struct {
    const char *title, *tree, *story;
} cases[] = {
    {"a chain of three hands on results", "{'chain':[$a,$b,$c]}",
     "[running r..] a?nothing a=1 [running dr.] b?1 b={\"n\":2} c?{\"n\":2} c=3 [completed ddd] "
     "CANCEL- RETRY-"},
    {"a result that is none", "{'chain':[$a,$b]}", "a=null b?null b=1 [completed dd]"},
    {"a chain stops where a job dies", "{'chain':[$a,$b,$c]}", "a=1 b! [failed df.] CANCEL-"},
    {"a chain goes on when it is put back", "{'chain':[$a,$b,$c]}",
     "a=1 b! [failed df.] b^ [running dr.] b?1 b=2 c?2 c=3 [completed ddd]"},
    {"a chain is tried again from where it stopped", "{'chain':[$a,$b,$c]}",
     "a=1 b! RETRY [running dr.] b?1 b=2 c=3 [completed ddd]"},
    {"a job of a chain is cancelled by hand", "{'chain':[$a,$b]}",
     "a~ [failed c.] RETRY [running r.] a=1 b=2 [completed dd]"},
    {"a group", "{'group':[$a,$b,$c]}", "[running rrr] b=2 a=1 [running ddr] c=3 [completed ddd]"},
    {"a group with a dead member lets the others go on", "{'group':[$a,$b,$c]}",
     "b! [running rfr] a=1 c=3 [failed dfd] b^ [running drd] b=2 [completed ddd]"},
    {"a group with dead members is tried again", "{'group':[$a,$b,$c]}",
     "b! a! c=3 [failed ffd] RETRY [running rrd] a=1 b! [failed dfd] RETRY b=2 [completed ddd]"},
    {"a dead member is put back while others run", "{'group':[$a,$b]}",
     "a! [running fr] a^ [running rr] b=1 [running rd] a=2 [completed dd]"},
    {"a dead member is tried again with the whole while others run", "{'group':[$a,$b]}",
     "a! [running fr] RETRY [running rr] b=1 a=2 [completed dd]"},
    {"a group that continues", "{'group':[$a,$b],'on_failure':'continue'}",
     "a! b=2 [completed fd] RETRY-"},
    {"a chord", "{'chord':{'group':[$a,$b,$c],'then':$d}}",
     "[running rrr.] c=3 a=1 b=2 [running dddr] d?[1,_2,_3] d=6 [completed dddd]"},
    {"a chord that fails calls nobody back", "{'chord':{'group':[$a,$b],'then':$c}}",
     "a! b=2 [failed fd.] a^ [running rd.] a=1 c?[1,_2] c=3 [completed ddd]"},
    {"a chord that fails is tried again", "{'chord':{'group':[$a,$b],'then':$c}}",
     "a! b! [failed ff.] RETRY [running rr.] a=1 b=2 c?[1,_2] c=3 [completed ddd]"},
    {"a chord that continues sees the errors",
     "{'chord':{'group':[$a,$b],'then':$c,'on_failure':'continue'}}",
     "b=2 a! [running fdr] c?[ERROR(a),_2] c=3 [completed fdd]"},
    {"a callback that died is put back", "{'chord':{'group':[$a],'then':$b}}",
     "a=1 b! [failed df] b^ b?[1] b=2 [completed dd]"},
    {"a member of a chord is cancelled by hand",
     "{'chord':{'group':[$a,$b],'then':$c,'on_failure':'continue'}}",
     "a~ b=2 [running cdr] c=3 [completed cdd]"},
    {"who died is put back after the callback began",
     "{'chord':{'group':[$a,$b],'then':$c,'on_failure':'continue'}}",
     "a! b=2 [running fdr] a^ [running rdr] c=3 [completed rdd] a=1 [completed ddd]"},
    {"who died is put back, and dies again, after the callback began",
     "{'chord':{'group':[$a,$b],'then':$c,'on_failure':'continue'}}",
     "a! b=2 a^ a! [running fdr] a^ a=1 c=3 [completed ddd]"},
    {"chains in a group", "{'chain':[{'group':[{'chain':[$a,$b]},{'chain':[$c,$d]}]},$e]}",
     "[running r.r..] a=1 [running drr..] b?1 c=3 d=4 b=2 [running ddddr] e?[2,_4] e=5 "
     "[completed ddddd]"},
    {"a group in a chain sees what stood before it", "{'chain':[$a,{'group':[$b,$c]},$d]}",
     "a=7 b?7 c?7 b=1 c=2 d?[1,_2] d=0 [completed dddd]"},
    {"groups behind each other", "{'chain':[{'group':[$a,$b]},{'group':[$c,$d]}]}",
     "a=1 b=2 [running ddrr] c?[1,_2] c=3 d=4 [completed dddd]"},
    {"a group in a group", "{'chain':[{'group':[$a,{'group':[$b,$c]}]},$d]}",
     "a=1 c=3 b=2 d?[1,_[2,_3]] d=0 [completed dddd]"},
    {"a chain of a group that failed inside one that continues",
     "{'chain':[{'group':[{'chain':[$a,$b]},$c],'on_failure':'continue'},$d]}",
     "a! c=3 [running f.dr] d?[ERROR(a),_3] d=0 [completed f.dd]"},
    {"a chain that died inside a group is put back in time",
     "{'chain':[{'group':[{'chain':[$a,$b]},$c],'on_failure':'continue'},$d]}",
     "a! a^ a=1 b=2 c=3 d?[2,_3] d=0 [completed dddd]"},
    {"what is settled is not tried again",
     "{'chain':[{'group':[$a,$b],'on_failure':'continue'},$c]}",
     "a! b=2 c! [failed fdf] RETRY [running fdr] c=3 [completed fdd]"},
    {"a whole that is cancelled before it began", "{'chain':[$a,$b]}",
     "DROP [cancelled cc] RETRY [running r.] a=1 b=2 [completed dd]"},
    {"a whole that is cancelled while its first job runs", "{'chain':[$a,$b]}",
     "CANCEL [cancelled rc] HEED [cancelled cc] RETRY [running r.] a=1 b=2 [completed dd]"},
    {"a group that waits, cancelled", "{'group':[$a,$b,$c]}",
     "DROP [cancelled ccc] RETRY [running rrr] a=1 b=2 c=3 [completed ddd]"},
    {"a chain cancelled in its middle", "{'chain':[$a,$b,$c]}",
     "a=1 CANCEL HEED [cancelled dcc] CANCEL RETRY [running dr.] b?1 b=2 c=3 [completed ddd]"},
    {"a running job that did not heed the cancel counts when it is tried again",
     "{'chain':[$a,$b]}",
     "[running r.] CANCEL RETRY- a=1 [cancelled dc] RETRY b?1 b=2 [completed dd]"},
    {"the last job was done before the cancel reached it", "{'chain':[$a]}",
     "[running r] CANCEL a=1 [cancelled d] RETRY [completed d]"},
    {"a group cancelled", "{'chord':{'group':[$a,$b],'then':$c}}",
     "a=1 CANCEL HEED [cancelled dcc] RETRY [running dr.] b=2 c?[1,_2] c=3 [completed ddd]"},
    {"a job of a cancelled whole is put back alone: it runs, nothing follows", "{'chain':[$a,$b]}",
     "a! CANCEL- a^ CANCEL a! [cancelled fc] a^ [cancelled rc] a=1 [cancelled dc] RETRY b=2 "
     "[completed dd]"},
    {"a nested whole cancelled in its middle",
     "{'chain':[$a,{'group':[{'chain':[$b,$c]},{'chain':[$d,$e]}]},$f]}",
     "a=1 b=2 CANCEL HEED [cancelled ddcccc] RETRY [running ddrr..] c=3 d=4 e=5 f=6 "
     "[completed dddddd]"},
};

/* Nothing of the queue lives in either store that no step speaks of. */
static void nothing_is_left(struct story *s)
{
    ck_assert_msg(pg_one_int(s->t->database_url, "SELECT count(*) FROM jobs WHERE live") == 0,
                  "%s: jobs are left", s->title);
    ck_assert_msg(!strstr(qstate(), "jobs "), "%s: Redis has %s", s->title, qstate());
    ck_assert_msg(pg_one_int(s->t->database_url,
                             "SELECT count(*) FROM workflow_steps WHERE state = 'running'") == 0,
                  "%s: a step is still running", s->title);
    ck_assert_msg(pg_one_int(s->t->database_url,
                             "SELECT count(*) FROM workflow_buckets b JOIN workflows f "
                             "ON f.id = b.workflow_id WHERE f.state = 'completed' AND "
                             "b.open <> 0") == 0,
                  "%s: a count is off", s->title);
}

QTEST(cases_of_workflows, true)
{
    engine_set_clock(t->e, 0);
    for (size_t i = 0; i < COUNT(cases); i++) {
        struct story s = {.t = t, .title = cases[i].title};
        start(cx, &s, spelled(cases[i].tree));
        tell(cx, &s, cases[i].story);
        ck_assert_msg(s.n == 0, "%s: %zu jobs are still held", s.title, s.n);
        nothing_is_left(&s);
    }
    return OK;
}

/* What ended goes as a whole; what runs stays, however old. */
QTEST(retention_takes_what_has_ended, true)
{
    struct story old = {.t = t, .title = "old"}, live = {.t = t, .title = "live"};
    struct retention_counts c;
    bool more;

    engine_set_clock(t->e, 0);
    start(cx, &old, spelled("{'group':[$a,$b]}"));
    tell(cx, &old, "a=1 b=2 [completed dd]");
    start(cx, &live, spelled("{'chain':[{'group':[$c,$d]},$e]}"));
    tell(cx, &live, "c=1 [running dr.]");
    ck_ok(retention_prune(cx, t->db, clock_ms() + 1000, 1, &c, &more));
    ck_assert_int_eq(c.workflows, 1); /* although it has two jobs: one is always taken */
    ck_ok(retention_prune(cx, t->db, clock_ms() + 1000, 1000, &c, &more));
    ck_assert_int_eq(c.workflows, 0);
    ck_assert_int_eq(pg_one_int(t->database_url,
                                "SELECT count(*) FROM workflow_steps WHERE workflow_id = '%s'",
                                old.id),
                     0);
    ck_assert_int_eq(pg_one_int(t->database_url,
                                "SELECT count(*) FROM workflow_buckets WHERE workflow_id = '%s'",
                                old.id),
                     0);
    /* Its first job's row is gone as well; what is behind it sees its result all the same. */
    ck_assert_int_eq(pg_one_int(t->database_url, "SELECT count(*) FROM jobs WHERE task = 'c'"), 0);
    tell(cx, &live, "d! [failed df.]");
    ck_ok(retention_prune(cx, t->db, clock_ms() - 3600000, 1000, &c, &more));
    pg_one(t->database_url, "DELETE FROM jobs WHERE task = 'd'");
    tell(cx, &live, "RETRY d=2 e?[1,_2] e=3 [completed ddd]");
    return OK;
}

static rc story_fiber(struct cx *cx, void *arg)
{
    struct job *j = arg;

    return engine_end(cx, ender, j, &(struct job_end){.outcome = JOB_COMPLETED, .result = "1"});
}

/* Many members end at the same moment: one of them is the last. */
QTEST(ends_that_meet_are_counted_once, true)
{
    struct story s = {.t = t, .title = "many"};
    struct fiber *f[40];
    struct flow *flow = flow_new(cx);
    struct flow_node *all = flow_chain(flow, NULL), *group = flow_group(flow, all, FLOW_FAIL);
    rc result;

    engine_set_clock(t->e, 0);
    for (size_t i = 0; i < COUNT(f); i++)
        flow_job(flow, group, &(struct job_new){.queue = Q, .task = "m"});
    flow_job(flow, all, &(struct job_new){.queue = Q, .task = "z"});
    ck_ok(flow_start(cx, t->e, flow));
    memcpy(s.id, flow->id, sizeof s.id);
    claim_all(cx, &s);
    ck_assert_uint_eq(s.n, COUNT(f));
    ender = t->e;
    for (size_t i = 0; i < COUNT(f); i++)
        f[i] = fiber_spawn(&(struct fiber_opts){.name = "end", .inherit = cx}, story_fiber,
                           &s.held[i]);
    for (size_t i = 0; i < COUNT(f); i++) {
        ck_ok(fiber_join(cx, f[i], &result));
        ck_ok(result);
    }
    while (s.n > 0)
        let_go(cx, &s, &s.held[0]);
    claim_all(cx, &s);
    ck_assert_uint_eq(s.n, 1);
    end(cx, &s, 'z', "0");
    nothing_is_left(&s);
    return OK;
}

struct last {
    struct job *job;
    struct job_end end;
    rc want;
};

static rc last_fiber(struct cx *cx, void *arg)
{
    const struct last *l = arg;

    return engine_end(cx, ender, l->job, &l->end);
}

/* Members of chains and of groups of two workflows in one statement: what is stale or no JSON hears of it alone, and whatever
 * follows begins once. */
QTEST(members_that_end_in_one_statement, true)
{
    enum { FLOWS = 2, EACH = 30 };
    struct story s = {.t = t, .title = "one statement"};
    struct last l[FLOWS * EACH] = {0};
    struct fiber *f[COUNT(l)];
    rc result;

    engine_set_clock(t->e, 0);
    for (int n = 0; n < FLOWS; n++) {
        struct flow *flow = flow_new(cx);
        struct flow_node *all = flow_chain(flow, NULL),
                         *group = flow_group(flow, all, FLOW_CONTINUE);
        for (int i = 0; i < EACH; i++) { /* every third one begins a chain */
            struct flow_node *chain = i % 3 ? group : flow_chain(flow, group);
            flow_job(flow, chain, &(struct job_new){.queue = Q, .task = "m"});
            if (i % 3 == 0)
                flow_job(flow, chain, &(struct job_new){.queue = Q, .task = "n"});
        }
        flow_job(flow, all, &(struct job_new){.queue = Q, .task = "z"});
        ck_ok(flow_start(cx, t->e, flow));
        memcpy(s.id, flow->id, sizeof s.id);
    }
    claim_all(cx, &s);
    ck_assert_uint_eq(s.n, COUNT(l));
    ender = t->e;
    for (size_t i = 0; i < COUNT(l); i++) {
        l[i] = (struct last){&s.held[i], {.outcome = JOB_COMPLETED, .result = "1"}, OK};
    }
    l[4].end.result = "no JSON";
    l[4].want = E_PG;
    ck_ok(engine_end(cx, t->e, l[0].job, &l[0].end));
    l[0].want = E_STALE_ATTEMPT;
    for (size_t i = 0; i < COUNT(l); i++)
        f[i] = fiber_spawn(&(struct fiber_opts){.name = "end", .inherit = cx}, last_fiber, &l[i]);
    for (size_t i = 0; i < COUNT(l); i++) {
        ck_ok(fiber_join(cx, f[i], &result));
        ck_assert_msg(result == l[i].want, "end %zu: %s", i, error_info(result)->code);
    }
    l[4].end.result = "4";
    ck_ok(engine_end(cx, t->e, l[4].job, &l[4].end));
    while (s.n > 0)
        let_go(cx, &s, &s.held[0]);
    claim_all(cx, &s); /* the second jobs of the chains */
    ck_assert_uint_eq(s.n, FLOWS * EACH / 3);
    ck_assert_int_eq(pg_one_int(t->database_url, "SELECT count(*) FROM jobs WHERE task = 'z'"), 0);
    while (s.n > 0)
        end(cx, &s, 'n', "2");
    claim_all(cx, &s);
    ck_assert_uint_eq(s.n, FLOWS);
    while (s.n > 0)
        end(cx, &s, 'z', "0");
    ck_assert_int_eq(
        pg_one_int(t->database_url, "SELECT count(*) FROM workflows WHERE state = 'completed'"),
        FLOWS);
    nothing_is_left(&s);
    return OK;
}

static Suite *make(void)
{
    Suite *s = suite_create("flows");
    TCase *tc = tcase_create("flows");

    tcase_add_test(tc, cases_of_workflows);
    tcase_add_test(tc, retention_takes_what_has_ended);
    tcase_add_test(tc, ends_that_meet_are_counted_once);
    tcase_add_test(tc, members_that_end_in_one_statement);
    suite_add_tcase(s, tc);
    return s;
}

int main(void)
{
    return stores_main(&stores, NULL, NULL, make);
}
