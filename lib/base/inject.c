/* inject.c - the armed failure points of this process. */
#include "base/inject.h"
#include "base/util.h"
#include <stdlib.h>
#include <string.h>

static const char *const words[INJECT_COUNT] = {
#define INJECT(NAME, word) [INJECT_##NAME] = word,
#include "base/inject.def"
#undef INJECT
};
static int armed[INJECT_COUNT];

bool inject_arm(const char *word, int times)
{
    for (int i = 0; i < INJECT_COUNT; i++) {
        if (strcmp(words[i], word) == 0) {
            armed[i] = times;
            return true;
        }
    }
    return false;
}

static void read_environment(void)
{
    const char *env = getenv("MIHWAR_INJECT");
    char text[512], *save = NULL;

    if (!env || strlen(env) >= sizeof text)
        return;
    strcpy(text, env);
    for (char *w = strtok_r(text, ",", &save); w; w = strtok_r(NULL, ",", &save)) {
        char *colon = strchr(w, ':');
        if (colon)
            *colon = 0;
        if (!inject_arm(w, colon ? atoi(colon + 1) : 1))
            abort(); /* a test that arms nothing would pass for the wrong reason */
    }
}

bool inject_fires(enum inject_point p)
{
    static bool read;

    if (!read) {
        read = true;
        read_environment();
    }
    return armed[p] > 0 && armed[p]-- > 0;
}
