/* fuzz_json.c - a request's body: refused, or a tree of bounded depth that prints as JSON again. */
#include "base/json.h"
#include "tests/fuzz/fuzz.h"

static int depth(const cJSON *v)
{
    int deepest = 0;

    for (const cJSON *c = v->child; c; c = c->next)
        deepest = MAX(deepest, depth(c));
    return deepest + 1;
}

/* What an API asks of an object, whatever is in it. */
static void ask(struct cx *cx, const cJSON *o, const char *text, size_t n)
{
    static const char *const known[] = {"task", "args", "priority", NULL};
    const char *s, *raw;
    int64_t i = 7;
    bool b = true, odd;
    size_t raw_n;
    char id[37];

    if (json_str(cx, o, "task", 10, &s) == OK)
        FUZZ_MUST(s && *s && strlen(s) <= 40);
    if (json_str_opt(cx, o, "queue", 10, &s) == OK)
        FUZZ_MUST(!s || strlen(s) <= 40);
    if (json_int_opt(cx, o, "priority", 0, 9, &i) == OK)
        FUZZ_MUST(i >= 0 && i <= 9);
    (void)json_bool_opt(cx, o, "durable", &b);
    if (json_id(cx, o, "id", id) == OK)
        FUZZ_MUST(strlen(id) == 36);
    (void)json_only(cx, o, known);
    (void)json_path(o, "$.data.0.price");
    if (json_raw_member(text, n, "args", &raw, &raw_n, &odd))
        FUZZ_MUST(raw >= text && raw + raw_n <= text + n);
}

FUZZ(data, n)
{
    _cleanup_(cx_release) struct cx cx = CX_PLAIN("fuzz");
    _cleanup_(freep) char *text = fuzz_text(data, n);
    cJSON *v, *again;

    if (json_parse(&cx, text, n, MiB(1), &v) != OK)
        return 0;
    FUZZ_MUST(depth(v) <= JSON_DEPTH + 1);
    ask(&cx, v, text, n);
    const char *printed = json_print(&cx, v);
    FUZZ_MUST(printed);
    if (strlen(printed) < MiB(1)) /* 1e308 prints as 309 digits */
        FUZZ_MUST(json_parse(&cx, printed, strlen(printed), MiB(1), &again) == OK);
    return 0;
}
