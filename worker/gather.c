/* gather.c - see gather.h. What is missing behind an option is left for getopt to tell. */
#include "worker/gather.h"
#include "base/util.h"
#include <stdlib.h>
#include <string.h>

static const struct {
    const char *word, *setting;
} repeatable[] = {{"--load", "--worker-load"}, {"--exec", "--worker-exec"}};

/* The value of argv[*i] if it is that option, in either spelling. */
static const char *value_of(const char *word, int argc, char **argv, int *i)
{
    size_t n = strlen(word);

    if (strncmp(argv[*i], word, n) != 0)
        return NULL;
    if (argv[*i][n] == '=')
        return argv[*i] + n + 1;
    return argv[*i][n] == 0 && *i + 1 < argc ? argv[++*i] : NULL;
}

static void add(char **list, const char *value)
{
    char *longer = *list ? xasprintf("%s,%s", *list, value) : xstrdup(value);

    free(*list);
    *list = longer;
}

struct gathered gather(int argc, char **argv)
{
    struct gathered g = {.argv = xcalloc((size_t)argc + 1 + 2 * COUNT(repeatable), sizeof(char *))};

    for (int i = 0; i < argc; i++) {
        const char *value = NULL;
        for (size_t k = 0; k < COUNT(repeatable) && !value && i > 0; k++)
            if ((value = value_of(repeatable[k].word, argc, argv, &i)))
                add(&g.lists[k], value);
        if (!value)
            g.argv[g.argc++] = argv[i];
    }
    for (size_t k = 0; k < COUNT(repeatable); k++)
        if (g.lists[k]) {
            g.argv[g.argc++] = (char *)(uintptr_t)repeatable[k].setting;
            g.argv[g.argc++] = g.lists[k];
        }
    return g;
}

void gathered_release(struct gathered *g)
{
    for (size_t k = 0; k < COUNT(g->lists); k++)
        free(g->lists[k]);
    free(g->argv);
}
