/* error.c - the table behind error.def. */
#include "base/error.h"
#include <stddef.h>
#include <string.h>

static const struct error_info infos[RC_COUNT] = {
    [OK] = {"OK", "ok", 200, 0, false, "done"},
#define MW_ERR(NAME, code_, http_, exit_, retry_, text_)                                           \
    [E_##NAME] = {#NAME, code_, http_, exit_, retry_, text_},
#include "base/error.def"
#undef MW_ERR
};

const struct error_info *error_info(rc r)
{
    return &infos[r >= 0 && r < RC_COUNT ? r : E_INTERNAL];
}

rc error_from_code(const char *code)
{
    for (int i = 0; i < RC_COUNT; i++) {
        if (strcmp(infos[i].code, code) == 0)
            return i;
    }
    return E_INTERNAL;
}
