/* extra_field.h - where znet-like panels, which know no extra field, are told of it.
 *
 *   looks like a phone (+ and 9-15 digits)   -> the phone parameter
 *   anything else                            -> before the player id: "<extra> <player>"
 *
 * The rule of the shops that spoke to these panels first (one lineage); panels differ, so an
 * integration may turn it off. */
#pragma once
#include "base/cx.h"

bool extra_is_phone(const char *extra);
/* *ret_player, *ret_phone: what to send; phone NULL: nothing known. extra NULL or "": player alone.
 * Arena. */
void extra_apply(struct cx *cx, const char *player, const char *extra, const char **ret_player,
                 const char **ret_phone);
