/* extra_field.c - the rule in one line: phones go where phones go, everything else before the
 * player id. */
#include "domain/orders/extra_field.h"
#include "base/text.h"
#include <string.h>

bool extra_is_phone(const char *extra)
{
    if (!extra)
        return false;
    const char *digits = extra[0] == '+' ? extra + 1 : extra;
    size_t n = strspn(digits, "0123456789");
    return digits[n] == '\0' && n >= 9 && n <= 15;
}

void extra_apply(struct cx *cx, const char *player, const char *extra, const char **ret_player,
                 const char **ret_phone)
{
    *ret_phone = extra_is_phone(extra) ? extra : NULL;
    *ret_player =
        str_empty(extra) || *ret_phone ? player : arena_printf(&cx->arena, "%s %s", extra, player);
}
