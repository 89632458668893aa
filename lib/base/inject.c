/* inject.c - the armed failure points of this process. */
#include "base/inject.h"
#include "base/util.h"
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const char *const words[INJECT_COUNT] = {
#define INJECT(NAME, word) [INJECT_##NAME] = word,
#include "base/inject.def"
#undef INJECT
};
static int armed[INJECT_COUNT];
static char *files[INJECT_COUNT]; /* fires for whoever takes the file away; NULL: for everybody */

static int find(const char *word)
{
    for (int i = 0; i < INJECT_COUNT; i++) {
        if (strcmp(words[i], word) == 0)
            return i;
    }
    return -1;
}

bool inject_arm(const char *word, int times)
{
    int i = find(word);

    if (i >= 0)
        armed[i] = times;
    return i >= 0;
}

static void read_environment(void)
{
    const char *env = getenv("MIHWAR_INJECT");
    char text[512], *save = NULL;

    if (!env || strlen(env) >= sizeof text)
        return;
    strcpy(text, env);
    for (char *w = strtok_r(text, ",", &save); w; w = strtok_r(NULL, ",", &save)) {
        char *colon = strchr(w, ':'), *at = strchr(w, '@');
        if (colon)
            *colon = 0;
        if (at)
            *at = 0;
        if (!inject_arm(w, colon ? atoi(colon + 1) : 1))
            abort(); /* a test that arms nothing would pass for the wrong reason */
        if (at)
            files[find(w)] = xstrdup(at + 1);
    }
}

bool inject_fires(enum inject_point p)
{
    static bool read;

    if (!read) {
        read = true;
        read_environment();
    }
    if (armed[p] <= 0 || (files[p] && unlink(files[p]) != 0))
        return false;
    armed[p]--;
    return true;
}
